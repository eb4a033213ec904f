/** Real processes on the embedded API server, whose HTTP answers fail in storms: 429, 500, 503, 410, lost answers. */
import { assert } from "@std/assert";
import type { Fault } from "../support/faults.ts";
import { Fleet } from "./fleet.ts";
import { inForm, pause } from "./form.ts";
import { EmbeddedGround } from "./ground.ts";
import { type ChaosFault, judge, type RunRow, underFault } from "./run.ts";

const STORM_MS = inForm({ short: 4_000, long: 20_000 });
const OURS = /\/(observations|vulnerabilityreports|configmaps)/;

Deno.test("under storms of 429, 500, 503, 410 and lost answers: nothing acknowledged is lost, nothing is doubled", async () => {
  await using ground = await EmbeddedGround.start();
  await using fleet = new Fleet(ground);
  for (const place of [0, 1]) await fleet.start(place);
  const { server } = ground.world;
  const rows: RunRow[] = [];

  /** Faults that are in force for the length of a storm, less what a load's own writers need. */
  const storm = (name: string, faults: readonly Fault[], during = () => {}): ChaosFault => ({
    name,
    async strike() {
      const added = faults.map((fault) => server.faults.add(fault));
      for (let passed = 0; passed < STORM_MS; passed += 500) {
        during();
        await pause(500);
      }
      for (const fault of added) fault.remove();
      assert(added.some(({ hits }) => hits > 0), `${name} struck nothing`);
      return performance.now();
    },
  });
  const status = (code: number, retryAfterSeconds?: number): Fault => ({
    path: OURS,
    effect: { kind: "status", status: code, ...(retryAfterSeconds ? { retryAfterSeconds } : {}) },
  });
  const watches = (kind: "gone" | "reset" | "garbled" | "error"): Fault => ({
    verb: "watch",
    path: OURS,
    after: 2,
    effect: { kind },
  });
  const storms = [
    storm("answers of 429, Retry-After 1 s", [status(429, 1)]),
    storm("answers of 500", [status(500)]),
    storm("answers of 503", [status(503)]),
    storm("410: history gone, lists expire", [
      watches("gone"),
      { verb: "list", path: /continue=/, effect: { kind: "gone" } },
    ], () => server.compact()),
    storm("the answers of 60 creates lost", [
      {
        verb: "create",
        path: /\/observations/,
        after: 2,
        times: 60,
        effect: { kind: "reset", applied: true },
      },
    ]),
    storm("watches garbled and broken off", [watches("garbled"), watches("reset"), watches("error")]),
  ];
  for (const fault of storms) {
    const namespace = await ground.namespace("storm");
    rows.push(...await underFault(fault, { fleet, namespace }));
  }
  judge("storms of answers, on the embedded API server, two replicas", rows);
});
