/** The composition root: the only place where everything is wired, started and stopped in order. */
import { memoryLimit } from "./app/memory.ts";
import { createOwnUser } from "./app/own_user.ts";
import { createPipeline } from "./app/pipeline.ts";
import { probeApi } from "./app/readiness.ts";
import { covers, inScope, scopeOf } from "./app/scope.ts";
import { serve } from "./app/serve.ts";
import { sourcesReport, warnIfOpen } from "./app/reports.ts";
import { SourceSet } from "./app/sources.ts";
import { createFiltersWatch } from "./filters/watch.ts";
import { LiveFilters } from "./filters/live.ts";
import { createConditions } from "./kube/conditions.ts";
import { type Clock, systemClock } from "./model/clock.ts";
import { createTextLimits } from "./pipeline/parts.ts";
import { Health } from "./health.ts";
import { createHttpApp } from "./http/app.ts";
import { webhookToken } from "./http/auth.ts";
import { createBodyLimits } from "./http/body_limits.ts";
import { addressSet, clientLimit } from "./http/client.ts";
import type { Connection } from "./kube/auth/connection.ts";
import { createDiscovery } from "./kube/discovery.ts";
import { createEventRecorder } from "./kube/events.ts";
import { createLeaderElection, holderIdentity } from "./kube/lease.ts";
import { createKubeClient } from "./kube/client.ts";
import { createServerClock } from "./kube/server_clock.ts";
import type { WatchTuning } from "./kube/watch.ts";
import { every, RunnableGroup, untilAborted } from "./lifecycle.ts";
import type { Settings } from "./settings.ts";
import { PostFeeds } from "./sources/feeds/post.ts";
import { PulledFeeds } from "./sources/feeds/pulled.ts";
import { MappedSources } from "./mapped/runtime.ts";
import { REPORT_ENGINES } from "./sources/kyverno/mod.ts";
import { BUILT_IN, configMapNamespaces, RESERVED_SOURCES } from "./sources/registry.ts";
import { watchedResources } from "./sources/source.ts";
import { leaseName } from "./sources/rbac.ts";
import { SourceStates } from "./sources/status.ts";
import { budgetEvent } from "./store/budget.ts";
import { clockEvent } from "./store/deletes.ts";
import { createExpiry } from "./store/expiry.ts";
import { createFindings } from "./store/findings.ts";
import { storedScope } from "./store/observations.ts";
import { logger } from "./telemetry/logging.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { registerProcessMetrics } from "./telemetry/process.ts";
import { type Books, createBooks } from "./telemetry/accounting.ts";
import { VERSION } from "./version.ts";

export interface AppOptions {
  readonly settings: Settings;
  readonly connection: Connection;
  readonly clock?: Clock;
  /** The memory limit in bytes; by default the container's. */
  readonly memoryBytes?: number;
  readonly watchTuning?: WatchTuning;
}

/** A running program. */
export interface App {
  readonly url: string;
  readonly metricsUrl: string;
  /** Undefined where no certificate is given. */
  readonly tlsUrl: string | undefined;
  readonly metrics: Metrics;
  readonly books: Books;
  readonly health: Health;
  /** Stops in the order of SPEC section 8; resolves when everything has ended. Safe to call again. */
  stop(): Promise<void>;
}

/** Longest text of a ConfigMap's key, decompressed: etcd holds a MiB of it as it is, gzip up to a thousand times that. */
const MAX_CONFIG_MAP_TEXT_BYTES = 16 * 2 ** 20;
const BEAT_MS = 1_000;
const DELETES_PER_SECOND = 200;

