import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { KnownDocuments } from "../tests/support/known_documents.ts";
import { settled, VirtualTime } from "../tests/support/virtual_time.ts";
import { createFilterStatus, filterStatusName } from "./filters/filter_status.ts";
import { createFiltersWatch } from "./filters/watch.ts";
import { LiveFilters } from "./filters/filter.ts";
import { Health } from "./health.ts";
import { ApiError, type KubeApi, NetworkError } from "./kube/api.ts";
import { createConditions } from "./kube/conditions.ts";
import { createDiscovery } from "./kube/discovery.ts";
import { createLeaderElection } from "./kube/lease.ts";
import { every } from "./kube/retry.ts";
import { watch } from "./kube/watch.ts";
import { type Runnable, RunnableGroup, untilAborted } from "./lifecycle.ts";
import { INGESTERS } from "./mapped/kinds.ts";
import { MappedSources } from "./mapped/runtime.ts";
import { ChangeSignal } from "./model/change_signal.ts";
import { readView } from "./sources/feeds/pulled.ts";
import { BUILT_IN, SOURCES } from "./sources/registry.ts";
import { watchedResources } from "./sources/source.ts";
import { SourceStates } from "./sources/status.ts";
import { OBSERVATIONS } from "./store/mod.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import type { Beat } from "./model/beat.ts";

/** Runs tasks in virtual time, observed by a health. */
async function play(
  tasksOf: (time: VirtualTime) => readonly Runnable[],
  test: (world: { time: VirtualTime; health: Health; stop: () => Promise<void> }) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const health = new Health(time, createMetrics());
  const group = new RunnableGroup(tasksOf(time), health);
  group.start();
  await settled();
  try {
    await test({ time, health, stop: () => group.stop() });
  } finally {
    await group.stop();
  }
}

Deno.test("health names the task that is stuck, and since when; a task that waits for work is not", async () => {
  const task = (name: string, round: (beat: Beat) => void): Runnable => ({
    name,
    run(signal, beat) {
      round(beat);
      return untilAborted(signal);
    },
  });
  await play(() => [
    task("stuck", (beat) => beat.of("reader").within(10_000)),
    task("slow", (beat) => beat.within(3_600_000)),
    task("waiting", (beat) => {
      beat.within(10_000);
      beat.idle();
    }),
  ], async ({ time, health, stop }) => {
    await time.advance(10_000);
    assert(health.live().ok);
    await time.advance(5_000);
    const { ok, reasons, checks } = health.live();
    assert(!ok);
    assertEquals(reasons, ["stuck: reader has been stuck for 15 s: a round takes at most 10 s"]);
    assertEquals(checks, { stuck: false, "stuck: reader": false, slow: true, waiting: true });
    await stop();
    assert(health.live().ok, "a task that was stopped is not stuck");
  });
});

Deno.test("health names the task, and the loop of a task, that never began to beat", async () => {
  await play(() => [
    { name: "silent", run: untilAborted },
    {
      name: "half silent",
      run(signal, beat) {
        beat.of("one").idle();
        beat.of("other");
        return untilAborted(signal);
      },
    },
  ], async ({ time, health }) => {
    await time.advance(60_000);
    assert(health.live().ok);
    await time.advance(1_000);
    const { reasons, checks } = health.live();
    assertEquals(reasons.map((reason) => reason.split(" has been")[0]), [
      "silent: start",
      "half silent: other: start",
    ]);
    assertEquals([checks["silent"], checks["half silent"]], [false, false]);
  });
});

Deno.test("health names the task whose work of every second failed", async () => {
  const broken = () => {
    throw new Error("Cannot count");
  };
  await play((time) => [{
    name: "broken",
    run: (signal, beat) => every(1_000, broken, { signal, beat, sleep: time.sleep }),
  }], async ({ time, health }) => {
    assert(health.live().ok);
    await time.advance(1_000);
    assertEquals(health.live().reasons, ["broken has ended"]);
  });
});

/** An API server of which every request ends, or does not, as `answer` says. */
function apiThat(answer: () => Promise<never>): KubeApi {
  return {
    list: answer,
    get: answer,
    create: answer,
    replace: answer,
    patch: answer,
    delete: answer,
    getPath: answer,
    watch: async function* () {
      yield await answer();
    },
  };
}

