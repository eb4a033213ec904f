import { createTextLimits, NO_LIMITS } from "../../pipeline/limits.ts";
import { eventually } from "../../../tests/support/eventually.ts";
import type { Served } from "../../kube/discovery.ts";
import { systemClock } from "../../model/time.ts";
import { type ViewKey, viewName, type Views } from "../../model/view.ts";
import { readSettings } from "../../settings.ts";
import { kubeBench } from "../kube_bench/mod.ts";
import type { ConfigMapFeed, Source } from "../source.ts";
import { objectPayload, PulledFeeds, type PulledFeedsOptions, readView } from "./pulled.ts";
import { assertEquals } from "@std/assert";
import { NO_BEAT } from "../../model/beat.ts";
import { ChangeSignal } from "../../model/change_signal.ts";
import { KnownDocuments } from "../../../tests/support/known_documents.ts";
import { ONE_CREATED } from "../../../tests/support/post_feeds.ts";
import { ScriptedApi } from "../../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../../tests/support/virtual_time.ts";
import type { KubeObject, ResourceType } from "../../kube/api.ts";
import { type FilterDocument, LiveFilters } from "../../filters/filter.ts";
import type { Payload } from "../../model/event.ts";
import type { IntakeResult } from "../../pipeline/intake.ts";
import { createMetrics } from "../../telemetry/metrics.ts";
import { SourceStates } from "../status.ts";
import { trivy } from "../trivy/mod.ts";

