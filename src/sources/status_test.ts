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

Deno.test("SourceStates shows the worst state of a source's views, one of all states at a time", async () => {
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  const shown = async () => {
    const { values } = await metrics.sourceState.get();
    const own = values.filter(({ labels }) => labels.source === "tool");
    return [own.length, own.filter(({ value }) => value === 1).map(({ labels }) => labels.state).join()];
  };
  states.add(postedSource("tool"));
  assertEquals(await shown(), [8, "standby"]);
  const view = (resource: string) => ({ source: "tool", resource });
  for (
    const [state, worst] of [["synced", "synced"], ["partial", "partial"], ["failing", "failing"]] as const
  ) {
    states.set(view("a"), "synced");
    states.set(view("b"), state);
    assertEquals(await shown(), [8, worst]);
    assertEquals(states.report()["tool"]?.state, worst);
  }
  states.set(view("b"), "partial");
  const { values } = await metrics.watcherStatus.get();
  assertEquals(values.find(({ labels }) => labels.watcher === "tool")?.value, 1, "it is read");
  states.remove("tool");
  assertEquals(await shown(), [0, ""]);
});
