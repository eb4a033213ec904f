/** Ingesters and ObservationMappings live, on the embedded API server: what comes into force, and what their status says. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import type { Clock } from "../src/model/time.ts";
import { at, isObject, type JsonObject } from "../src/model/json.ts";
import { startTestCluster, type TestCluster } from "./support/test_cluster.ts";
import { fixedConnection, type KubeApi, type KubeObject, type ResourceType } from "../src/kube/api.ts";
import { createConditions } from "../src/kube/conditions.ts";
import { createDiscovery } from "../src/kube/discovery.ts";
import { backoff } from "../src/kube/retry.ts";
import { createKubeClient, type KubeClient } from "../src/kube/client.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "../src/mapped/kinds.ts";
import { MappedSources } from "../src/mapped/runtime.ts";
import type { SourceState } from "../src/sources/status.ts";
import { BUILT_IN } from "../src/sources/registry.ts";
import { feedId, type PostFeed, type Source } from "../src/sources/source.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { feedOf } from "./support/source_runtime.ts";
import { CUSTOM_RESOURCE_DEFINITIONS, SECRETS } from "../src/kube/core_resources.ts";

const NAMESPACES: ResourceType = { ...SECRETS, plural: "namespaces", kind: "Namespace", namespaced: false };

const MAPPINGS = "observationmappings.zen.kube-zen.io";

/** Time that only moves when told; every wait is over at the next `advance`. */
class TestClock implements Clock {
  #now = Date.parse("2026-11-22T06:00:00Z");
  #waiting = new Set<() => void>();

  now = () => this.#now;
  monotonic = () => this.#now;

  sleep = (_ms: number, signal?: AbortSignal): Promise<void> => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    return promise;
  };

  advance(ms: number): void {
    this.#now += ms;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const resolve of waiting) resolve();
  }
}

interface Replica extends AsyncDisposable {
  readonly sources: MappedSources;
  readonly told: Source[][];
  readonly states: Map<string, SourceState>;
}

class World implements AsyncDisposable {
  readonly clock = new TestClock();
  readonly server: TestCluster;
  readonly api: KubeClient;

  constructor(server: TestCluster) {
    this.server = server;
    this.api = createKubeClient(fixedConnection({ server: server.url }));
  }

