/** Where time and memory go: files for the browser's developer tools. */
import { join } from "node:path";
import { startBundle } from "../controller.ts";
import { newRun } from "../measure.ts";
import type { Scenario } from "../scenario.ts";
import { warmUp } from "./pushed.ts";

const RATE_PER_SECOND = 200;

/** Only by name: the inspector costs time and memory of its own, so its figures are not compared with others. */
export const PROFILE: Scenario = {
  name: "profile",
  doc: "a CPU profile of unique events at 200/s, then a heap snapshot",
  once: true,
  async run(bench) {
    const { server, load, profiles, quick, note } = bench;
    await using bundle = await startBundle(server, { inspect: true });
    const { inspector, controller } = bundle;
    if (!inspector) throw new Error("Cannot profile: the inspector was not opened");
    await warmUp(bench, bundle);
    const profile = await inspector.profileDuring(() =>
      load.ask({
        input: "alert",
        url: `${controller.url}/falco/webhook`,
        run: newRun(),
        count: RATE_PER_SECOND * (quick ? 5 : 20),
        pace: { kind: "open", ratePerSecond: RATE_PER_SECOND },
      })
    );
    const heapBytes = await inspector.heapAfterGc();
    await Deno.mkdir(profiles, { recursive: true });
    await Deno.writeTextFile(join(profiles, "events.cpuprofile"), JSON.stringify(profile));
    await Deno.writeTextFile(join(profiles, "events.heapsnapshot"), await inspector.snapshot());
    await note(`  events.cpuprofile and events.heapsnapshot are in "${profiles}"\n`);
    return { heapBytes };
  },
};
