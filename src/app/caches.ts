/** What every replica keeps: the index, filters, sources of configuration, discovery. */
import { createConditions } from "../kube/conditions.ts";
import { createDiscovery, type Discovery } from "../kube/discovery.ts";
import { createFilterStatus, filterStatusName } from "../filters/filter_status.ts";
import type { KnownSource } from "../filters/warnings.ts";
import { createExceptions, type Exceptions } from "../exceptions/live.ts";
import { sayTenantsOff } from "../filters/tenants_off.ts";
import { createFiltersWatch, type FiltersWatch } from "../filters/watch.ts";
import { LiveFilters } from "../filters/filter.ts";
import { every } from "../kube/retry.ts";
import { type Runnable, RunnableGroup } from "../lifecycle.ts";
import { MappedSources } from "../mapped/runtime.ts";
import { trustOf } from "../mapped/trust.ts";
import { BUILT_IN, knownSources, SOURCES } from "../sources/registry.ts";
import { watchedResources } from "../sources/source.ts";
import { budgetEvent } from "../store/budget.ts";
import { clockEvent } from "../store/deletes.ts";
import { logger } from "../telemetry/logging.ts";
import { createOwnUser, type OwnUser, probeApi } from "./api_probe.ts";
import {
  afterFirstRead,
  coverageOf,
  createPipeline,
  drawContextOf,
  type Pipeline,
  SourceSet,
} from "./pipeline.ts";
import type { Shared } from "./shared.ts";
import { type Intake } from "../pipeline/intake.ts";

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
  /** Work of the leader while TENANT_FILTERS is off. */
  readonly tenantsOff: readonly Runnable[];
  readonly exceptions: Exceptions;
  readonly pipeline: Pipeline;
  /** The pipeline's intake, once the filters are read. */
  readonly intake: Intake;
  readonly group: RunnableGroup;
}

const TICK_MS = 1_000;

/** Wires them; nothing runs yet. */
export function createCaches(shared: Shared): Caches {
  const { settings, clock, sleep, random, metrics, states, books, api, health, evaluateAgain, scope } =
    shared;
  const { events, election, outages, watchTuning } = shared;
  const common = { api, clock, sleep };
  const isLeader = () => election.isLeader();
  const ownUser = createOwnUser(api, { sleep });
  const conditions = createConditions({ ...common, isLeader });
  const discovery = createDiscovery(api, {
    wanted: () => SOURCES.flatMap(watchedResources),
    intervalMs: settings.discoveryIntervalMs,
    clock,
    sleep,
    random,
  });
  const mapped = new MappedSources({
    ...common,
    discovery,
    conditions,
    builtins: BUILT_IN,
    trust: trustOf(settings),
    stateOf: ({ name, feeds: [feed] }) =>
      states.state(
        name,
        feed?.ingester?.isDoor ? ({ ingester }) => ingester === feed.ingester?.id : undefined,
      ),
    metrics,
    watchTuning,
  });
  const sources = new SourceSet({ states, metrics, settings, claims: (source) => mapped.claims(source) });
  const covers = coverageOf(scope);
  const filters = new LiveFilters({
    metrics,
    clock,
    ownNamespace: settings.podNamespace,
    sources: () => sources.reported.map(({ name }) => name),
  });
  const configMap = {
    namespace: settings.filterConfigMapNamespace || settings.podNamespace,
    name: settings.filterConfigMapName,
    key: settings.filterConfigMapKey,
  };
  const filterStatus = createFilterStatus({
    ...common,
    filters,
    configMap,
    statusName: filterStatusName(settings.instance),
    isLeader,
  });
  /** Built in, by configuration, or named by policy reports. */
  const allSources = (): readonly KnownSource[] | undefined =>
    mapped.isSettled ? [...knownSources(settings), ...mapped.named.map((name) => ({ name }))] : undefined;
  const tenantNamespaces = scope.namespaces.length > 0 ? scope.namespaces : [""];
  const tenantsOff: Runnable = {
    name: "tenants' filters",
    run: (signal, beat) =>
      sayTenantsOff(
        { api, conditions, ownNamespace: settings.podNamespace, namespaces: tenantNamespaces, watchTuning },
        { signal, beat },
      ),
  };
  const filtersWatch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    watchTuning,
    configMap,
    status: filterStatus,
    knownSources: allSources,
    ownNamespace: settings.podNamespace,
    tenantNamespaces: settings.tenantFilters ? tenantNamespaces : [],
    emit: (event) => events.record(event),
    conditions,
  });
  mapped.settled.then(() => filtersWatch.sourcesChanged());
  filtersWatch.firstReadDecided.then(() => health.set("filters", true));
  const exceptions = createExceptions({
    ...common,
    now: () => clock.now() - (shared.serverClock.skewMs ?? 0),
    ownNamespace: settings.podNamespace,
    maxDays: settings.exceptionMaxDays,
    covers,
    conditions,
    isLeader,
    watchTuning,
  });
  const pipeline = createPipeline({
    api,
    settings,
    metrics,
    books,
    clock,
    filter: filters.filter,
    acceptanceOf: (finding, stored) => exceptions.acceptanceOf(finding, stored),
    covers,
    drawContext: drawContextOf({ settings, sources, ownUser, isApiServerStarting: outages.isNear }),
    sources,
    record: (event) => events.record(event),
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
    injected: { sleep },
  });
  const eachSecond = (work: () => void): Runnable["run"] => (signal, beat) =>
    every(TICK_MS, work, { signal, beat, sleep });
  const group = new RunnableGroup([
    { name: "event loop", run: eachSecond(() => {}) },
    { name: "repeats", run: (signal, beat) => pipeline.store.repeats.run(signal, beat) },
    { name: "clocks", run: eachSecond(compareClocks(shared)) },
    { name: "transitions of findings", run: eachSecond(() => pipeline.transitions.tell()) },
    { name: "storage budget", run: eachSecond(() => pipeline.budget.observe()) },
    { name: "index", run: (signal, beat) => pipeline.runIndex(signal, beat) },
    {
      name: "readiness",
      run: (signal, beat) =>
        probeApi(api, health, { signal, beat, sleep, onReached: () => ownUser.ask(signal) }),
    },
    { name: "conditions", run: (signal, beat) => conditions.run(signal, beat) },
    { name: "filters", run: (signal, beat) => filtersWatch.run(signal, beat) },
    {
      name: "exceptions",
      run: (signal, beat) => exceptions.run(signal, { findings: pipeline.store.index, beat }),
    },
    { name: "ingesters", run: (signal, beat) => mapped.run(signal, beat) },
    { name: "discovery", run: (signal, beat) => discovery.run(signal, beat) },
    { name: "own user", run: (signal, beat) => ownUser.run(signal, beat) },
  ], health);
  return {
    ownUser,
    discovery,
    mapped,
    sourcesKnown: () => mapped.isSettled,
    sources,
    filters,
    filtersWatch,
    tenantsOff: settings.tenantFilters ? [] : [tenantsOff],
    exceptions,
    pipeline,
    intake: afterFirstRead(pipeline.intake, filtersWatch.firstReadDecided),
    group,
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