  replica({ leader = true, api = this.api }: { leader?: boolean; api?: KubeApi } = {}): Replica {
    const stop = new AbortController();
    const told: Source[][] = [];
    const states = new Map<string, SourceState>();
    const discovery = createDiscovery(api, {
      wanted: () => [],
      clock: this.clock,
      sleep: this.clock.sleep,
    });
    const { clock } = this;
    const conditions = createConditions({ api, clock, sleep: clock.sleep, isLeader: () => leader });
    const sources = new MappedSources({
      api,
      discovery,
      conditions,
      builtins: BUILT_IN,
      trust: {
        ownNamespace: "zen-system",
        trustedNamespaces: [],
        configMapNamespaces: [],
        reportEngines: [],
      },
      stateOf: (source) => states.get(feedOf(source).ingester?.id ?? "") ?? "serving",
      clock: this.clock,
      metrics: createMetrics(),
      sleep: this.clock.sleep,
      watchTuning: { deniedBackoff: backoff({ initialMs: 1, maxMs: 20 }) },
    });
    sources.changes.subscribe(() => told.push([...sources.active]));
    const running = Promise.all([sources, discovery, conditions].map((part) => part.run(stop.signal)));
    return {
      sources,
      told,
      states,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await running;
      },
    };
  }

  async apply(type: ResourceType, name: string, spec: JsonObject, namespace = "zen-system"): Promise<void> {
    const { group, version, kind } = type;
    await this.api.create(type, {
      apiVersion: `${group}/${version}`,
      kind,
      metadata: { name, namespace },
      spec,
    });
  }

  /** Waits for so many requests, one after the other: what was under way is done by then. */
  async reads(count: number): Promise<void> {
    for (let read = 0; read < count; read++) await this.api.list(INGESTERS);
  }

  /** Lets all waits end, again and again, until `check` holds. */
  until<T>(what: string, check: () => T | undefined | false, { timeoutMs = 10_000 } = {}): Promise<T> {
    return eventually(what, () => {
      const result = check();
      if (result === undefined || result === false) this.clock.advance(10_000);
      return result;
    }, { timeoutMs });
  }

  status(name: string, resource = "ingesters.zen.kube-zen.io"): JsonObject {
    const object = this.server.objects(resource).find(({ metadata }) =>
      isObject(metadata) && metadata.name === name
    );
    return isObject(object?.status) ? object.status : {};
  }

  /** `reason: message` of Ready, `*` before it where it is True. */
  ready(name: string, resource?: string): string {
    const conditions = this.status(name, resource).conditions;
    const [condition] = Array.isArray(conditions) ? conditions : [];
    if (!isObject(condition)) return "";
    return `${condition.status === "True" ? "*" : ""}${condition.reason}: ${condition.message}`;
  }

  async [Symbol.asyncDispose]() {
    this.api.close();
    this.api[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

async function world(): Promise<World> {
  const built = new World(startTestCluster());
  for (const name of ["zen-system", "team"]) await built.api.create(NAMESPACES, { metadata: { name } });
  await installCrds(built);
  return built;
}

async function installCrds({ api }: World): Promise<void> {
  for (const name of ["ingester", "observationmapping"]) {
    const text = await Deno.readTextFile(new URL(`../crds/${name}.yaml`, import.meta.url));
    await api.create(CUSTOM_RESOURCE_DEFINITIONS, parse(text) as KubeObject);
  }
}

const webhook = (source: string, path: string, more: JsonObject = {}): JsonObject => ({
  source,
  type: "webhook",
  webhook: { path },
  mapping: { message: ".m" },
  ...more,
});
/** The ids of what is in force, each with its generation. */
const ids = (replica: Replica) =>
  replica.sources.active.map((source) => feedId(feedOf(source)).replace(/ [^ ]+\/(\d+)\/[^ ]*$/, " $1"));
const resourcesOf = (source: Source | undefined) =>
  source?.feeds.map((feed) => feed.type === "watch" ? feed.resources : feed.type);

Deno.test("an Ingester is activated, changed and deleted while the program runs", async () => {
  await using w = await world();
  await using replica = w.replica();
  await replica.sources.settled;
  assertEquals(replica.sources.active, []);
  await w.apply(INGESTERS, "x", webhook("tool", "/a"));
  await w.until("it to be in force", () => ids(replica)[0] === "Ingester zen-system/x 1");
  await w.until("its condition", () => w.ready("x") === "*InForce: takes what is posted to /a");
  await w.api.patch(INGESTERS, "x", { spec: { webhook: { path: "/b" } } }, {
    namespace: "zen-system",
    type: "merge",
  });
  await w.until("the change", () => ids(replica)[0] === "Ingester zen-system/x 2");
  assertEquals(replica.sources.active.map((source) => (feedOf(source) as PostFeed).path), ["/b"]);
  await w.until("its condition", () => w.ready("x") === "*InForce: takes what is posted to /b");
  await w.api.patch(INGESTERS, "x", { spec: { mapping: { message: ".m[" } } }, {
    namespace: "zen-system",
    type: "merge",
  });
  await w.until("the refusal", () => w.ready("x").endsWith("; generation 2 stays in force"));
  assertStringIncludes(w.ready("x"), "Invalid: at spec.mapping.message: expected [0]");
  assertEquals(ids(replica), ["Ingester zen-system/x 2"]);
  await w.api.delete(INGESTERS, "x", { namespace: "zen-system" });
  await w.until("its end", () => replica.sources.active.length === 0);
  assertEquals(replica.told.map((active) => active.length), [1, 1, 0]);
});

Deno.test("the conditions name the refused objects, and a follower writes none", async () => {
  await using w = await world();
  await w.apply(INGESTERS, "falco", webhook("falco", "/a"));
  await w.apply(INGESTERS, "foreign", webhook("tool", "/b"), "team");
  await w.apply(OBSERVATION_MAPPINGS, "secrets", {
    sourceName: "s",
    version: "v1",
    kind: "Secret",
    mappings: {},
  });
  {
    await using follower = w.replica({ leader: false });
    await follower.sources.settled;
    w.clock.advance(60_000);
  }
  assertEquals([w.ready("falco"), w.ready("foreign")], ["", ""]);
  await using _leader = w.replica();
  await w.until(
    "conditions",
    () => [w.ready("falco"), w.ready("foreign"), w.ready("secrets", MAPPINGS)].every((ready) => ready !== ""),
  );
  assertMatch(w.ready("falco"), /^ReservedSource: at spec.source/);
  assertMatch(w.ready("foreign"), /^NamespaceNotTrusted: /);
  assertMatch(
    w.ready("secrets", MAPPINGS),
    /^ForbiddenTarget: at spec.kind: no source reads secrets/,
  );
});

Deno.test("a slow write does not replace a condition by that of an older generation", async () => {
  await using w = await world();
  const said: string[] = [];
  const slow = Promise.withResolvers<void>();
  let hold = (): Promise<void> | undefined => undefined;
  const api: KubeApi = {
    ...w.api,
    async patch<T extends KubeObject>(...args: Parameters<KubeApi["patch"]>): Promise<T> {
      const [, name, patch] = args;
      if (name === "first") await hold();
      const conditions = at(patch, "status", "conditions");
      if (name === "second" && Array.isArray(conditions)) {
        said.push(`${at(conditions[0], "observedGeneration")} ${at(conditions[0], "reason")}`);
      }
      return await w.api.patch<T>(...args);
    },
  };
  await using replica = w.replica({ api });
  await w.apply(INGESTERS, "first", webhook("first", "/a"));
  await w.apply(INGESTERS, "second", webhook("second", "/b"));
  await w.until(
    "both in force",
    () => [w.ready("first"), w.ready("second")].every((is) => is.startsWith("*")),
  );

  // The watch brings back what was written before anything else is decided.
  await w.reads(3);
  let isHeld = false;
  hold = () => {
    hold = () => undefined;
    isHeld = true;
    return slow.promise;
  };
  for (const name of ["first", "second"]) replica.states.set(`Ingester zen-system/${name}`, "forbidden");
  await w.until("a slow write", () => isHeld);
  const broken = { spec: { mapping: { message: ".m[" } } };
  await w.api.patch(INGESTERS, "second", broken, { namespace: "zen-system", type: "merge" });
  // Long enough for whatever else writes conditions, if it does not wait for the slow write.
  const isWritten = () => w.ready("second").startsWith("Invalid");
  await w.until("the refusal", isWritten, { timeoutMs: 1_000 }).catch(() => {});
  slow.resolve();
  await w.until("the refusal", isWritten);
  await w.until("the other's condition", () => w.ready("first").startsWith("Forbidden"));
  await w.reads(3);
  const order = ["1 InForce", "1 Forbidden", "2 Invalid"];
  assertEquals(said, order.filter((each) => said.includes(each)));
});

Deno.test("a misspelt key is not pruned on its way: the condition names it, and nothing comes into force", async () => {
  await using w = await world();
  await using replica = w.replica();
  await w.apply(INGESTERS, "x", webhook("tool", "/a", { filters: { minSevrity: "HIGH" } }));
  await w.apply(
    INGESTERS,
    "y",
    webhook("tool", "/b", { mapping: { message: ".m", resource: { nam: ".n" } } }),
  );
  await w.apply(OBSERVATION_MAPPINGS, "z", {
    sourceName: "z",
    version: "v1",
    kind: "Pod",
    mappings: { sevrity: "high" },
  });
  const told = () => [w.ready("x"), w.ready("y"), w.ready("z", MAPPINGS)];
  await w.until("conditions", () => told().every((ready) => ready !== ""));
  assertEquals(told(), [
    'Invalid: at spec.filters.minSevrity: unknown key; did you mean "minSeverity"?',
    'Invalid: at spec.mapping.resource.nam: unknown key; did you mean "name"?',
    'Invalid: at spec.mappings.sevrity: unknown key; did you mean "severity"?',
  ]);
  assertEquals(replica.sources.active, []);
});

Deno.test("a kind's plural is discovered, also one that is served later and is irregular", async () => {
  await using w = await world();
  await using replica = w.replica();
  await w.apply(OBSERVATION_MAPPINGS, "policies", {
    sourceName: "policies",
    group: "example.com",
    version: "v1",
    kind: "AccessPolicy",
    mappings: {},
  });
  const ready = () => w.ready("policies", MAPPINGS);
  await w.until("the news that it is not served", () => ready().startsWith("NotServed: "));
  assertEquals(replica.sources.active, []);
  await installCrd(w, { plural: "accesspolicies", kind: "AccessPolicy" });
  await w.until("it to be found", () => replica.sources.active.length === 1);
  const type = {
    group: "example.com",
    version: "v1",
    plural: "accesspolicies",
    kind: "AccessPolicy",
    namespaced: false,
  };
  assertEquals(resourcesOf(replica.sources.active[0]), [[type]]);
  await w.until("its condition", () => ready() === "*InForce: reads accesspolicies.example.com");
});

/** Installs a cluster-scoped CRD of the group example.com. */
async function installCrd({ api }: World, { plural, kind }: { plural: string; kind: string }): Promise<void> {
  await api.create(CUSTOM_RESOURCE_DEFINITIONS, {
    metadata: { name: `${plural}.example.com` },
    spec: {
      group: "example.com",
      scope: "Cluster",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      }],
    },
  });
}

