import { assertEquals } from "@std/assert";
import { postedSource } from "../../tests/support/post_feeds.ts";
import { systemClock } from "../model/time.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { SourceStates } from "./status.ts";

Deno.test("SourceStates shows sources beyond 100 as one watcher, 1 while each of them is read", async () => {
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  for (let index = 0; index < 150; index++) {
    states.add(postedSource(`tool-${index}`));
    states.set({ source: `tool-${index}`, resource: "/ingest" }, "serving");
    states.failed(`tool-${index}`, "payload");
  }
  const status = async () => {
    const { values } = await metrics.watcherStatus.get();
    return Object.fromEntries(values.map(({ labels, value }) => [`${labels.watcher}`, value]));
  };
  const errors = (await metrics.watcherErrors.get()).values;
  assertEquals([Object.keys(await status()).length, errors.length], [101, 101]);
  assertEquals(errors.find(({ labels }) => labels.watcher === "other")?.value, 50);
  assertEquals((await status())["other"], 1);
  states.set({ source: "tool-120", resource: "/ingest" }, "failing");
  assertEquals((await status())["other"], 0);
  states.remove("tool-120");
  states.remove("tool-3");
  assertEquals([(await status())["other"], (await status())["tool-3"]], [1, undefined]);
});
