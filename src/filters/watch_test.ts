import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../../tests/support/eventually.ts";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import type { NormalEvent } from "../model/event.ts";
import type { KubeObject } from "../kube/api.ts";
import { createConditions } from "../kube/conditions.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import type { FilterEvent } from "./configmap_filters.ts";
import { createFiltersWatch, type FiltersWatchOptions } from "./watch.ts";
import { compileFilterExpression } from "./expression.ts";
import { LiveFilters } from "./live.ts";

const NAME = "zen-watcher-filter";

function configMap(text: string | undefined, key = "filter.json"): KubeObject {
  return {
    metadata: { name: NAME, namespace: "zen-system" },
    data: text === undefined ? {} : { [key]: text },
  };
}

function observationFilter(name: string, spec: KubeObject["spec"], namespace = "zen-system"): KubeObject {
  return { metadata: { name, namespace, generation: 1 }, spec };
}

interface StartOptions extends Partial<FiltersWatchOptions> {
  readonly isLeader?: () => boolean;
  /** What passes between two tries of a watch that fails. */
  readonly retryMs?: number;
}

/** A watch over a scripted API server; stopped and awaited at the end of its block. */
async function start(api: ScriptedApi, options: StartOptions = {}) {
  const metrics = createMetrics();
  const events: FilterEvent[] = [];
  let changes = 0;
  const { isLeader = () => true, retryMs = 10_000, ...rest } = options;
  let passedMs = 0;
  let retries = 0;
  const clock = { now: () => 1_767_225_600_000, monotonic: () => passedMs };
  const conditions = createConditions({ api, clock, isLeader });
  const filters = new LiveFilters({ metrics, clock, onChange: () => changes++ });
  const stop = new AbortController();
  const watch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    configMap: { namespace: "zen-system", name: NAME, key: "filter.json" },
    ownNamespace: "zen-system",
    tenantNamespaces: [],
    emit: (event) => events.push(event),
    conditions,
    watchTuning: {
      sleep() {
        retries++;
        passedMs += retryMs;
        return new Promise((resolve) => setTimeout(resolve, 1));
      },
    },
    ...rest,
  });
  const running = Promise.all([watch.run(stop.signal), conditions.run(stop.signal)]);
  await watch.firstReadDecided;
  return {
    watch,
    events,
    metrics,
    pass: (ms: number) => passedMs += ms,
    /** How often a watch that failed was tried again. */
    get retries() {
      return retries;
    },
    get changes() {
      return changes;
    },
    passes: (fields: Partial<NormalEvent>) => filters.filter(normalEvent(fields)) === undefined,
    reloads: async (result: string) => {
      const { values } = await metrics.filterReload.get();
      return values.find((value) => value.labels.result === result)?.value ?? 0;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

Deno.test("filters in force follow the ConfigMap, and each change is told once", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "HIGH"}}}'));
  await using run = await start(api);
  assertEquals(run.passes({ severity: "LOW" }), false);
  assertEquals(run.changes, 1);
  api.put("configmaps", configMap("sources:\n  trivy:\n    minSeverity: LOW\n"));
  await eventually("the change", () => run.passes({ severity: "LOW" }));
  assertEquals(run.changes, 2);
  assertEquals(await run.reloads("loaded"), 2);
  assertEquals(run.watch.status().configMap.state, "loaded");
});