Deno.test("an Ingester of a whole group reads resources installed later, and stays active while discovery of the group fails", async () => {
  await using w = await world();
  await using replica = w.replica();
  const informer = { group: "example.com", version: "v1", resource: "*" };
  await w.apply(INGESTERS, "all", { source: "all", type: "informer", informer, mapping: {} });
  const away = w.server.faults.add({
    verb: "get",
    path: "/apis/example.com",
    effect: { kind: "status", status: 503 },
  });
  await w.until("the news that nothing is known", () => w.ready("all").startsWith("DiscoveryFailed: "));
  assertEquals(replica.sources.claims("all"), "open");
  away.remove();
  await w.until("the news that it is not served", () => w.ready("all").startsWith("NotServed: "));
  await installCrd(w, { plural: "firsts", kind: "First" });
  await w.until("the first resource", () => w.ready("all") === "*InForce: reads firsts.example.com");
  await installCrd(w, { plural: "seconds", kind: "Second" });
  const both = "*InForce: reads firsts.example.com, seconds.example.com";
  await w.until("the second resource", () => w.ready("all") === both);

  const again = w.server.faults.add({
    verb: "get",
    path: "/apis/example.com",
    effect: { kind: "status", status: 503 },
  });
  await w.until("three failed looks", () => again.hits >= 3);
  assertEquals([w.ready("all"), replica.sources.active.length], [both, 1]);
});