/** The tasks of the program that ask the API server, with the longest waits. */
function tasksOf(time: VirtualTime, api: KubeApi): readonly Runnable[] {
  const metrics = createMetrics();
  const clock = time;
  const common = { api, clock, sleep: time.sleep };
  const random = () => 1;
  const watchTuning = { sleep: time.sleep, random };
  const object = {
    kind: "Ingester",
    metadata: { name: "a", namespace: "zen-system", uid: "u", generation: 1 },
  };
  const conditions = createConditions({ ...common, isLeader: () => true });
  const wanted = () => SOURCES.flatMap(watchedResources);
  const discovery = createDiscovery(api, { ...common, random, wanted });
  const liveFilters = new LiveFilters({ metrics, clock });
  const configMap = { namespace: "zen-system", name: "zen-watcher-filter", key: "filter.json" };
  const filters = createFiltersWatch({
    api,
    clock,
    metrics,
    watchTuning,
    filters: liveFilters,
    configMap,
    status: createFilterStatus({
      ...common,
      filters: liveFilters,
      configMap,
      statusName: filterStatusName("default"),
      isLeader: () => true,
    }),
    knownSources: () => [],
    ownNamespace: "zen-system",
    tenantNamespaces: [],
    emit: () => {},
    conditions,
  });
  const mapped = new MappedSources({
    ...common,
    discovery,
    conditions,
    builtins: BUILT_IN,
    trust: { ownNamespace: "zen-system", trustedNamespaces: [], configMapNamespaces: [] },
    stateOf: () => "serving",
    metrics,
    watchTuning,
  });
  const election = createLeaderElection({
    ...common,
    namespace: "zen-system",
    name: "lease",
    identity: "me",
  });
  const states = new SourceStates(metrics, clock);
  for (const source of SOURCES) states.add(source);
  return [
    {
      name: "index",
      async run(signal, beat) {
        for await (const _event of watch(api, OBSERVATIONS, { ...watchTuning, clock, signal, beat }));
      },
    },
    {
      name: "conditions",
      run(signal, beat) {
        const condition = { status: "True", reason: "InForce", message: "", observedGeneration: 1 } as const;
        conditions.set(INGESTERS, object, condition);
        return conditions.run(signal, beat);
      },
    },
    { name: "discovery", run: (signal, beat) => discovery.run(signal, beat) },
    { name: "filters", run: (signal, beat) => filters.run(signal, beat) },
    { name: "ingesters", run: (signal, beat) => mapped.run(signal, beat) },
    { name: "leader election", run: (signal, beat) => election.run(signal, { beat, onStarted() {} }) },
    {
      name: "trivy",
      run: (signal, beat) =>
        readView({
          api,
          clock,
          beat,
          type: OBSERVATIONS,
          view: { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" },
          scope: {},
          views: new KnownDocuments(),
          states,
          payloadOf: () => Promise.resolve(undefined),
          take: () => Promise.reject(new Error("nothing was to be taken in")),
          resyncMs: 3_600_000,
          evaluateAgain: new ChangeSignal(),
          metrics,
          watchTuning,
        }, signal),
    },
  ];
}

const FAULTS: Readonly<Record<string, () => Error>> = {
  "does not answer": () => new NetworkError("Cannot list: connection refused", { fault: "unreachable" }),
  "refuses everything": () => new ApiError("list", 403, {}),
  "asks for long waits": () => new ApiError("list", 503, {}, 3_600_000),
  "serves none of the resources": () => new ApiError("list", 404, {}),
};
for (const [fault, error] of Object.entries(FAULTS)) {
  Deno.test(`health is never down for an API server that ${fault}, however long`, async () => {
    const api = apiThat(() => Promise.reject(error()));
    await play((time) => tasksOf(time, api), async ({ time, health }) => {
      for (let minutes = 0; minutes < 120; minutes++) {
        await time.advance(60_000);
        assertEquals(health.live().reasons, [], `after ${minutes} minutes`);
      }
      const beating = Object.keys(health.live().checks);
      assert(beating.length >= 6, `too few tasks beat: ${beating}`);
    });
  });
}

Deno.test("health is down for each task whose request never ends", async () => {
  const never = Promise.withResolvers<never>();
  await play((time) => tasksOf(time, apiThat(() => never.promise)), async ({ time, health, stop }) => {
    await time.advance(400_000);
    const { reasons } = health.live();
    const tasks = [
      "index",
      "conditions",
      "discovery",
      "filters: ConfigMap",
      "ingesters: Ingester",
      "ingesters: ObservationMapping",
      "leader election",
      "trivy",
    ];
    for (const task of tasks) assertStringIncludes(reasons.join("\n"), `${task} has been stuck for`);
    const stopping = stop();
    never.reject(new NetworkError("Cannot list: the connection is closed", { fault: "unreachable" }));
    await stopping;
  });
});