Deno.test("filters stay as they were while the ConfigMap is bad, of whatever badness", async () => {
  const api = new ScriptedApi();
  const good = '{"sources": {"trivy": {"minSeverity": "HIGH"}}}';
  api.put("configmaps", configMap(good));
  await using run = await start(api);
  const badness: Record<string, () => void> = {
    rejected: () => api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "XX"}}}')),
    key_missing: () => api.put("configmaps", configMap(good, "filters.json")),
    missing: () => api.remove("configmaps", `zen-system/${NAME}`),
    unreadable: () => api.deny("configmaps", 403),
  };
  for (const [state, turnBad] of Object.entries(badness)) {
    turnBad();
    await eventually(state, () => run.watch.status().configMap.state === state);
    assertEquals(run.passes({ severity: "LOW" }), false, state);
    assertEquals(await run.reloads(state), 1);
    api.deny("configmaps", 0);
    api.put("configmaps", configMap(good));
    await eventually("recovery", () => run.watch.status().configMap.state === "loaded");
  }
  assertEquals(run.changes, 1);
  assertEquals(
    run.events.map(({ type, reason }) => `${type} ${reason}`),
    ["Rejected", "Rejected", "Missing", "Rejected"].flatMap((
      word,
    ) => [`Warning Filters${word}`, "Normal FiltersLoaded"]),
  );
  assertEquals(
    run.events[0]?.message,
    'Cannot load filters "zen-system/zen-watcher-filter": at sources.trivy.minSeverity: expected one of ' +
      'CRITICAL|HIGH|MEDIUM|LOW|UNKNOWN, received "XX" (line 1, column 39); the last good filters stay in force',
  );
  assertEquals(run.events[0]?.regarding, {
    apiVersion: "v1",
    kind: "ConfigMap",
    namespace: "zen-system",
    name: NAME,
    uid: `uid-${NAME}`,
    resourceVersion: "2",
  });
});

Deno.test("a 403 or 503 of an API server that starts is no rejection of filters, and nothing passes unfiltered meanwhile", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "HIGH"}}}'));
  api.put("observationfilters", observationFilter("f", { targetSource: "trivy", excludeKinds: ["Pod"] }));
  const answer = (status: number) => {
    for (const plural of ["configmaps", "observationfilters"]) api.deny(plural, status);
  };
  answer(403);
  const starting = start(api, { retryMs: 0 });
  let isDecided = false;
  void starting.then(() => isDecided = true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(isDecided, false, "no right is missing yet");
  answer(0);
  await using run = await starting;
  assertEquals(run.passes({ severity: "LOW" }), false);

  for (const [restart, statuses] of [[503, 403], [403], [403, 503]].entries()) {
    run.pass(3_600_000);
    for (const status of statuses) {
      answer(status);
      const { retries } = run;
      await eventually(`the watches to meet ${status}`, () => run.retries >= retries + 4);
    }
    answer(0);
    api.put("configmaps", configMap(`{"sources": {"trivy": {"minSeverity": "HIGH"}, "r${restart}": {}}}`));
    await eventually(
      "the change",
      () => run.watch.status().documents.some(({ source }) => source === `r${restart}`),
    );
  }
  assertEquals([await run.reloads("unreadable"), run.events], [0, []]);
  assertEquals(run.watch.status().observationFilters.state, "synced");
  assertEquals(run.passes({ severity: "HIGH", resource: { kind: "Pod" } }), false);
});

Deno.test("filters allow all where no good ones were read yet, and say so", async () => {
  for (const status of [0, 403]) {
    const api = new ScriptedApi();
    if (status !== 0) api.deny("configmaps", status);
    await using run = await start(api);
    assert(run.passes({ severity: "LOW" }));
    assertEquals(run.watch.status().configMap.hasLastGood, false);
    assertStringIncludes(
      run.events[0]?.message ?? "",
      "every event is allowed, as no good filters were read yet",
    );
  }
});

Deno.test("filters readable again without a change say so, and are what they were", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "HIGH"}}}'));
  await using run = await start(api);
  api.deny("configmaps", 403);
  await eventually("the refusal", () => run.watch.status().configMap.state === "unreadable");
  api.deny("configmaps", 0);
  await eventually("the recovery", () => run.watch.status().configMap.state === "loaded");
  assertEquals(run.passes({ severity: "LOW" }), false);
  assertEquals(run.changes, 1);
});

Deno.test("fifty edits, every second one broken: the last good one is in force at every moment", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap('{"sources": {}}'));
  await using run = await start(api);
  for (let edit = 0; edit < 25; edit++) {
    const type = `type-${edit}`;
    api.put("configmaps", configMap(JSON.stringify({ sources: { "*": { includeEventTypes: [type] } } })));
    await eventually("the good edit", () => run.changes === edit + 1);
    assert(run.passes({ eventType: type }));
    assert(!run.passes({ eventType: `type-${edit - 1}` }));
    api.put("configmaps", configMap(`{"sources": {"*": {"includeEventTypes": "${type}"}}}`));
    await eventually("the rejection", async () => await run.reloads("rejected") === edit + 1);
    assert(run.passes({ eventType: type }));
    assert(!run.passes({ eventType: "other" }));
    assertEquals(run.events.filter((event) => event.type === "Warning").length, edit + 1);
    assertStringIncludes(run.watch.status().configMap.lastRejection?.problems[0] ?? "", `received "${type}"`);
  }
});