/** Pulled feeds on an API server that holds nothing, and what they tell of their views. */
function feedsWorld(
  { served = () => ({ state: "absent" }), ...options }:
    & { readonly served?: (type: ResourceType) => Served }
    & Partial<Pick<PulledFeedsOptions, "api" | "intake" | "filterChanges" | "clock" | "watchTuning">> = {},
) {
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
    filterChanges: new ChangeSignal(),
    namespaces: [],
    texts: createTextLimits({ maxBytes: 2 ** 20, memoryBytes: Infinity }),
    slices: NO_LIMITS.slices,
    clusterScoped: true,
    resyncMs: 3_600_000,
    configMapPollMs: 300_000,
    metrics,
    clock: systemClock,
    ...options,
  });
  const stop = new AbortController();
  const running = feeds.run(stop.signal);
  return {
    told,
    states,
    set: (...sources: readonly Source[]) => {
      for (const source of sources) states.add(source);
      feeds.set(sources);
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
  await using w = feedsWorld();
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
  await using w = feedsWorld({ served: () => served });
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

const TYPE = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};
const CLUSTER_TYPE = {
  ...TYPE,
  plural: "clustervulnerabilityreports",
  kind: "ClusterVulnerabilityReport",
  namespaced: false,
};
const VIEW = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
const STORED: IntakeResult = { ...ONE_CREATED, fingerprints: ["0123456789abcdef"] };
const NOT_STORED: IntakeResult = { ...STORED, created: 0, failed: 1, undecided: 1 };

class CountingApi extends ScriptedApi {
  lists = 0;
  gets = 0;

  override get<T extends KubeObject>(...args: Parameters<ScriptedApi["get"]>) {
    this.gets++;
    return super.get<T>(...args);
  }

  override list<T extends KubeObject>(...args: Parameters<ScriptedApi["list"]>) {
    this.lists++;
    return super.list<T>(...args);
  }
}

/** A view of Trivy's reports, and what is done with each by `take`. */
function viewWorld(
  take: (key: string, attempt: number, onWaiting: (isWaiting: boolean) => void) => Promise<IntakeResult>,
) {
  const time = new VirtualTime();
  const api = new CountingApi();
  const documents = new KnownDocuments();
  const attempts = new Map<string, number>();
  const metrics = createMetrics();
  const states = new SourceStates(metrics, time);
  states.add(trivy);
  const stop = new AbortController();
  const evaluateAgain = new ChangeSignal();
  const running = readView({
    api,
    type: TYPE,
    view: VIEW,
    scope: {},
    views: documents,
    states,
    payloadOf: (object) => ({ payload: objectPayload(object, time.now()), readable: true }),
    take({ origin }: Payload, { onWaiting }) {
      const key = `${origin.namespace}/${origin.name}`;
      const attempt = (attempts.get(key) ?? 0) + 1;
      attempts.set(key, attempt);
      return take(key, attempt, onWaiting);
    },
    resyncMs: 3_600_000,
    evaluateAgain,
    filterChanges: new ChangeSignal(),
    affects: () => "none",
    beat: NO_BEAT,
    metrics,
    clock: time,
    watchTuning: { sleep: time.sleep, random: () => 0.5 },
  }, stop.signal);
  return {
    time,
    api,
    documents,
    attempts,
    state: () => states.state("trivy"),
    put: (key: string, values = 0) => {
      const [namespace = "", name = ""] = key.split("/");
      api.put(TYPE.plural, { metadata: { namespace, name }, values: new Array(values).fill(0) });
    },
    remove: (key: string) => api.remove(TYPE.plural, key),
    relist: () => evaluateAgain.raise(),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

/** Trivy's and kube-bench's feeds, and live filters; `read` returns what was listed and evaluated since the last call. */
function filteredWorld() {
  const time = new VirtualTime();
  const read: string[] = [];
  class Api extends ScriptedApi {
    override list<T extends KubeObject>(...[type, options = {}]: Parameters<ScriptedApi["list"]>) {
      read.push(`list ${type.plural} of ${options.namespace ?? "all"}`);
      return super.list<T>(type, options);
    }
  }
  const api = new Api();
  for (const key of ["team-a/one", "team-a/two", "team-b/one"]) {
    const [namespace = "", name = ""] = key.split("/");
    api.put("vulnerabilityreports", { metadata: { namespace, name } });
  }
  const filters = new LiveFilters({ metrics: createMetrics(), clock: time, ownNamespace: "zen-system" });
  const feeds = feedsWorld({
    api,
    clock: time,
    filterChanges: filters.changes,
    watchTuning: { sleep: time.sleep, random: () => 0.5 },
    served: ({ group }) => ({
      state: "served",
      resources: [TYPE, CLUSTER_TYPE].filter((type) => type.group === group),
    }),
    intake: {
      take(_source, payload) {
        if ("origin" in payload) read.push(`evaluate ${payload.origin.namespace}/${payload.origin.name}`);
        return Promise.resolve(STORED);
      },
    },
  });
  feeds.set({ ...trivy, feeds: [{ type: "watch", resources: [TYPE, CLUSTER_TYPE] }] }, kubeBench);
  let rule = 0;
  const documents = new Map<string, FilterDocument>();
  return {
    time,
    api,
    read: () => read.splice(0).toSorted(),
    /** Changes the ObservationFilter of a namespace, or the operator's. */
    edit(source: string, tenantNamespace?: string) {
      documents.set(tenantNamespace ?? "zen-system", {
        name: `ObservationFilter ${tenantNamespace ?? "zen-system"}/x`,
        source,
        block: { excludeRules: [`r${rule++}`] },
        ...(tenantNamespace !== undefined && { tenantNamespace }),
      });
      filters.replace("observationFilters", [...documents.values()]);
    },
    [Symbol.asyncDispose]: () => feeds[Symbol.asyncDispose](),
  };
}

const OF_TEAM_A = ["evaluate team-a/one", "evaluate team-a/two", "list vulnerabilityreports of team-a"];
const WITH_ANY_NAMESPACE = ["list clustervulnerabilityreports of all", "list configmaps of kube-bench"];
const OF_TRIVY = [
  "evaluate team-a/one",
  "evaluate team-a/two",
  "evaluate team-b/one",
  "list clustervulnerabilityreports of all",
  "list vulnerabilityreports of all",
];

Deno.test("a tenant's filter change evaluates the reports of its namespace alone, and changes within a minute once more", async () => {
  await using w = filteredWorld();
  await w.time.advance(0);
  w.read();
  w.edit("*", "team-a");
  await w.time.advance(0);
  assertEquals(w.read(), [...OF_TEAM_A, ...WITH_ANY_NAMESPACE].toSorted());
  for (let edit = 0; edit < 20; edit++) {
    w.edit("*", "team-a");
    await w.time.advance(2_000);
  }
  assertEquals(w.read(), []);
  w.edit("trivy", "team-b");
  await w.time.advance(0);
  assertEquals(
    w.read(),
    ["evaluate team-b/one", "list vulnerabilityreports of team-b"],
    "no tenant waits for another",
  );
  await w.time.advance(30_000);
  assertEquals(w.read(), [...OF_TEAM_A, ...WITH_ANY_NAMESPACE].toSorted());
  await w.time.advance(120_000);
  assertEquals(w.read(), []);
});

Deno.test("an operator's filter change evaluates the views of its source, and changes within a minute once more", async () => {
  await using w = filteredWorld();
  await w.time.advance(0);
  w.read();
  for (let edit = 0; edit < 5; edit++) w.edit("Trivy");
  await w.time.advance(0);
  assertEquals(w.read(), OF_TRIVY);
  await w.time.advance(59_000);
  assertEquals(w.read(), []);
  await w.time.advance(1_000);
  assertEquals(w.read(), OF_TRIVY);
});

Deno.test("a filter that is changed once is evaluated once, not again for the document before it", async () => {
  await using w = filteredWorld();
  for (const namespace of [undefined, "team-a"]) {
    w.edit("trivy", namespace);
    await w.time.advance(120_000);
    w.read();
    w.edit("trivy", namespace);
    await w.time.advance(120_000);
    const isOperators = namespace === undefined;
    assertEquals(w.read(), isOperators ? OF_TRIVY : [...OF_TEAM_A, WITH_ANY_NAMESPACE[0]].toSorted());
  }
});

Deno.test("a changed filter of a pushed source evaluates no view", async () => {
  await using w = filteredWorld();
  await w.time.advance(0);
  w.read();
  for (const namespace of ["team-a", undefined]) w.edit("falco", namespace);
  await w.time.advance(120_000);
  assertEquals(w.read(), []);
});

Deno.test("readView() retries a denied resource less and less often, and reads it soon after access is granted", async () => {
  await using w = viewWorld(() => Promise.reject(new Error("there is nothing to be taken in")));
  w.api.deny(TYPE.plural, 403);
  await w.time.advance(10_000);
  const soon = w.api.lists;
  assertEquals([soon >= 5, w.state()], [true, "forbidden"]);
  await w.time.advance(3_600_000);
  assertEquals(w.api.lists - soon <= 70, true, `${w.api.lists - soon} requests in an hour`);
  w.api.deny(TYPE.plural, 0);
  await w.time.advance(60_000);
  assertEquals(w.state(), "synced");
});

Deno.test("readView() completes an evaluation even if calls for another come faster", async () => {
  let isChanging = true;
  let taken = 0;
  const takenAtCompletion = new Map<number, number>();
  await using w = viewWorld(async () => {
    await w.time.sleep(1);
    taken++;
    takenAtCompletion.set(w.documents.completed, taken);
    if (isChanging) w.relist();
    return STORED;
  });
  for (let report = 0; report < 20; report++) w.put(`shop/report-${report}`);
  await w.time.advance(8);
  assertEquals([takenAtCompletion.get(0), takenAtCompletion.get(1)], [20, 40]);
  isChanging = false;
  await w.time.advance(10);
  const before = taken;
  w.relist();
  await w.time.advance(10);
  assertEquals(taken, before + 20);
});

Deno.test("readView() is partial while one document is unreadable or cut by its tool, until it is whole or gone", async () => {
  const parts = new Map<string, Partial<IntakeResult>>();
  await using w = viewWorld((key) => Promise.resolve({ ...STORED, ...parts.get(key) }));
  const change = async (key: string, part: Partial<IntakeResult>) => {
    parts.set(key, part);
    w.put(key);
    await w.time.advance(0);
    return w.state();
  };
  assertEquals(await change("shop/a", {}), "synced");
  assertEquals(await change("shop/b", { payloadErrorCount: 1 }), "partial");
  assertEquals(await change("shop/a", { isPartial: true }), "partial");
  assertEquals(await change("shop/b", {}), "partial");
  w.relist();
  await w.time.advance(0);
  assertEquals([w.state(), w.documents.unread], ["partial", ["shop/a"]]);
  assertEquals(await change("shop/a", {}), "synced");
  assertEquals(await change("shop/b", { payloadErrorCount: 1 }), "partial");
  w.remove("shop/b");
  await w.time.advance(0);
  assertEquals(w.state(), "synced");
  assertEquals(await change("shop/b", { payloadErrorCount: 1 }), "partial");
  w.api.deny(TYPE.plural, 403);
  w.relist();
  await w.time.advance(0);
  assertEquals(w.state(), "forbidden", "that it cannot be read at all is worse");
});

Deno.test("readView() is partial while a namespace that takes no writes has documents that are put off", async () => {
  const writable = Promise.withResolvers<IntakeResult>();
  await using w = viewWorld((key) => key.startsWith("shop/") ? Promise.resolve(STORED) : writable.promise);
  for (let report = 0; report < 20; report++) w.put(`full/report-${report}`);
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.state(), w.documents.reporting.includes("shop/report")], ["partial", true]);
  writable.resolve(STORED);
  await w.time.advance(60_000);
  assertEquals([w.state(), w.documents.unread], ["synced", []]);
});

Deno.test("a retry that ends after a new list does not restore a report that the list lacks", async () => {
  const retry = Promise.withResolvers<IntakeResult>();
  await using w = viewWorld((key, attempt) => {
    if (key === "shop/kept") return Promise.resolve(STORED);
    return attempt === 1 ? Promise.resolve(NOT_STORED) : retry.promise;
  });
  w.put("shop/kept");
  w.put("shop/deleted");
  await w.time.advance(0);
  assertEquals(w.documents.reporting, ["shop/deleted", "shop/kept"]);
  await w.time.advance(1_000);
  assertEquals(w.attempts.get("shop/deleted"), 2, "the retry is under way");
  w.remove("shop/deleted");
  w.relist();
  await w.time.advance(0);
  retry.resolve(STORED);
  await w.time.advance(0);
  assertEquals([w.documents.completed, w.documents.reporting], [2, ["shop/kept"]]);
});

Deno.test("a report that the watch or a new list shows as deleted is not tried again", async () => {
  await using w = viewWorld(() => Promise.resolve(NOT_STORED));
  for (const by of ["watch", "list"]) {
    w.put("shop/deleted");
    await w.time.advance(0);
    assertEquals(w.documents.reporting, ["shop/deleted"]);
    w.remove("shop/deleted");
    if (by === "list") w.relist();
    await w.time.advance(0);
    assertEquals(w.documents.reporting, [], by);
    await w.time.advance(120_000);
    assertEquals(w.documents.reporting, [], by);
  }
});

Deno.test("a report that could not be stored is tried again until it is", async () => {
  await using w = viewWorld((_key, attempt) => Promise.resolve(attempt < 4 ? NOT_STORED : STORED));
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.attempts.get("shop/report"), w.documents.unread], [4, []]);
});

