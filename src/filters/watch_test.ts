import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../../tests/support/eventually.ts";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import type { NormalEvent } from "../model/event.ts";
import { isObject } from "../model/json.ts";
import type { KubeObject } from "../kube/api.ts";
import { createConditions } from "../kube/conditions.ts";
import { sleep } from "../kube/retry.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import type { FilterEvent } from "./configmap_filters.ts";
import { createFilterStatus } from "./filter_status.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import { createFiltersWatch, type FiltersWatchOptions } from "./watch.ts";
import { compileFilterExpression } from "./expression.ts";
import { LiveFilters } from "./filter.ts";
import { OBSERVATION_FILTERS } from "./observation_filters.ts";
import type { KnownSource } from "./warnings.ts";

const NAME = "zen-watcher-filter";
const STATUS_NAME = "zen-watcher-filter-status";

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
  const filters = new LiveFilters({
    metrics,
    clock,
    ownNamespace: "zen-system",
  });
  filters.changes.subscribe(() => changes++);
  const stop = new AbortController();
  const configMap = { namespace: "zen-system", name: NAME, key: "filter.json" };
  const status = createFilterStatus({
    api,
    clock,
    filters,
    configMap,
    statusName: STATUS_NAME,
    isLeader,
    sleep: (ms, signal) => sleep(Math.min(ms, 5), signal),
  });
  const watch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    configMap,
    status,
    knownSources: () => undefined,
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