/** Starts the program. Throws where it cannot even start: a bad setting, a port in use, an unreadable token. */
export async function startApp(
  { settings, connection, clock = systemClock, memoryBytes = memoryLimit(), watchTuning }: AppOptions,
): Promise<App> {
  const metrics = createMetrics();
  registerProcessMetrics(metrics.registry, clock.now());
  metrics.buildInfo.set({ version: VERSION, deno_version: Deno.version.deno }, 1);
  const states = new SourceStates(metrics, clock);
  const books = createBooks(metrics, () => clock.now(), {
    known: [...BUILT_IN.keys()],
    onPayloadError: (source, reason) => states.failed(source, reason),
  });
  const health = new Health(() => clock.monotonic(), metrics);
  const requests = new AbortController();
  const serverClock = createServerClock(clock);
  const api = createKubeClient(connection, { metrics, clock, onDate: serverClock.note });
  const recording = new AbortController();
  const identity = holderIdentity(settings.podName || Deno.hostname());
  const events = createEventRecorder({ api, signal: recording.signal, instance: identity, clock });

  const scope = scopeOf(settings);
  const ownUser = createOwnUser(api);
  const sources = new SourceSet({ states, metrics, claims: (source) => mapped.claims(source) });
  const feeding = {
    settings,
    states,
    payloadError: books.payloadError,
    noteEvents: (ingester: string, count: number) => mapped.noteEvents(ingester, count),
  };
  const filters = new LiveFilters({ metrics, clock, onChange: () => pulled.reevaluate() });
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
    }),
    rateOf: (source) => sources.named(source)?.rate,
    volatileDetailsOf: (source) => sources.named(source)?.volatileDetails ?? [],
    sources,
    onBudget: (state) => {
      events.record(budgetEvent(settings.podNamespace, state));
      // What was refused while there was no room may be written now.
      if (state === "room") pulled.reevaluate();
    },
    watchTuning,
    // What was stored may be gone, and the watches of reports wait for revisions that are still to come.
    onIndexHealed: () => pulled.reevaluate(),
    onIndexState: (state) => {
      if (state === "absent") health.set("crd", false);
      else if (state === "synced") health.set("crd", true);
    },
  });
  const discovery = createDiscovery(api, {
    wanted: () => [
      ...sources.all.flatMap(watchedResources),
      ...mapped.groupVersions,
    ],
    intervalMs: settings.discoveryIntervalMs,
    clock,
  });
  const leader = createLeaderElection({
    api,
    namespace: settings.podNamespace,
    name: leaseName(settings.instance),
    identity,
    metrics,
    onSend: () => pipeline.store.index.sent("lease"),
    onStarted: (signal) => leaderWork(signal),
  });
  const { index, repeats } = pipeline.store;
  /** What both leader parts of the store need. */
  const leading = {
    index,
    clock,
    assertLeader: () => leader.assertLeader(),
    clocksAgree: () => serverClock.agrees,
  };
  const findings = createFindings({
    ...leading,
    repeats,
    log: logger("findings"),
    graceSeconds: settings.resolveGraceSeconds,
    expiredGraceSeconds: settings.expiredGraceSeconds,
    expires: (finding) => sources.expires(finding),
    scopeOf: (row) => storedScope(api, row),
    viewSourceOf: (source) => sources.viewSourceOf(source),
    eventTypesOf: (view) => sources.eventTypesOf(view),
  });
  const expiry = createExpiry({
    ...leading,
    api,
    metrics,
    log: logger("expiry"),
    ownNamespace: settings.podNamespace,
    budget: pipeline.budget,
    sourceLabel: books.sourceLabel,
    stateOf: (row) => findings.state(row),
    ttlSeconds: settings.observationTtlSeconds,
    ready: () => sourcesKnown,
    intervalMs: settings.gcIntervalMs,
    timeoutMs: settings.gcTimeoutMs,
    perSecond: DELETES_PER_SECOND,
  });
  const posts = new PostFeeds({
    ...feeding,
    intake: pipeline.intake,
    ackTimeoutMs: settings.webhookAckTimeoutMs,
  });
  const pulled = new PulledFeeds({
    ...feeding,
    api,
    discovery,
    intake: pipeline.intake,
    views: findings,
    texts: createTextLimits({ maxBytes: MAX_CONFIG_MAP_TEXT_BYTES, memoryBytes }),
    slices: pipeline.slices,
    ...scope,
    resyncMs: settings.resyncIntervalMs,
    configMapPollMs: settings.configMapPollSeconds * 1_000,
    metrics,
    clock,
    watchTuning,
  });
  const feed = () => {
    posts.set(sources.all);
    pulled.set(sources.all);
  };
  feed();
  const conditions = createConditions({ api, clock, isLeader: () => leader.isLeader() });
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
    onSources: (active) => {
      sources.set(active);
      const feeds = active.flatMap((source) => source.feeds);
      filters.replace("ingesters", feeds.flatMap(({ ingester }) => ingester?.filter ?? []));
      feed();
    },
    stateOf: ({ name, feeds: [feed] }) =>
      states.state(
        name,
        feed?.ingester?.isDoor ? ({ ingester }) => ingester === feed.ingester?.id : undefined,
      ),
    clock,
    metrics,
    ...(watchTuning ? { watchTuning } : {}),
  });

  let sourcesKnown = false;
  mapped.settled.then(() => sourcesKnown = true);
  /** The leader's part. Findings start their term before the first view is reported. */
  async function leaderWork(signal: AbortSignal): Promise<void> {
    const group = new RunnableGroup([
      { name: "findings", run: (inner) => findings.run(inner) },
      { name: "expiry", run: (inner) => expiry.run(inner) },
      {
        name: "pulled feeds",
        async run(inner) {
          await pipeline.indexed(inner);
          await pulled.run(inner);
        },
      },
    ], { onFailure: (name) => health.ended(name) });
    filtersWatch.publishConditions();
    group.start();
    await untilAborted(signal);
    await group.stop();
  }
  const filtersWatch = createFiltersWatch({
    api,
    filters,
    clock,
    metrics,
    ...(watchTuning ? { watchTuning } : {}),
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

  let clocksAgree = true;
  function watchClocks(): void {
    const { skewMs = 0, agrees } = serverClock;
    metrics.clockSkew.set(skewMs / 1_000);
    if (agrees === clocksAgree) return;
    clocksAgree = agrees;
    const fields = { skewSeconds: Math.round(skewMs / 1_000) };
    if (agrees) logger("clock").info("The own clock and the API server's agree again", fields);
    else logger("clock").error("The own clock and the API server's disagree: nothing is deleted", fields);
    events.record(clockEvent(settings.podNamespace, agrees));
  }

  const beforeRender = () => {
    pipeline.publish();
    health.refresh();
  };
  const http = createHttpApp({
    version: VERSION,
    live: () => health.live(),
    ready: () => health.ready(),
    status: () => ({
      version: VERSION,
      instance: settings.instance,
      leader: { isLeader: leader.isLeader(), holder: leader.leader() ?? null },
      sources: sourcesReport(states, books),
      books: books.accounts(),
      filters: filtersWatch.status(),
      storage: pipeline.report(),
    }),
    pathsKnown: () => sourcesKnown,
    admissionWriters: () => [...settings.admissionWriters, ...(ownUser.name === "" ? [] : [ownUser.name])],
    posts,
    token: webhookToken({
      token: settings.webhookAuthToken,
      file: settings.webhookAuthTokenFile,
      now: () => clock.now(),
    }),
    clientCertificates: settings.tlsClientCaFile !== "",
    allowedIps: addressSet(settings.webhookAllowedIps),
    trustedProxies: addressSet(settings.trustedProxyCidrs),
    allow: clientLimit({
      ratePerSecond: settings.webhookRateLimit,
      burst: settings.webhookRateBurst,
      clock,
    }),
    bodies: createBodyLimits({ maxBytes: settings.webhookMaxBytes, memoryBytes }),
    slices: pipeline.slices,
    now: () => clock.now(),
    signal: requests.signal,
    metrics,
  });
  warnIfOpen(settings);
  const serving = await serve({
    settings,
    clock,
    health,
    metrics,
    pipeline,
    http,
    longestAckTimeoutMs: posts.longestAckTimeoutMs,
    beforeRender,
    requests,
    leading: [{ name: "leader election", run: (signal) => leader.run(signal) }],
    core: [
      { name: "event loop", run: (signal) => every(BEAT_MS, () => health.beat("event loop"), signal) },
      { name: "repeats", run: (signal) => pipeline.store.repeats.run(signal) },
      { name: "clocks", run: (signal) => every(BEAT_MS, watchClocks, signal) },
      { name: "storage budget", run: (signal) => every(BEAT_MS, () => pipeline.budget.observe(), signal) },
      { name: "index", run: (signal) => pipeline.runIndex(signal) },
      {
        name: "readiness",
        run: (signal) => probeApi(api, health, { signal, onReached: () => ownUser.ask(signal) }),
      },
      { name: "conditions", run: (signal) => conditions.run(signal) },
      { name: "filters", run: (signal) => filtersWatch.run(signal) },
      { name: "ingesters", run: (signal) => mapped.run(signal) },
      { name: "discovery", run: (signal) => discovery.run(signal) },
      { name: "own user", run: (signal) => ownUser.run(signal) },
    ],
    close: () => {
      recording.abort();
      api.close();
    },
  });
  return { ...serving, metrics, books, health };
}