Deno.test("a report with an incomplete list resolves nothing until it is complete", async () => {
  await using w = viewWorld((_key, attempt) =>
    Promise.resolve(attempt === 1 ? { ...STORED, isPartial: true } : STORED)
  );
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.documents.reporting, w.documents.unread], [["shop/report"], ["shop/report"]]);
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.attempts.get("shop/report"), w.documents.unread], [2, []]);
});

Deno.test("a namespace whose reports cannot be stored delays no other, and is evaluated when they can be stored", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = viewWorld((key) => key.startsWith("stuck/") ? stored.promise : Promise.resolve(STORED));
  const stuck = Array.from({ length: 40 }, (_, index) => `stuck/report-${index}`);
  for (const key of stuck) w.put(key);
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.documents.completed, w.attempts.get("shop/report")], [1, 1]);
  assertEquals(w.documents.unread, stuck.toSorted(), "nothing of theirs is taken for ended");
  assertEquals(w.attempts.size < 20, true, `${w.attempts.size} reports in work`);
  w.put("shop/another");
  await w.time.advance(0);
  assertEquals(w.attempts.get("shop/another"), 1);
  stored.resolve(STORED);
  await w.time.advance(0);
  assertEquals(w.documents.unread, []);
  assertEquals(stuck.filter((key) => w.attempts.get(key) !== 1), [], "each once");
});

