/** What every replica keeps: the index, filters, sources of configuration, discovery. */
import { createConditions } from "../kube/conditions.ts";
import { createDiscovery, type Discovery } from "../kube/discovery.ts";
import { createFilterStatus, filterStatusName } from "../filters/filter_status.ts";
import type { KnownSource } from "../filters/warnings.ts";
import { createExceptions, type Exceptions } from "../exceptions/live.ts";
import { createFiltersWatch, type FiltersWatch } from "../filters/watch.ts";
import { LiveFilters } from "../filters/filter.ts";
import { every, RunnableGroup } from "../lifecycle.ts";
import { MappedSources } from "../mapped/runtime.ts";
import { createDrawContext } from "../sources/draw_context.ts";
import { ownRequests } from "../sources/own_requests.ts";
import { POLICY_REPORT, REPORT_ENGINES } from "../sources/kyverno/mod.ts";
import { BUILT_IN, configMapNamespaces, SOURCES } from "../sources/registry.ts";
import { knownSource, watchedResources } from "../sources/source.ts";
import { type Budget, budgetEvent, type BudgetState, createBudget } from "../store/budget.ts";
import { clockEvent } from "../store/deletes.ts";
import { createFindingGauges } from "../store/finding_gauges.ts";
import { createTurns, type Turn, type Turns } from "../store/turns.ts";
import { logger } from "../telemetry/logging.ts";
import { createOwnUser, type OwnUser, probeApi } from "./api_probe.ts";
import { covers, inScope, leaseReference, SourceSet } from "./sources.ts";
import type { Shared } from "./shared.ts";
import type { Beat } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import type { DrawContext, NormalEvent } from "../model/event.ts";
import type { Observation } from "../model/observation.ts";
import type { KubeApi } from "../kube/api.ts";
import { sleep } from "../kube/retry.ts";
import { watch, type WatchState, type WatchTuning } from "../kube/watch.ts";
import { createDedup, type Dedup } from "../pipeline/dedup.ts";
import { createIntake, type Intake, type Steps } from "../pipeline/intake.ts";
import { contentHashOf } from "../pipeline/normalize.ts";
import type { Rejection } from "../pipeline/ports.ts";
import { createLimits, type Limits, type Rate, type TimeSlices } from "../pipeline/limits.ts";
import type { Settings } from "../settings.ts";
import {
  type AcceptanceOf,
  createStore,
  feedIndex,
  OBSERVATIONS,
  type Store,
  type StoredObservation,
  type StoreOptions,
} from "../store/mod.ts";
import type { Books, Metrics } from "../telemetry/metrics.ts";

/** The caches, and the group that keeps them. */
export interface Caches {
  readonly ownUser: OwnUser;
  readonly discovery: Discovery;
  readonly mapped: MappedSources;
  /** Until the first plan of Ingesters and ObservationMappings it is not known which sources there are. */
  readonly sourcesKnown: () => boolean;
  readonly sources: SourceSet;
  readonly filters: LiveFilters;
  readonly filtersWatch: FiltersWatch;
  readonly exceptions: Exceptions;
  readonly pipeline: Pipeline;
  /** The pipeline's intake, once the filters are read. */
  readonly intake: Intake;
  readonly turns: Turns;
  readonly group: RunnableGroup;
}

const BEAT_MS = 1_000;
/** The event loop is stuck when a timer is this late. */
const LOOP_STUCK_MS = 60_000;

