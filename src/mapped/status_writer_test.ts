import { assert, assertEquals } from "@std/assert";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import type { KubeObject } from "../kube/api.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { INGESTERS } from "./kinds.ts";
import type { Plan } from "./plan.ts";
import { StatusWriter } from "./status_writer.ts";
import { idOf } from "./verdict.ts";

class CountingApi extends ScriptedApi {
  tries = 0;
  #status: JsonObject = {};

  override patch<T extends KubeObject>(...args: Parameters<ScriptedApi["patch"]>): Promise<T> {
    this.tries++;
    const [type, name, patch, options] = args;
    // A merge patch leaves alone what it does not name.
    const status = { ...this.#status, ...(isObject(patch) && isObject(patch.status) ? patch.status : {}) };
    return super.patch<T>(type, name, { status }, options).then((object) => {
      this.#status = status;
      return object;
    });
  }
}

/** A writer of one Ingester's status, looked at every 2 s. */
function world() {
  const time = new VirtualTime();
  const api = new CountingApi();
  const metadata = { name: "alerts", namespace: "zen-system", generation: 1 };
  let object: KubeObject = {
    ...api.put(INGESTERS.plural, { kind: INGESTERS.kind, metadata }),
    kind: INGESTERS.kind,
  };
  const writer = new StatusWriter(
    { api, clock: time, isLeader: () => true, stateOf: () => "serving" },
    { written: (_object, as) => void (object = { ...as, kind: INGESTERS.kind }) },
  );
  const verdict = { ready: false, reason: "Invalid", message: "at spec.type: expected one of …" };
  const plan: Plan = {
    active: new Map(),
    good: new Map(),
    read: new Map(),
    verdicts: new Map([[idOf(object), verdict]]),
  };
  const { signal } = new AbortController();
  async function pass(ms: number): Promise<void> {
    for (const end = time.monotonic() + ms; time.monotonic() < end;) {
      await writer.writeConditions([object], { plan, signal });
      await writer.writeCounters([object], signal);
      await time.advance(2_000);
    }
  }
  return { time, api, writer, pass, id: idOf(object), status: () => JSON.stringify(object.status ?? null) };
}

Deno.test("the status of an Ingester that may not be written is tried less and less often, and said seldom", async () => {
  const lines: string[] = [];
  const { time, api, writer, pass, id, status } = world();
  const write = (line: string) => void lines.push(line);
  configureLogging({ level: "WARN", format: "json", write, now: () => time.now() });
  api.deny(INGESTERS.plural, 403);
  writer.noteEvents(id, 3);
  await pass(3_600_000);
  assert(api.tries >= 20 && api.tries <= 300, `${api.tries} tries in an hour`);
  assert(lines.length >= 1 && lines.length <= 12, `${lines.length} lines in an hour`);
  api.deny(INGESTERS.plural, 0);
  await pass(120_000);
  assert(status().includes("Invalid") && status().includes('"eventsTotal":3'), status());
  const { tries } = api;
  await pass(120_000);
  assertEquals(api.tries, tries, "nothing is left to say");
});