Deno.test("one report that cannot be stored delays no other of its namespace", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = viewWorld((key) => key === "shop/a" ? stored.promise : Promise.resolve(STORED));
  for (const name of ["a", "b"]) w.put(`shop/${name}`);
  await w.time.advance(60_000);
  w.put("shop/c");
  await w.time.advance(0);
  assertEquals([w.attempts.get("shop/b"), w.attempts.get("shop/c"), w.documents.unread], [1, 1, ["shop/a"]]);
  stored.resolve(STORED);
});

Deno.test("documents that wait for a rate or a retry delay no other namespace, with any number of tenants", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = viewWorld((key, _attempt, onWaiting) => {
    if (!key.startsWith("evil-")) return Promise.resolve(STORED);
    onWaiting(true);
    return stored.promise;
  });
  const evil = Array.from({ length: 80 }, (_, index) => `evil-${index % 6}/report-${index}`);
  for (const key of evil) w.put(key);
  for (const key of ["shop/a", "shop/b"]) w.put(key);
  await w.time.advance(9_000);
  assertEquals([w.attempts.get("shop/a"), w.attempts.get("shop/b")], [1, 1]);
  assertEquals(w.attempts.size <= 2 + 32, true, `${w.attempts.size} reports in work`);
  stored.resolve(STORED);
  await w.time.advance(10_000);
  assertEquals([w.attempts.size, w.documents.unread], [82, []]);
});

