import { createTextLimits, NO_LIMITS } from "../../pipeline/limits.ts";
import { assertEquals } from "@std/assert";
import { ChangeSignal } from "../../model/change_signal.ts";
import { eventually } from "../../../tests/support/eventually.ts";
import { ScriptedApi } from "../../../tests/support/scripted_api.ts";
import type { Served } from "../../kube/discovery.ts";
import { systemClock } from "../../model/time.ts";
import { type ViewKey, viewName, type Views } from "../../model/view.ts";
import { readSettings } from "../../settings.ts";
import { createMetrics } from "../../telemetry/metrics.ts";
import { kubeBench } from "../kube_bench/mod.ts";
import type { ConfigMapFeed, Source } from "../source.ts";
import { SourceStates } from "../status.ts";
import { trivy } from "../trivy/mod.ts";
import { PulledFeeds } from "./pulled.ts";

/** Pulled feeds on an API server that holds nothing, and what they tell of their views. */
function world({ served = () => ({ state: "absent" }) }: { readonly served?: () => Served } = {}) {
  const told: string[] = [];
  const note = (word: string) => (view: ViewKey) => void told.push(`${word} ${viewName(view)}`);
  const views: Views = {
    begin: note("begin"),
    report: () => {},
    gone: () => {},
    complete: note("complete"),
    lost: (view, why) => note(why)(view),
  };
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  const settings = readSettings(() => undefined);
  const feeds = new PulledFeeds({
    api: new ScriptedApi(),
    discovery: { served, subscribe: () => ({ [Symbol.dispose]() {} }) },
    intake: { take: () => Promise.reject(new Error("nothing was to be taken in")) },
    settings,
    views,
    states,
    payloadError: () => {},
    noteEvents: () => {},
    evaluateAgain: new ChangeSignal(),
    namespaces: [],
    texts: createTextLimits({ maxBytes: 2 ** 20, memoryBytes: Infinity }),
    slices: NO_LIMITS.slices,
    clusterScoped: true,
    resyncMs: 3_600_000,
    configMapPollMs: 300_000,
    metrics,
    clock: systemClock,
  });
  const stop = new AbortController();
  const running = feeds.run(stop.signal);
  return {
    told,
    states,
    set: (source: Source) => {
      states.add(source);
      feeds.set([source]);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

const DOOR = "Ingester zen-system/edge";

/** kube-bench with one more feed. */
function withDoor(revision: string): Source {
  const feed: ConfigMapFeed = {
    type: "configmap",
    namespace: "kube-bench",
    labelSelector: "app=kube-bench",
    key: "results.json",
    ingester: { id: DOOR, revision, isDoor: true },
  };
  return { ...kubeBench, feeds: [...kubeBench.feeds, feed] };
}

Deno.test("a feed that an Ingester adds to a built-in source has its own view, which ends with the Ingester", async () => {
  await using w = world();
  w.set(withDoor("1"));
  await eventually("both lists", () => w.told.filter((word) => word.startsWith("complete")).length === 2);
  assertEquals(w.told.splice(0).toSorted(), [
    "begin configmaps",
    `begin configmaps (${DOOR})`,
    "complete configmaps",
    `complete configmaps (${DOOR})`,
  ]);
  w.set(withDoor("2"));
  await eventually("the changed door's list", () => w.told.length === 2);
  assertEquals(w.told.splice(0), [`begin configmaps (${DOOR})`, `complete configmaps (${DOOR})`]);
  w.set(kubeBench);
  assertEquals(w.told, [`absent configmaps (${DOOR})`]);
  assertEquals(w.states.report()["kube-bench"]?.resources, undefined);
});

Deno.test("a resource whose group discovery cannot read is not absent, and none of its findings is resolved", async () => {
  let served: Served = { state: "pending" };
  await using w = world({ served: () => served });
  const [feed] = trivy.feeds;
  const resources = feed?.type === "watch" ? feed.resources.slice(0, 1) : [];
  const reports: Source = { ...trivy, feeds: [{ type: "watch", resources }] };
  const name = "vulnerabilityreports.aquasecurity.github.io";
  w.set(reports);
  assertEquals([w.told, w.states.state("trivy")], [[], "standby"]);
  served = { state: "unknown", error: new Error("the API server is away") };
  w.set(reports);
  assertEquals([w.told.splice(0), w.states.state("trivy")], [[`unreadable ${name}`], "failing"]);
  served = { state: "absent" };
  w.set(reports);
  assertEquals([w.told, w.states.state("trivy")], [[`absent ${name}`], "absent"]);
});