/** Wires them; nothing runs yet. */
export function createCaches(shared: Shared): Caches {
  const { settings, clock, metrics, states, books, api, health, evaluateAgain, scope, events, election } =
    shared;
  const { outages, watchTuning } = shared;
  const tuning = watchTuning ? { watchTuning } : {};
  const ownUser = createOwnUser(api);
  const conditions = createConditions({ api, clock, isLeader: () => election.isLeader() });
  const discovery = createDiscovery(api, {
    wanted: () => SOURCES.flatMap(watchedResources),
    intervalMs: settings.discoveryIntervalMs,
    clock,
  });
  const mapped = new MappedSources({
    api,
    discovery,
    conditions,
    builtins: BUILT_IN,
    trust: {
      ownNamespace: settings.podNamespace,
      trustedNamespaces: settings.trustedConfigNamespaces,
      configMapNamespaces: configMapNamespaces(settings),
    },
    stateOf: ({ name, feeds: [feed] }) =>
      states.state(
        name,
        feed?.ingester?.isDoor ? ({ ingester }) => ingester === feed.ingester?.id : undefined,
      ),
    clock,
    metrics,
    ...tuning,
  });
  let areSourcesKnown = false;
  mapped.settled.then(() => {
    areSourcesKnown = true;
    filtersWatch.sourcesChanged();
  });
  const sources = new SourceSet({ states, metrics, claims: (source) => mapped.claims(source) });
  let ownTable = { sources: sources.all, isOwnRequest: ownRequests(settings, sources.all) };
  const drawContext = createDrawContext(settings, {
    ownUser: "",
    isOwnRequest: ownTable.isOwnRequest,
    isApiServerStarting: outages.isNear,
  });
  const isOwnRequestNow = () => {
    if (ownTable.sources !== sources.all) {
      ownTable = { sources: sources.all, isOwnRequest: ownRequests(settings, sources.all) };
    }
    return ownTable.isOwnRequest;
  };
  const filters = new LiveFilters({
    metrics,
    clock,
    ownNamespace: settings.podNamespace,
    onChange: () => evaluateAgain.raise(),
  });
  const configMap = {
    namespace: settings.filterConfigMapNamespace || settings.podNamespace,
    name: settings.filterConfigMapName,
    key: settings.filterConfigMapKey,
  };
  const filterStatus = createFilterStatus({
    api,
    clock,
    filters,
    configMap,
    statusName: filterStatusName(settings.instance),
    isLeader: () => election.isLeader(),
  });
  /** Built in, by configuration, or named by policy reports. */
  const knownSources = (): readonly KnownSource[] | undefined => {
    if (!areSourcesKnown) return undefined;
    const others = [...mapped.named, POLICY_REPORT, ...settings.of(REPORT_ENGINES)];
    return [...SOURCES.map(knownSource), ...others.map((name) => ({ name }))];
  };
  const filtersWatch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    ...tuning,
    configMap,
    status: filterStatus,
    knownSources,
    ownNamespace: settings.podNamespace,
    tenantNamespaces: settings.tenantFilters ? (scope.namespaces.length > 0 ? scope.namespaces : [""]) : [],
    emit: (event) => events.record(event),
    conditions,
  });
  filtersWatch.firstReadDecided.then(() => health.set("filters", true));
  const turns = createTurns({
    clock,
    log: logger("findings"),
    metrics,
    sourceLabel: books.sourceLabel,
    record: (event) => events.record(event),
    regarding: leaseReference(settings),
  });
  const exceptions = createExceptions({
    api,
    clock,
    now: () => clock.now() - (shared.serverClock.skewMs ?? 0),
    ownNamespace: settings.podNamespace,
    maxDays: settings.exceptionMaxDays,
    covers: (namespace) => covers(namespace, scope),
    conditions,
    isLeader: () => election.isLeader(),
    onChange: (concerned) => void pipeline.store.index.judgeAgain(concerned),
    acceptedCounts: () => pipeline.store.index.acceptedCounts(),
    ...tuning,
  });
  const pipeline: Pipeline = createPipeline({
    api,
    settings,
    metrics,
    books,
    clock,
    filter: filters.filter,
    acceptanceOf: (finding, stored) => exceptions.acceptanceOf(finding, stored),
    inScope: (event) => inScope(event, scope),
    covers: (namespace) => covers(namespace, scope),
    drawContext: () => ({ ...drawContext, ownUser: ownUser.name, isOwnRequest: isOwnRequestNow() }),
    rateOf: (source) => sources.named(source)?.rate,
    volatileDetailsOf: (source) => sources.named(source)?.volatileDetails ?? [],
    sources,
    onTurn: (turn) => turns.note(turn),
    onBudgetDrop: filterStatus.noteBudget,
    onBudget: (state) => {
      events.record(budgetEvent(settings.podNamespace, state));
      // What was refused while there was no room may be written now.
      if (state === "room") evaluateAgain.raise();
    },
    watchTuning,
    // What was stored may be gone, and the watches of reports wait for revisions that are still to come.
    onIndexHealed: () => evaluateAgain.raise(),
    onIndexState: (state) => {
      if (state === "absent") health.set("crd", false);
      else if (state === "synced") health.set("crd", true);
    },
  });
  const group = new RunnableGroup([
    {
      name: "event loop",
      run: (signal, beat) => every(BEAT_MS, () => beat.within(LOOP_STUCK_MS), signal),
    },
    { name: "repeats", run: (signal, beat) => pipeline.store.repeats.run(signal, beat) },
    { name: "clocks", run: (signal) => every(BEAT_MS, compareClocks(shared), signal) },
    { name: "turns of findings", run: (signal) => every(BEAT_MS, () => turns.tell(), signal) },
    { name: "storage budget", run: (signal) => every(BEAT_MS, () => pipeline.budget.observe(), signal) },
    { name: "index", run: (signal, beat) => pipeline.runIndex(signal, beat) },
    {
      name: "readiness",
      run: (signal, beat) => probeApi(api, health, { signal, beat, onReached: () => ownUser.ask(signal) }),
    },
    { name: "conditions", run: (signal, beat) => conditions.run(signal, beat) },
    { name: "filters", run: (signal, beat) => filtersWatch.run(signal, beat) },
    { name: "exceptions", run: (signal, beat) => exceptions.run(signal, beat) },
    { name: "ingesters", run: (signal, beat) => mapped.run(signal, beat) },
    { name: "discovery", run: (signal, beat) => discovery.run(signal, beat) },
    { name: "own user", run: (signal) => ownUser.run(signal) },
  ], health);
  return {
    ownUser,
    discovery,
    mapped,
    sourcesKnown: () => areSourcesKnown,
    sources,
    filters,
    filtersWatch,
    exceptions,
    pipeline,
    intake: afterFirstRead(pipeline.intake, filtersWatch.firstReadDecided),
    turns,
    group,
  };
}