Deno.test("documents that wait for a moment are not read again", async () => {
  await using w = viewWorld(async (_key, _attempt, onWaiting) => {
    onWaiting(true);
    await w.time.sleep(50);
    onWaiting(false);
    return STORED;
  });
  for (let report = 0; report < 60; report++) w.put(`shop/report-${report}`);
  await w.time.advance(5_000);
  assertEquals([w.attempts.size, w.api.gets], [60, 0]);
});

Deno.test("readView() evaluates one report of many values at a time, and reads those later whose namespace has one that waits", async () => {
  const waiting = Promise.withResolvers<IntakeResult>();
  const reports = new Map<string, PromiseWithResolvers<IntakeResult>>();
  await using w = viewWorld((key, _attempt, onWaiting) => {
    if (key.startsWith("shop/")) return Promise.resolve(STORED);
    if (key.startsWith("slow-")) onWaiting(true);
    const report = Promise.withResolvers<IntakeResult>();
    reports.set(key, report);
    return key.startsWith("slow-") ? waiting.promise : report.promise;
  });
  for (const key of ["evil/a", "evil/b", "evil/c"]) w.put(key, 40_000);
  await w.time.advance(0);
  assertEquals([...reports.keys()], ["evil/a"], "the others come after it");
  for (const key of ["evil/a", "evil/b", "evil/c"]) {
    reports.get(key)?.resolve(STORED);
    await w.time.advance(0);
  }
  assertEquals(w.documents.unread, []);
  for (const namespace of [1, 1, 2, 3, 4, 5]) w.put(`slow-${namespace}/${reports.size}`, 40_000);
  for (let count = 0; count < 40; count++) w.put(`slow-1/more-${count}`, 40_000);
  await w.time.advance(9_000);
  const inWork = [...reports.keys()].filter((key) => key.startsWith("slow-"));
  assertEquals(inWork.length, 4, `${inWork}`);
  w.put("shop/large", 40_000);
  w.put("shop/small");
  await w.time.advance(0);
  assertEquals(w.attempts.get("shop/small"), 1);
  waiting.resolve(STORED);
  await w.time.advance(10_000);
  assertEquals([w.attempts.get("shop/large"), w.documents.unread], [1, []]);
});