Deno.test("the active filters follow the ConfigMap, and each change is reported once", async () => {
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

Deno.test("the active filters stay while the ConfigMap is invalid, missing or unreadable", async () => {
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

Deno.test("a 403 or 503 of a starting API server does not reject filters, and nothing passes unfiltered meanwhile", async () => {
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

Deno.test("filters let everything pass until valid ones were read, and report that", async () => {
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

Deno.test("filters that are readable again without a change report that, and stay the same", async () => {
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

Deno.test("filters that were refused before they were unreadable say again why they were refused", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", statusConfigMap());
  api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "XX"}}}'));
  await using run = await start(api);
  const said = async (reason: string) => await stored(api, "reason") === reason;
  await eventually("the refused text in the status", () => said("Invalid"));
  const message = await stored(api, "message");
  assertStringIncludes(String(message), "at sources.trivy.minSeverity");
  const rejection = run.watch.status().configMap.lastRejection;
  api.deny("configmaps", 403);
  await eventually("the refusal", () => run.watch.status().configMap.state === "unreadable");
  api.deny("configmaps", 0);
  await eventually("the recovery", () => run.watch.status().configMap.state === "rejected");
  assertEquals(run.watch.status().configMap.lastRejection, rejection);
  await eventually("the old message in the status", async () => await stored(api, "message") === message);
});

Deno.test("a ConfigMap that was never there is said to be missing, also after it could not be read", async () => {
  for (const status of [0, 403]) {
    const api = new ScriptedApi();
    api.put("configmaps", statusConfigMap());
    if (status !== 0) api.deny("configmaps", status);
    await using run = await start(api);
    api.deny("configmaps", 0);
    await eventually("the missing ConfigMap", () => run.watch.status().configMap.state === "missing");
    assertEquals(run.watch.status().configMap.lastRejection, undefined);
    await eventually("the status", async () => await stored(api, "reason") === "Missing");
    assertEquals(
      await stored(api, "message"),
      `The ConfigMap "zen-system/${NAME}" does not exist; every event is allowed, as no good filters were read yet`,
    );
  }
});

Deno.test("during fifty edits, every second one invalid, the last valid one is always active", async () => {
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

Deno.test("an ObservationFilter is ANDed with the ConfigMap until it is deleted", async () => {
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

Deno.test("an ObservationFilter that becomes invalid keeps its last valid spec, and its condition says so", async () => {
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
      inForce: { generation: 1, spec: { targetSource: "trivy", minSeverity: "HIGH" } },
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

Deno.test("a follower writes no conditions, and writes those that differ when it becomes leader", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "trivy", minSeverity: "HIGH" }));
  let isLeader = false;
  await using run = await start(api, { isLeader: () => isLeader });
  assertEquals(run.passes({ severity: "LOW" }), false);
  const written = () => api.patches.filter(({ patch }) => JSON.stringify(patch).includes('"conditions"'));
  assertEquals(written(), []);
  isLeader = true;
  run.watch.publishConditions();
  await eventually("the condition", () => written().length === 1);
});

Deno.test("a tenant's ObservationFilter applies only to its own namespace", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "*", enabled: false }, "team-a"));
  await using run = await start(api, { tenantNamespaces: [""] });
  assertEquals(run.passes({ resource: { namespace: "team-a" } }), false);
  assertEquals(run.passes({ resource: { namespace: "team-b" } }), true);
  assertEquals(run.passes({ resource: { namespace: "team-a" }, severity: "CRITICAL" }), true);
});

Deno.test("the oldest twenty ObservationFilters of a tenant are active, and the next one when one is deleted", async () => {
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

Deno.test("ObservationFilters that cannot be read do not delay readiness, and the known ones stay", async () => {
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

Deno.test("ObservationFilters whose CRD is deleted while the watch is cut are out of force, and in force again with it", async () => {
  const api = new ScriptedApi();
  api.put("observationfilters", observationFilter("f", { targetSource: "*", minSeverity: "HIGH" }));
  await using run = await start(api);
  assertEquals(run.passes({ severity: "LOW" }), false);
  api.deny("observationfilters", 503);
  const retried = run.retries;
  await eventually("tries that fail", () => run.retries > retried + 2);
  assertEquals(run.passes({ severity: "LOW" }), false);
  api.deny("observationfilters", 404);
  await eventually("the end of the filter", () => run.passes({ severity: "LOW" }));
  const { state, inForce } = run.watch.status().observationFilters;
  assertEquals([state, inForce], ["absent", 0]);
  api.deny("observationfilters", 0);
  await eventually("the filter", () => !run.passes({ severity: "LOW" }));
});

Deno.test("documents of Ingesters are ANDed too, and the report counts what each document decided", () => {
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

/** The ConfigMap that the chart makes for the last good filters. */
function statusConfigMap(data?: Record<string, string>): KubeObject {
  return { metadata: { name: STATUS_NAME, namespace: "zen-system" }, ...(data && { data }) };
}

/** What the ConfigMap for the last good filters holds under a key. */
async function stored(api: ScriptedApi, key: string): Promise<unknown> {
  const { data } = await api.get<KubeObject>(CONFIG_MAPS, STATUS_NAME, { namespace: "zen-system" });
  return isObject(data) ? data[key] : undefined;
}

const GOOD = '{"sources": {"trivy": {"minSeverity": "HIGH"}}}';

Deno.test("after a restart the last good filters are active even if the ConfigMap is invalid or gone", async () => {
  const badness: Record<string, (api: ScriptedApi) => void> = {
    rejected: (api) => api.put("configmaps", configMap('{"sources": {"trivy": {"minSeverity": "XX"}}}')),
    key_missing: (api) => api.put("configmaps", configMap(GOOD, "other.json")),
    missing: (api) => api.remove("configmaps", `zen-system/${NAME}`),
  };
  for (const [state, turnBad] of Object.entries(badness)) {
    const api = new ScriptedApi();
    api.put("configmaps", statusConfigMap());
    api.put("configmaps", configMap(GOOD));
    {
      await using _first = await start(api);
      await eventually(
        "the last good filters to be stored",
        async () => await stored(api, "lastGood") === GOOD,
      );
    }
    turnBad(api);
    await using second = await start(api);
    assertEquals(second.passes({ severity: "LOW" }), false, state);
    assertEquals(second.passes({ severity: "HIGH" }), true, state);
    const { state: told, hasLastGood } = second.watch.status().configMap;
    assertEquals([told, hasLastGood], [state, true]);
    await eventually("its state to be stored", async () => await stored(api, "ready") === "False");
    assertStringIncludes(String(await stored(api, "message")), "the last good filters stay in force");
    api.put("configmaps", configMap('{"sources": {}}'));
    await eventually("the change", () => second.passes({ severity: "LOW" }));
  }
});

Deno.test("last good filters of another ConfigMap, and unreadable ones, do not become active", async () => {
  for (
    const data of [
      { lastGood: GOOD, lastGoodOf: "zen-system/other filter.json" },
      { lastGood: "{", lastGoodOf: `zen-system/${NAME} filter.json` },
    ]
  ) {
    const api = new ScriptedApi();
    api.put("configmaps", statusConfigMap(data));
    await using run = await start(api);
    assertEquals(run.passes({ severity: "LOW" }), true);
    assertEquals(run.watch.status().configMap.hasLastGood, false);
  }
});

Deno.test("a restart waits for the last good filters while the API server answers 503", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", statusConfigMap({ lastGood: GOOD, lastGoodOf: `zen-system/${NAME} filter.json` }));
  api.deny("configmaps", 503);
  const starting = start(api);
  let isDecided = false;
  void starting.then(() => isDecided = true);
  await eventually("the list and the last good filters to be refused", () => api.refusals >= 2);
  assertEquals(isDecided, false);
  api.deny("configmaps", 0);
  await using run = await starting;
  assertEquals(run.passes({ severity: "LOW" }), false);
});

Deno.test("after a restart the last good spec of an invalid ObservationFilter is active, and leaves its status when the spec is corrected", async () => {
  const api = new ScriptedApi();
  const good = { targetSource: "trivy", minSeverity: "HIGH" };
  const put = (spec: KubeObject["spec"], generation: number, status?: unknown) =>
    api.put("observationfilters", {
      metadata: { name: "f", namespace: "zen-system", generation },
      spec,
      ...(status === undefined ? {} : { status }),
    });
  const statusOf = async () => {
    const { status } = await api.get<KubeObject>(OBSERVATION_FILTERS, "f", { namespace: "zen-system" });
    return isObject(status) ? status : {};
  };
  put(good, 1);
  {
    await using _first = await start(api);
    await eventually("the condition", async () => (await statusOf()).conditions);
    put({ ...good, minSeverity: "XX" }, 2, await statusOf());
    _first.pass(1_000);
    await eventually("the last good spec in its status", async () => (await statusOf()).inForce);
  }
  assertEquals((await statusOf()).inForce, { generation: 1, spec: good });
  for (const isLeader of [true, false]) {
    await using second = await start(api, { isLeader: () => isLeader });
    assertEquals(second.passes({ severity: "LOW" }), false);
    assertEquals(second.watch.status().observationFilters.inForce, 1);
  }
  await using third = await start(api);
  put(good, 3, await statusOf());
  third.pass(1_000);
  await eventually("the status without it", async () => (await statusOf()).inForce == null);
});

Deno.test("a follower without the last good spec takes it from the status that the leader writes", async () => {
  const api = new ScriptedApi();
  const broken = observationFilter("f", { targetSource: "trivy", minSeverity: "XX" });
  api.put("observationfilters", broken);
  await using run = await start(api, { isLeader: () => false });
  assertEquals(run.passes({ severity: "LOW" }), true);
  const spec = { targetSource: "trivy", minSeverity: "HIGH" };
  api.put("observationfilters", { ...broken, status: { inForce: { generation: 1, spec } } });
  await eventually("the spec in force", () => !run.passes({ severity: "LOW" }));
});

Deno.test("filters without a ConfigMap for the last good ones stay in memory, with a warning", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", configMap(GOOD));
  const lines: string[] = [];
  configureLogging({ level: "WARN", format: "json", write: (line) => lines.push(line), now: () => 0 });
  try {
    await using run = await start(api);
    await eventually("the warning", () => lines.some((line) => line.includes(STATUS_NAME)));
    assertEquals(run.passes({ severity: "LOW" }), false);
  } finally {
    configureLogging({ level: "CRIT", format: "json", write: () => {}, now: () => 0 });
  }
});

Deno.test("a filter for an unknown source or category is active, with a warning in Event, status and condition", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", statusConfigMap());
  api.put("configmaps", configMap('{"sources": {"falko": {"minSeverity": "HIGH"}}}'));
  api.put("observationfilters", observationFilter("a", { targetSource: "trivvy", excludeKinds: ["Pod"] }));
  api.put(
    "observationfilters",
    observationFilter("b", { targetSource: "falco", includeCategories: ["cost"] }),
  );
  let known: KnownSource[] = [{ name: "trivy" }, { name: "falco", categories: ["security"] }];
  await using run = await start(api, { knownSources: () => known });
  const warning = 'no source "falko" is built in or defined by an Ingester; did you mean "falco"?';
  assertEquals(run.watch.status().configMap.warnings, [`at sources.falko: ${warning}`]);
  assertEquals(run.events.map(({ reason, message }) => [reason, message]), [
    ["FiltersWarning", `at sources.falko: ${warning}`],
  ]);
  await eventually("the ConfigMap's state", async () => {
    return await stored(api, "ready") === "True" && String(await stored(api, "message")).includes(warning);
  });
  const conditions = async () => {
    const { items } = await api.list<KubeObject>(OBSERVATION_FILTERS);
    return items.map(({ status }) => conditionOf(status));
  };
  await eventually("both conditions", async () => (await conditions()).every((text) => text !== ""));
  assertEquals(await conditions(), [
    'True: In force. Warning: no source "trivvy" is built in or defined by an Ingester; did you mean "trivy"?',
    'True: In force. Warning: falco reports nothing of the category "cost"',
  ]);
  known = [...known, { name: "trivvy" }, { name: "falko" }];
  run.watch.sourcesChanged();
  run.pass(1_000);
  await eventually("the warning to go", async () => (await conditions())[0] === "True: In force");
  assertEquals(run.watch.status().configMap.warnings, []);
});

Deno.test("a tenant's filter that can drop nothing is active with a warning in its condition", async () => {
  const api = new ScriptedApi();
  const put = (name: string, spec: KubeObject["spec"], namespace?: string) =>
    api.put("observationfilters", observationFilter(name, spec, namespace));
  put("own", { targetSource: "audit", excludeSeverity: ["CRITICAL"], excludeNamespaces: ["team-b"] });
  put("audit", { targetSource: "audit", enabled: false }, "team-a");
  put("critical", { targetSource: "*", excludeSeverity: ["CRITICAL"] }, "team-a");
  put("elsewhere", { targetSource: "falco", excludeNamespaces: ["Team-B", "kube-*"] }, "team-a");
  put("here", { targetSource: "falco", excludeNamespaces: ["kube-*", "TEAM-*"] }, "team-a");
  const knownSources = () => [{ name: "audit", neverDroppedByTenants: true as const }, { name: "falco" }];
  await using _run = await start(api, { knownSources, tenantNamespaces: [""] });
  const conditions = async () => {
    const { items } = await api.list<KubeObject>(OBSERVATION_FILTERS);
    return items.map(({ status }) => conditionOf(status));
  };
  await eventually("the conditions", async () => (await conditions()).every((text) => text !== ""));
  assertEquals(await conditions(), [
    "True: In force",
    "True: In force. Warning: a tenant's filter never drops audit",
    "True: In force. Warning: a tenant's filter never drops CRITICAL",
    "True: In force. Warning: excludeNamespaces drops nothing: a tenant's filter acts on its own namespace, team-a, alone",
    "True: In force",
  ]);
});

function conditionOf(status: unknown): string {
  const [ready] = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
  return isObject(ready) ? `${ready.status}: ${ready.message}` : "";
}

Deno.test("each document's status shows what it dropped in its own namespace, with secrets masked", async () => {
  const api = new ScriptedApi();
  api.put("configmaps", statusConfigMap());
  api.put(
    "configmaps",
    configMap(
      '{"sources": {"*": {"excludeKinds": ["Node"]}, "trivy": {"minSeverity": "HIGH", "mode": "Shadow"}}}',
    ),
  );
  api.put("observationfilters", observationFilter("own", { targetSource: "falco", minSeverity: "HIGH" }));
  api.put(
    "observationfilters",
    observationFilter("team", { targetSource: "*", excludeKinds: ["Pod"] }, "team-a"),
  );
  await using run = await start(api, { tenantNamespaces: [""] });
  const resource = { kind: "Pod", name: "web", namespace: "team-a" };
  const rule = "token=ghp_0123456789abcdefghijklmnopqrstuvwxyz";
  run.passes({
    source: "falco",
    severity: "LOW",
    rule: "R",
    rules: ["R"],
    resource: { kind: "Deployment", name: "web", namespace: "shop" },
  });
  run.passes({
    source: "falco",
    severity: "LOW",
    rule,
    rules: [rule],
    resource: { kind: "Deployment", name: "web", namespace: "shop" },
  });
  for (let index = 0; index < 25; index++) {
    run.passes({ source: "kyverno", severity: "HIGH", rule: `r${index % 15}`, resource });
  }
  run.passes({ source: "kyverno", severity: "HIGH", resource: { kind: "Node", name: "n1" } });
  run.passes({
    source: "trivy",
    severity: "LOW",
    rule: "CVE-1",
    resource: { kind: "Deployment", name: "web", namespace: "shop" },
  });
  const statusOf = async (name: string, namespace: string) => {
    const { status } = await api.get<KubeObject>(OBSERVATION_FILTERS, name, { namespace });
    return isObject(status) ? status : {};
  };
  await eventually("the drops of both", async () => {
    return (await statusOf("own", "zen-system")).dropped === 2 &&
      (await statusOf("team", "team-a")).dropped === 25;
  });
  const time = "2026-01-01T00:00:00Z";
  const dropped = {
    time,
    source: "falco",
    severity: "LOW",
    namespace: "shop",
    resource: "Deployment/web",
    reason: "min_severity",
  };
  assertEquals((await statusOf("own", "zen-system")).lastDrops, [
    { ...dropped, rule: "token=***" },
    { ...dropped, rule: "R" },
  ]);
  const { lastDrops } = await statusOf("team", "team-a");
  assert(Array.isArray(lastDrops));
  assertEquals(lastDrops.map((each) => isObject(each) && [each.rule, each.namespace]), [
    ...Array.from({ length: 10 }, (_, index) => [`r${9 - index}`, "team-a"]),
  ]);
  await eventually("the ConfigMap's drops", async () => await stored(api, "drops.json"));
  assertEquals(JSON.parse(String(await stored(api, "drops.json"))), {
    sources: {
      "*": {
        dropped: 1,
        lastDrops: [{
          time,
          source: "kyverno",
          severity: "HIGH",
          resource: "Node/n1",
          reason: "exclude_kinds",
        }],
      },
      trivy: {
        wouldDrop: {
          lastDay: 1,
          hours: [{ hour: time, count: 1 }],
          samples: [{ ...dropped, source: "trivy", rule: "CVE-1" }],
        },
      },
    },
  });
});

Deno.test("a leader that does not know the last good spec keeps the one in the status", async () => {
  const api = new ScriptedApi();
  const broken = observationFilter("f", { targetSource: "trivy", minSeverity: "XX" });
  api.put("observationfilters", broken);
  let isLeader = false;
  await using run = await start(api, { isLeader: () => isLeader });
  // The status was written just now, and the watch has not brought it yet.
  const inForce = { generation: 1, spec: { targetSource: "trivy", minSeverity: "HIGH" } };
  api.change("observationfilters", "zen-system/f", { status: { inForce } });
  isLeader = true;
  run.watch.publishConditions();
  await eventually("the condition", () => api.patches.length > 0);
  const { status } = await api.get<KubeObject>(OBSERVATION_FILTERS, "f", { namespace: "zen-system" });
  assertEquals(isObject(status) && status.inForce, inForce);
});