Deno.test("a 403 of an API server that starts is no missing right: the first plan waits for the first list", async () => {
  await using w = await world();
  await w.apply(INGESTERS, "x", webhook("tool", "/a"));
  const denied = w.server.faults.add({ path: "/ingesters", effect: { kind: "deny" } });
  await using replica = w.replica();
  let isSettled = false;
  const settle = () => isSettled = true;
  void replica.sources.settled.then(settle);
  await eventually("three refusals", () => denied.hits >= 3);
  assertEquals([isSettled, replica.sources.claims("tool")], [false, "open"]);
  denied.remove();
  await replica.sources.settled;
  assertEquals(ids(replica), ["Ingester zen-system/x 1"]);

  w.server.faults.add({ path: "/ingesters", effect: { kind: "deny" } });
  await using later = w.replica();
  isSettled = false;
  void later.sources.settled.then(settle);
  await w.until("the plan without the right", () => isSettled);
  assertEquals([later.sources.active, later.sources.claims("tool")], [[], "open"]);
});

Deno.test("missing rights are named in the condition with the rule to add", async () => {
  await using w = await world();
  await using replica = w.replica();
  await w.apply(INGESTERS, "pods", {
    source: "pods",
    type: "informer",
    informer: { version: "v1", resource: "namespaces" },
    mapping: {},
  });
  await w.until("its condition", () => w.ready("pods") === "*InForce: reads namespaces");
  replica.states.set("Ingester zen-system/pods", "forbidden");
  await w.until("the refusal", () => w.ready("pods").startsWith("Forbidden"));
  assertEquals(
    w.ready("pods"),
    'Forbidden: namespaces may not be read: add {"apiGroups": [""], "resources": ["namespaces"], ' +
      `"verbs": ["get", "list", "watch"]} to the chart's extraSourceRules`,
  );
  replica.states.set("Ingester zen-system/pods", "synced");
  await w.until("it to be readable again", () => w.ready("pods") === "*InForce: reads namespaces");
});