Deno.test("an ObservationFilter is ANDed with the ConfigMap, and leaves with its deletion", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "MEDIUM"}}}'));
  api.put("observationfilters", observationFilter("no-pods", { targetSource: "*", excludeKinds: ["Pod"] }));
  await using run = await start(api);
  assertEquals(run.passes({ resource: { kind: "Pod" } }), false);
  assertEquals(run.passes({ severity: "LOW" }), false);
  assertEquals(run.passes({ severity: "MEDIUM", resource: { kind: "Node" } }), true);
  api.remove("observationfilters", "zen-system/no-pods");
  await eventually("its end", () => run.passes({ resource: { kind: "Pod" } }));
});

Deno.test("an ObservationFilter turned bad keeps its last good spec and says so in its condition", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "trivy", minSeverity: "HIGH" }));
  await using run = await start(api);
  const first = await eventually("the condition", () => api.patches[0]);
  assertEquals(first.options.subresource, "status");
  assertEquals(first.options.namespace, "zen-system");
  assertEquals(first.patch, {
    metadata: { uid: "uid-f", resourceVersion: "1" },
    status: {
      conditions: [{
        type: "Ready",
        status: "True",
        reason: "Loaded",
        message: "In force",
        observedGeneration: 1,
        lastTransitionTime: "2026-01-01T00:00:00Z",
      }],
    },
  });
  const bad = observationFilter("f", { targetSource: "trivy", minSeverty: "LOW" });
  api.put("observationfilters", { ...bad, metadata: { ...bad.metadata, generation: 2 } });
  run.pass(1_000);
  const second = await eventually("the second condition", () => api.patches[1]);
  assertEquals(second.patch, {
    metadata: { uid: "uid-f", resourceVersion: "3" },
    status: {
      conditions: [{
        type: "Ready",
        status: "False",
        reason: "Invalid",
        message:
          'Cannot load filters "zen-system/f": at spec.minSeverty: unknown key; did you mean "minSeverity"?; its last good spec stays in force',
        observedGeneration: 2,
        lastTransitionTime: "2026-01-01T00:00:00Z",
      }],
    },
  });
  assertEquals(run.passes({ severity: "LOW" }), false);
  assertEquals(run.watch.status().observationFilters, {
    state: "synced",
    inForce: 1,
    rejected: 1,
    lastRejection: {
      name: "zen-system/f",
      at: "2026-01-01T00:00:00.000Z",
      problem:
        'Cannot load filters "zen-system/f": at spec.minSeverty: unknown key; did you mean "minSeverity"?',
    },
  });
  assertEquals(api.patches.length, 2);
});

Deno.test("a follower writes no conditions; become leader, it writes those that differ", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "trivy", minSeverity: "HIGH" }));
  let isLeader = false;
  await using run = await start(api, { isLeader: () => isLeader });
  assertEquals(run.passes({ severity: "LOW" }), false);
  assertEquals(api.patches, []);
  isLeader = true;
  run.watch.publishConditions();
  await eventually("the condition", () => api.patches.length === 1);
});

Deno.test("a tenant's ObservationFilter acts on its own namespace alone", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "*", enabled: false }, "team-a"));
  await using run = await start(api, { tenantNamespaces: [""] });
  assertEquals(run.passes({ resource: { namespace: "team-a" } }), false);
  assertEquals(run.passes({ resource: { namespace: "team-b" } }), true);
  assertEquals(run.passes({ resource: { namespace: "team-a" }, severity: "CRITICAL" }), true);
});

