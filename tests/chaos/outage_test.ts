/** Far more events than the API server takes, and it is away for most of the time; senders follow `Retry-After`. */
import { assert, assertEquals } from "@std/assert";
import type { JsonObject } from "../../src/model/json.ts";
import { alert } from "../support/alerts.ts";
import { eventually } from "../support/eventually.ts";
import { Fleet } from "./fleet.ts";
import { inForm, pause, printLine } from "./form.ts";
import { RealGround } from "./ground.ts";
import { storedPods } from "./stored.ts";

const { PER_SECOND, SECONDS, AWAY_SECONDS } = inForm({
  short: { PER_SECOND: 200, SECONDS: 15, AWAY_SECONDS: 10 },
  long: { PER_SECOND: 500, SECONDS: 30, AWAY_SECONDS: 20 },
});
/** Events of a request: senders that batch, as falcosidekick's do. */
const BATCH = 10;
const REQUESTS = PER_SECOND * SECONDS / BATCH;

Deno.test(`${PER_SECOND} events/s for ${SECONDS} s, the API server away for ${AWAY_SECONDS} s of it: every event gets in`, async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground, { WEBHOOK_RATE_LIMIT: "100000", WEBHOOK_RATE_BURST: "100000" });
  for (const place of [0, 1]) await fleet.start(place);
  const namespace = await ground.namespace("outage");
  const beganAt = performance.now();
  let refused = 0;
  let unanswered = 0;
  const acknowledged = new Set<string>();

  /** Sends one batch at its time, and again after each answer with Retry-After. */
  async function send(request: number): Promise<void> {
    await pause(beganAt + request * 1_000 / (PER_SECOND / BATCH) - performance.now());
    const pods = Array.from({ length: BATCH }, (_, index) => request * BATCH + index);
    const body = JSON.stringify(pods.map((pod): JsonObject => alert(namespace, pod)));
    for (let attempt = 0;; attempt++) {
      const url = fleet.urls[(request + attempt) % fleet.urls.length];
      const response = await fetch(`${url}/falco/webhook`, { method: "POST", body }).catch(() => undefined);
      const text = await response?.text().catch(() => "");
      if (response?.status === 200) break;
      if (!response) unanswered++;
      else {
        assertEquals(response.status, 503, text);
        refused++;
      }
      await pause(Number(response?.headers.get("retry-after") ?? "1") * 1_000);
    }
    for (const pod of pods) acknowledged.add(`pod-${pod}`);
  }

  const sending = Promise.all(Array.from({ length: REQUESTS }, (_, request) => send(request)));
  await eventually("the first events to be in", () => acknowledged.size > 0, { timeoutMs: 60_000 });
  await ground.envtest.killApiServer("SIGKILL");
  const awayFrom = performance.now();
  await pause(AWAY_SECONDS * 1_000);
  await ground.envtest.startApiServer();
  const backAfter = performance.now() - awayFrom;
  await sending;
  const allIn = (performance.now() - beganAt) / 1_000;
  const stored = await storedPods(ground.api, namespace);
  const distinct = new Set(stored);
  const lost = [...acknowledged].filter((pod) => !distinct.has(pod)).length;
  printLine(
    `${PER_SECOND * SECONDS} events offered in ${SECONDS} s, the API server away for ${
      (backAfter / 1_000).toFixed(1)
    } s: all in after ${
      allIn.toFixed(1)
    } s, ${refused} requests refused with 503, ${unanswered} unanswered, ` +
      `${lost} acknowledged and lost, ${stored.length - distinct.size} doubled`,
  );
  assertEquals([acknowledged.size, lost, stored.length], [PER_SECOND * SECONDS, 0, PER_SECOND * SECONDS]);
  assert(allIn <= 180, `all in after ${allIn} s`);
  await fleet.closed();
});
