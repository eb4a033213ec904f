/** What every replica keeps: the index, filters, sources of configuration, discovery. */
import { createConditions } from "../kube/conditions.ts";
import { createDiscovery, type Discovery } from "../kube/discovery.ts";
import { createFiltersWatch, type FiltersWatch } from "../filters/watch.ts";
import { LiveFilters } from "../filters/live.ts";
import { every, RunnableGroup } from "../lifecycle.ts";
import { MappedSources } from "../mapped/runtime.ts";
import { AUDIT_COMMANDS } from "../sources/audit/mod.ts";
import { ownRequests } from "../sources/own_requests.ts";
import { REPORT_ENGINES } from "../sources/kyverno/mod.ts";
import { BUILT_IN, configMapNamespaces, RESERVED_SOURCES, SOURCES } from "../sources/registry.ts";
import { watchedResources } from "../sources/source.ts";
import { budgetEvent } from "../store/budget.ts";
import { clockEvent } from "../store/deletes.ts";
import { logger } from "../telemetry/logging.ts";
import { createOwnUser, type OwnUser } from "./own_user.ts";
import { createPipeline, type Pipeline } from "./pipeline.ts";
import { probeApi } from "./readiness.ts";
import { covers, inScope } from "./scope.ts";
import type { Shared } from "./shared.ts";
import { SourceSet } from "./sources.ts";

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
  readonly pipeline: Pipeline;
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
  mapped.settled.then(() => areSourcesKnown = true);
  const sources = new SourceSet({ states, metrics, claims: (source) => mapped.claims(source) });
  let ownTable = { sources: sources.all, isOwnRequest: ownRequests(settings, sources.all) };
  const isOwnRequestNow = () => {
    if (ownTable.sources !== sources.all) {
      ownTable = { sources: sources.all, isOwnRequest: ownRequests(settings, sources.all) };
    }
    return ownTable.isOwnRequest;
  };
  const filters = new LiveFilters({ metrics, clock, onChange: () => evaluateAgain.raise() });
  const filtersWatch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    ...tuning,
    configMap: {
      namespace: settings.filterConfigMapNamespace || settings.podNamespace,
      name: settings.filterConfigMapName,
      key: settings.filterConfigMapKey,
    },
    ownNamespace: settings.podNamespace,
    tenantNamespaces: settings.tenantFilters ? (scope.namespaces.length > 0 ? scope.namespaces : [""]) : [],
    emit: (event) => events.record(event),
    conditions,
  });
  filtersWatch.firstReadDecided.then(() => health.set("filters", true));
  const pipeline = createPipeline({
    api,
    settings,
    metrics,
    books,
    clock,
    filter: filters.filter,
    inScope: (event) => inScope(event, scope),
    covers: (namespace) => covers(namespace, scope),
    drawContext: () => ({
      ownUser: ownUser.name,
      reservedSources: RESERVED_SOURCES,
      reportEngines: settings.of(REPORT_ENGINES),
      isOwnRequest: isOwnRequestNow(),
      isApiServerStarting: outages.isNear,
      auditCommands: settings.of(AUDIT_COMMANDS),
    }),
    rateOf: (source) => sources.named(source)?.rate,
    volatileDetailsOf: (source) => sources.named(source)?.volatileDetails ?? [],
    sources,
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
    { name: "storage budget", run: (signal) => every(BEAT_MS, () => pipeline.budget.observe(), signal) },
    { name: "index", run: (signal, beat) => pipeline.runIndex(signal, beat) },
    {
      name: "readiness",
      run: (signal, beat) => probeApi(api, health, { signal, beat, onReached: () => ownUser.ask(signal) }),
    },
    { name: "conditions", run: (signal, beat) => conditions.run(signal, beat) },
    { name: "filters", run: (signal, beat) => filtersWatch.run(signal, beat) },
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
    pipeline,
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