Deno.test("the oldest twenty ObservationFilters of a tenant are in force, and the next one when one of them goes", async () => {
  const api = new ScriptedApi();
  const put = (index: number, namespace: string) => {
    const filter = observationFilter(`f${index}`, { targetSource: `s${index}`, enabled: false }, namespace);
    // Later names are older.
    const creationTimestamp = `2026-01-01T00:${String(59 - index).padStart(2, "0")}:00Z`;
    api.put("observationfilters", { ...filter, metadata: { ...filter.metadata, creationTimestamp } });
  };
  for (let index = 0; index < 25; index++) put(index, "team-a");
  put(0, "team-b");
  await using run = await start(api, { tenantNamespaces: [""] });
  const inForce = (index: number, namespace = "team-a") =>
    !run.passes({ source: `s${index}`, resource: { namespace } });
  const numbers = () => Array.from({ length: 25 }, (_, index) => index).filter((index) => inForce(index));
  assertEquals(numbers(), Array.from({ length: 20 }, (_, index) => index + 5));
  assertEquals(inForce(0, "team-b"), true);
  const { inForce: count, rejected } = run.watch.status().observationFilters;
  assertEquals([count, rejected], [21, 5]);
  await eventually(
    "their conditions",
    () => api.patches.some((patch) => JSON.stringify(patch).includes("LimitExceeded")),
  );

  api.remove("observationfilters", "team-a/f10");
  await eventually("the next oldest", () => inForce(4));
  assertEquals(numbers().length, 20);
});

Deno.test("ObservationFilters that cannot be read are no reason to wait, and what was known stays", async () => {
  const absent = new ScriptedApi();
  absent.deny("observationfilters", 404);
  await using run = await start(absent);
  assertEquals(run.watch.status().observationFilters.state, "absent");

  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "*", minSeverity: "HIGH" }));
  await using other = await start(api);
  api.deny("observationfilters", 403);
  await eventually("the refusal", () => other.watch.status().observationFilters.state === "forbidden");
  assertEquals(other.passes({ severity: "LOW" }), false);
});

Deno.test("documents of Ingesters are ANDed too, and the figures say what each document decided", () => {
  const metrics = createMetrics();
  const clock = { now: () => 0, monotonic: () => 0 };
  const filters = new LiveFilters({ metrics, clock });
  filters.replace("ingesters", [
    { name: "Ingester zen-system/x", source: "x", block: { minSeverity: "HIGH" } },
    { name: "shadow", source: "*", block: { excludeKinds: ["Pod"], mode: "Shadow" } },
    { name: "wrong", source: "*", block: { expression: compileFilterExpression("details.a == 1") } },
  ]);
  filters.filter(normalEvent({ source: "x", severity: "LOW", resource: { kind: "Pod" } }));
  filters.filter(normalEvent({ source: "x", severity: "HIGH" }));
  assertEquals(filters.report(), [
    {
      name: "Ingester zen-system/x",
      source: "x",
      mode: "Enforce",
      dropped: { min_severity: 1 },
      expressionErrors: 0,
    },
    { name: "shadow", source: "*", mode: "Shadow", dropped: { exclude_kinds: 1 }, expressionErrors: 0 },
    { name: "wrong", source: "*", mode: "Enforce", dropped: {}, expressionErrors: 1 },
  ]);
});

Deno.test("filter_pass_rate covers the last five minutes and goes away with its events", async () => {
  const metrics = createMetrics();
  let now = 1_000_000;
  const filters = new LiveFilters({ metrics, clock: { now: () => now, monotonic: () => 0 } });
  filters.replace("configMap", [{ name: "d", source: "*", block: { minSeverity: "HIGH" } }]);
  const rate = async () => {
    filters.publishPassRates();
    return (await metrics.filterPassRate.get()).values.map((value) => value.value);
  };
  filters.filter(normalEvent({ severity: "LOW" }));
  filters.filter(normalEvent({ severity: "HIGH" }));
  assertEquals(await rate(), [0.5]);
  now += 200_000;
  filters.filter(normalEvent({ severity: "HIGH" }));
  filters.filter(normalEvent({ severity: "HIGH" }));
  assertEquals(await rate(), [0.75]);
  now += 200_000;
  assertEquals(await rate(), [1]);
  now += 200_000;
  assertEquals(await rate(), []);
});
