import { assertEquals } from "@std/assert";
import { eventually } from "../../../tests/support/eventually.ts";
import { ScriptedApi } from "../../../tests/support/scripted_api.ts";
import { systemClock } from "../../model/clock.ts";
import type { Served } from "../../kube/discovery.ts";
import { type ViewKey, viewName, type Views } from "../../model/view.ts";
import type { Intake } from "../../pipeline/intake.ts";
import { createMetrics } from "../../telemetry/metrics.ts";
import { runtimeFor } from "../../../tests/support/source_runtime.ts";
import { kubeBench } from "../kube_bench/mod.ts";
import { SourceStates } from "../status.ts";
import { trivy } from "../trivy/mod.ts";
import { type StateSource, StateSources } from "./state_sources.ts";

const DOOR = "Ingester zen-system/edge";
const BUILT_IN: StateSource = {
  id: "kube-bench",
  revision: "",
  runtime: runtimeFor(kubeBench),
  input: {
    type: "configmap",
    namespace: "kube-bench",
    namespaceEnv: "KUBE_BENCH_NAMESPACE",
    labelSelector: "app=kube-bench",
    key: "results.json",
  },
  confined: false,
  scope: {},
};
const THROUGH: StateSource = { ...BUILT_IN, id: DOOR, revision: "1", door: DOOR };

Deno.test("a door to a built-in source has a view of its own, which closes with it", async () => {
  const seen: string[] = [];
  const note = (word: string) => (view: ViewKey) => void seen.push(`${word} ${viewName(view)}`);
  const views: Views = {
    begin: note("begin"),
    report: () => {},
    gone: () => {},
    complete: note("complete"),
    lost: (view, why) => note(why)(view),
  };
  const metrics = createMetrics();
  const sources = new StateSources({
    api: new ScriptedApi(),
    discovery: { served: () => ({ state: "absent" }), subscribe: () => ({ [Symbol.dispose]() {} }) },
    intake: NO_INTAKE,
    views,
    states: new SourceStates(metrics, systemClock),
    payloadError: () => {},
    namespaces: [],
    clusterScoped: true,
    resyncMs: 3_600_000,
    configMapPollMs: 300_000,
    metrics,
    clock: systemClock,
  });
  const stop = new AbortController();
  const running = sources.run(stop.signal);
  sources.set([BUILT_IN, THROUGH]);
  await eventually("both lists", () => seen.filter((word) => word.startsWith("complete")).length === 2);
  assertEquals(seen.toSorted(), [
    "begin configmaps",
    `begin configmaps (${DOOR})`,
    "complete configmaps",
    `complete configmaps (${DOOR})`,
  ]);

  seen.length = 0;
  sources.set([BUILT_IN, { ...THROUGH, revision: "2" }]);
  await eventually("the changed door's list", () => seen.length === 2);
  assertEquals(seen, [`begin configmaps (${DOOR})`, `complete configmaps (${DOOR})`]);

  seen.length = 0;
  sources.set([BUILT_IN]);
  assertEquals(seen, [`absent configmaps (${DOOR})`]);
  stop.abort();
  await running;
});

Deno.test("a resource whose group could not be asked for is not absent: nothing of it may be taken for gone", async () => {
  const told: string[] = [];
  const nothing = () => {};
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  states.add("trivy", { kind: "finding", input: "informer" });
  let served: Served = { state: "pending" };
  const sources = new StateSources({
    api: new ScriptedApi(),
    discovery: { served: () => served, subscribe: () => ({ [Symbol.dispose]() {} }) },
    intake: NO_INTAKE,
    views: {
      begin: nothing,
      report: nothing,
      gone: nothing,
      complete: nothing,
      lost: (_view, why) => void told.push(why),
    },
    states,
    payloadError: nothing,
    namespaces: [],
    clusterScoped: true,
    resyncMs: 3_600_000,
    configMapPollMs: 300_000,
    metrics,
    clock: systemClock,
  });
  const stop = new AbortController();
  const running = sources.run(stop.signal);
  const input = { type: "informer" as const, resources: REPORTS };
  const reports: StateSource = { ...BUILT_IN, id: "trivy", runtime: runtimeFor(trivy), input };
  sources.set([reports]);
  assertEquals([told, states.state("trivy")], [[], "standby"]);
  served = { state: "unknown", error: new Error("the API server is away") };
  sources.set([reports]);
  assertEquals([told.splice(0), states.state("trivy")], [["unreadable"], "failing"]);
  served = { state: "absent" };
  sources.set([reports]);
  assertEquals([told, states.state("trivy")], [["absent"], "absent"]);
  stop.abort();
  await running;
});

const REPORTS = [{
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
}];

/** There are no ConfigMaps to take in. */
const NO_INTAKE: Intake = {
  take: () => Promise.reject(new Error("nothing was to be taken in")),
};