/** Takes nothing in before the filters are read, or the deadline of a request has passed: nothing comes in unfiltered. */
function afterFirstRead(intake: Intake, firstRead: Promise<void>): Intake {
  let isRead = false;
  firstRead.then(() => isRead = true);
  return {
    async take(source, payload, context) {
      const { signal } = context;
      if (!isRead && !signal.aborted) {
        const aborted = Promise.withResolvers<void>();
        const end = () => aborted.resolve();
        signal.addEventListener("abort", end, { once: true });
        await Promise.race([firstRead, aborted.promise]);
        signal.removeEventListener("abort", end);
      }
      return await intake.take(source, payload, context);
    },
  };
}

/** Compares our clock with the API server's at each call, and reports when they begin and cease to disagree. */
function compareClocks({ settings, serverClock, metrics, events }: Shared): () => void {
  const log = logger("clock");
  let agreed = true;
  return () => {
    const { skewMs = 0, agrees } = serverClock;
    metrics.clockSkew.set(skewMs / 1_000);
    if (agrees === agreed) return;
    agreed = agrees;
    const fields = { skewSeconds: Math.round(skewMs / 1_000) };
    if (agrees) log.info("The own clock and the API server's agree again", fields);
    else log.error("The own clock and the API server's disagree: nothing is deleted", fields);
    events.record(clockEvent(settings.podNamespace, agrees));
  };
}

export interface PipelineOptions {
  readonly api: KubeApi;
  readonly settings: Settings;
  readonly metrics: Metrics;
  readonly books: Pick<Books, "open" | "payloadError" | "sourceLabel">;
  readonly clock: Clock;
  readonly filter: (event: NormalEvent) => Rejection | undefined;
  /** Which exception covers a stored finding. */
  readonly acceptanceOf: AcceptanceOf;
  readonly inScope: (event: NormalEvent) => boolean;
  /** Whether what belongs to a namespace ("": to none) is this shard's. */
  readonly covers: (belongsTo: string) => boolean;
  /** What generators know beyond their payloads, now. */
  readonly drawContext: () => DrawContext;
  /** A mapped source's own rate. */
  readonly rateOf: (source: string) => Rate | undefined;
  /** Keys of details that flap without meaning, by source. */
  readonly volatileDetailsOf: (source: string) => readonly string[];
  /** The sources that configuration knows. */
  readonly sources: Pick<SourceSet, "has" | "size" | "all">;
  /** A finding was created, resolved or reopened. */
  readonly onTurn: (turn: Turn) => void;
  /** The storage budget is used up, or has room again. */
  readonly onBudget: (state: BudgetState) => void;
  /** The budget left out an event. */
  readonly onBudgetDrop: (event: NormalEvent) => void;
  readonly onIndexState: (state: WatchState) => void;
  /** Called after the full list that follows a step back of the server's revision. */
  readonly onIndexHealed: () => void;
  readonly watchTuning?: WatchTuning | undefined;
  /** Time, chance, limits and log, where a test decides them. */
  readonly injected?: Partial<Pick<StoreOptions, "sleep" | "random" | "log"> & Pick<Steps, "admits">> & {
    readonly limits?: Limits;
  };
}