Deno.test("a webhook's Secret is read from its namespace, only with our label, and again when it changes", async () => {
  await using w = await world();
  await using replica = w.replica();
  const auth = { type: "bearer", secretName: "hook" };
  await w.apply(INGESTERS, "x", webhook("tool", "/a", { webhook: { path: "/a", auth } }));
  await w.until(
    "its condition",
    () => w.ready("x") === 'SecretMissing: there is no Secret "zen-system/hook"',
  );
  const secret = () => {
    const [feed] = replica.sources.active[0]?.feeds ?? [];
    return feed?.type === "post" && feed.auth?.type === "bearer" ? feed.auth.secret() : "no bearer";
  };
  assertEquals(secret(), undefined);
  const metadata = { name: "hook", namespace: "zen-system" };
  await w.api.create(SECRETS, { metadata, data: { token: btoa("first-token\n") } });
  await w.until(
    "the missing label",
    () => w.ready("x").includes("lacks the label zen.kube-zen.io/webhook-auth"),
  );
  assertEquals(secret(), undefined);
  const labels = { "zen.kube-zen.io/webhook-auth": "true" };
  await w.api.patch(SECRETS, "hook", { metadata: { labels } }, { namespace: "zen-system", type: "merge" });
  await w.until("it to be in force", () => w.ready("x").startsWith("*InForce"));
  assertEquals(secret(), "first-token");
  await w.api.patch(SECRETS, "hook", { data: { token: btoa("second-token") } }, {
    namespace: "zen-system",
    type: "merge",
  });
  await w.until("the new token", () => secret() === "second-token");
  assertEquals(replica.told.length, 1, "a token's change is no change of the source");
});

Deno.test("two replicas add up the events they saw, in turns, and no event is counted twice", async () => {
  await using w = await world();
  await using first = w.replica();
  await using second = w.replica({ leader: false });
  await w.apply(INGESTERS, "x", webhook("tool", "/a"));
  await w.until("both to know it", () => ids(first).length + ids(second).length === 2 && w.ready("x") !== "");
  const id = "Ingester zen-system/x";
  first.sources.noteEvents(id, 3);
  second.sources.noteEvents(id, 4);
  first.sources.noteEvents("Ingester zen-system/unknown", 9);
  await w.until("the sum", () => w.status("x").eventsTotal === 7);
  const revision = w.server.revision;
  first.sources.noteEvents(id, 1);
  for (let turn = 0; turn < 3; turn++) {
    w.clock.advance(2_000);
    // A write would be on its way before this read.
    await w.reads(1);
  }
  assertEquals(w.server.revision, revision, "not again within 30 s");
  await w.until("what came after", () => w.status("x").eventsTotal === 8);
  assertMatch(String(w.status("x").lastEventAt), /^2026-11-22T0\d:/);
});

Deno.test("without its CRDs the program runs on, and takes them up once they are there", async () => {
  await using w = new World(startTestCluster());
  await w.api.create(NAMESPACES, { metadata: { name: "zen-system" } });
  await using replica = w.replica();
  await replica.sources.settled;
  assertEquals(replica.told, []);
  await installCrds(w);
  await w.apply(INGESTERS, "x", webhook("tool", "/a"));
  await w.until("it to be in force", () => replica.sources.active.length === 1);
});

Deno.test("a request before the Ingesters are read is answered 503, not 404", async () => {
  await using w = await startDevWorld();
  const { group, version, kind } = INGESTERS;
  const spec = webhook("tool", "/ingest/x", { webhook: { path: "/ingest/x", auth: { type: "none" } } });
  const metadata = { name: "x", namespace: "zen-system" };
  await w.api.create(INGESTERS, { apiVersion: `${group}/${version}`, kind, metadata, spec });
  const away = w.server.faults.add({ path: "/ingesters", effect: { kind: "status", status: 503 } });
  await using app = await w.replica("zen-watcher-0");
  assertEquals((await app.post("/ingest/x", { m: "first" })).status, 503);
  away.remove();
  await eventually("the path", async () => (await app.post("/ingest/x", { m: "first" })).status === 200);
  assertEquals((await app.post("/ingest/y", {})).status, 404);
});