export interface Pipeline {
  readonly dedup: Dedup;
  readonly store: Store;
  readonly intake: Intake;
  readonly budget: Budget;
  readonly slices: TimeSlices;
  /** Feeds the index until `signal` aborts. */
  runIndex(signal: AbortSignal, beat: Beat): Promise<void>;
  /**
   * Resolves once the index is complete, or after 30 s: it alone finds what is stored in another namespace.
   * Rejects with the signal's reason when it aborts.
   */
  indexed(signal: AbortSignal): Promise<void>;
  /** Brings the gauges up to date that are read rather than counted. */
  publish(): void;
  /** What `/tools/status` says of the store. */
  report(): Readonly<Record<string, unknown>>;
}

const INDEX_POLL_MS = 50;
const INDEX_WAITS = 600;

/** Wires the pipeline of a process. */
export function createPipeline(options: PipelineOptions): Pipeline {
  const {
    api,
    settings,
    metrics,
    books,
    clock,
    injected: { limits: givenLimits, admits, ...injected } = {},
  } = options;
  const contentHash = (observation: Observation) =>
    contentHashOf(observation, options.volatileDetailsOf(observation.spec.source));
  const store: Store = createStore({
    api,
    clock,
    contentHash,
    onGone: (fingerprint, generation) => dedup.forget(fingerprint, generation),
    log: logger("store"),
    metrics,
    instance: settings.instance,
    ownNamespace: settings.podNamespace,
    observationNamespace: settings.observationNamespace,
    covers: options.covers,
    acceptanceOf: options.acceptanceOf,
    onHealed: options.onIndexHealed,
    sourceLabel: books.sourceLabel,
    contentSilenceMs: 2 * settings.resyncIntervalMs,
    countReturns: settings.dedupEnableAggregation,
    onTurn: options.onTurn,
    ...injected,
  });
  const { index, repeats } = store;
  const dedup: Dedup = createDedup({
    index,
    maxSize: settings.dedupMaxSize,
    onEvict: () => metrics.dedupEvictions.inc(),
  });
  const budget = createBudget({
    index,
    log: logger("budget"),
    metrics,
    maxCount: settings.observationMaxTotal,
    maxBytes: settings.observationMaxBytes,
    burst: settings.dedupRateBurst,
    sources: options.sources,
    onChange: options.onBudget,
  });
  const publishFindings = createFindingGauges({
    index,
    now: () => clock.now(),
    metrics,
    sourceLabel: books.sourceLabel,
    sources: () => options.sources.all,
    byNamespace: settings.metricsByNamespace,
  });
  const limits = givenLimits ?? createLimits({
    clock,
    rate: { perSecond: settings.dedupMaxRatePerSource, burst: settings.dedupRateBurst },
    rateOf: options.rateOf,
  });
  const intake = createIntake({
    steps: {
      filter: options.filter,
      inScope: options.inScope,
      dedup,
      admits: admits ?? ((event) => {
        const admission = budget.admits(event);
        if (admission === "refused") options.onBudgetDrop(event);
        return admission;
      }),
    },
    limits,
    store,
    recorder: books,
    settings,
    context: options.drawContext,
  });

  return {
    dedup,
    store,
    intake,
    budget,
    slices: limits.slices,
    runIndex(signal, beat) {
      return feedIndex(
        index,
        watch<StoredObservation>(api, OBSERVATIONS, {
          ...options.watchTuning,
          signal,
          beat,
          clock,
          metrics,
          onState: options.onIndexState,
        }),
        { log: logger("store"), resyncMs: settings.resyncIntervalMs },
      );
    },
    async indexed(signal) {
      for (let waits = 0; !index.complete && waits < INDEX_WAITS; waits++) {
        await sleep(INDEX_POLL_MS, signal);
      }
    },
    report: () => ({
      indexComplete: index.complete,
      observations: index.tallies.count,
      bytes: index.tallies.bytes,
      notOurs: index.foreign,
      budget: { state: budget.state, usage: budget.usage() },
      openWindows: dedup.usage(),
      statusWritesPending: repeats.size,
    }),
    publish() {
      publish({ dedup, limits, store, budget, metrics });
      publishFindings();
    },
  };
}

function publish(
  parts: Pick<Pipeline, "dedup" | "store" | "budget"> & { limits: Limits; metrics: Metrics },
): void {
  const { dedup, limits, store: { index, repeats }, budget, metrics } = parts;
  budget.observe();
  metrics.dedupCacheUsage.set(dedup.usage());
  metrics.tasks.set(limits.slots.taken + repeats.size);
  metrics.activeEvents.reset();
  for (const { category, severity, count } of index.tallies.active()) {
    metrics.activeEvents.set({ category, severity }, count);
  }
}
