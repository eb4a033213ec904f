/** What only the leader does: reads sources, resolves findings, deletes what has expired. */
import { RunnableGroup, untilAborted } from "../lifecycle.ts";
import { createTextLimits } from "../pipeline/limits.ts";
import { MAX_CONFIG_MAP_TEXT_BYTES } from "../sources/config_maps.ts";
import { PulledFeeds, type PulledFeedsOptions } from "../sources/feeds/pulled.ts";
import { leaseReference } from "../sources/rbac.ts";
import { createAcceptances } from "../store/acceptances.ts";
import { createExpiry, type Expiry, type ExpiryOptions } from "../store/expiry.ts";
import { createFindings, type Findings, type FindingsOptions } from "../store/findings.ts";
import { storedScope } from "../store/observations.ts";
import { logger } from "../telemetry/logging.ts";
import type { Settings } from "../settings.ts";
import type { Caches } from "./caches.ts";
import type { Pipeline, SourceSet } from "./pipeline.ts";
import type { Shared } from "./shared.ts";

export interface LeaderOptions {
  readonly caches: Caches;
  /** What posted and pulled feeds have in common. */
  readonly feeding: Pick<
    PulledFeedsOptions,
    "settings" | "states" | "intake" | "payloadError" | "noteEvents"
  >;
}

/** The leader's part. */
export interface Leader {
  readonly pulled: PulledFeeds;
  /** Takes part in the election, and does the leader's work in each term. */
  readonly group: RunnableGroup;
}

/** The wait for the index is over after 600 short polls: 30 s, longer on a busy machine. */
const INDEXED_WITHIN_MS = 120_000;
const DELETES_PER_SECOND = 200;

/** Wires it; nothing runs yet. */
export function createLeader(shared: Shared, { caches, feeding }: LeaderOptions): Leader {
  const { settings, clock, sleep, metrics, books, api, health, evaluateAgain, scope, election } = shared;
  const { serverClock } = shared;
  const { pipeline, sources, sourcesKnown, discovery, filters, filtersWatch, exceptions } = caches;
  const { index, repeats } = pipeline.store;
  const guards = {
    assertLeader: () => election.assertLeader(),
    clocksAgree: () => serverClock.agrees,
  };
  const { findings, expiry } = createUpkeep({
    ...guards,
    api,
    settings,
    clock,
    metrics,
    sourceLabel: books.sourceLabel,
    pipeline,
    sources,
    ready: sourcesKnown,
    injected: { sleep },
  });
  const acceptances = createAcceptances({
    index,
    clock,
    sleep,
    repeats,
    log: logger("exceptions"),
    regarding: leaseReference(settings),
    isLeader: () => election.isLeader(),
    isKnown: () => exceptions.isKnown,
    whyEnded: (acceptance) => exceptions.whyEnded(acceptance),
    emit: (event) => shared.events.record(event),
  });
  const pulled = new PulledFeeds({
    ...feeding,
    api,
    discovery,
    views: findings,
    evaluateAgain,
    filterChanges: filters.changes,
    texts: createTextLimits({ maxBytes: MAX_CONFIG_MAP_TEXT_BYTES, memoryBytes: shared.memoryBytes }),
    slices: pipeline.slices,
    ...scope,
    resyncMs: settings.resyncIntervalMs,
    configMapPollMs: settings.configMapPollSeconds * 1_000,
    metrics,
    clock,
    watchTuning: shared.watchTuning,
  });

  /** One term as leader. Findings start theirs before the first view is reported. */
  async function lead(term: AbortSignal): Promise<void> {
    const group = new RunnableGroup([
      { name: "findings", run: (signal, beat) => findings.run(signal, beat) },
      { name: "acceptances", run: (signal, beat) => acceptances.run(signal, beat) },
      { name: "expiry", run: (signal, beat) => expiry.run(signal, beat) },
      ...caches.tenantsOff,
      {
        name: "pulled feeds",
        async run(signal, beat) {
          beat.within(INDEXED_WITHIN_MS);
          await pipeline.indexed(signal);
          await pulled.run(signal, beat);
        },
      },
    ], health);
    filtersWatch.publishConditions();
    group.start();
    await untilAborted(term);
    await group.stop();
  }

  return {
    pulled,
    group: new RunnableGroup([{
      name: "leader election",
      run: (signal, beat) =>
        election.run(signal, { beat, onSend: () => index.sent("lease"), onStarted: lead }),
    }], health),
  };
}

export interface UpkeepOptions extends
  Pick<
    ExpiryOptions,
    "api" | "clock" | "metrics" | "sourceLabel" | "assertLeader" | "clocksAgree" | "ready"
  > {
  readonly settings: Settings;
  readonly pipeline: Pick<Pipeline, "store" | "budget">;
  readonly sources: Pick<SourceSet, "expires" | "viewSourceOf" | "eventTypesOf">;
  /** Time, pace and log, and what is reported, where a test decides them. */
  readonly injected?:
    & Partial<Pick<ExpiryOptions, "sleep" | "log" | "perSecond" | "stateOf">>
    & Pick<FindingsOptions, "resolvesPerSecond">;
}

/** Wires what the leader does to stored Observations: resolves findings, and deletes what has expired or is evicted. */
export function createUpkeep(
  { settings, pipeline, sources, injected: { resolvesPerSecond, ...injected } = {}, ...common }:
    UpkeepOptions,
): { readonly findings: Findings; readonly expiry: Expiry } {
  const { index, repeats } = pipeline.store;
  const findings = createFindings({
    ...common,
    index,
    repeats,
    log: logger("findings"),
    graceSeconds: settings.resolveGraceSeconds,
    expiredGraceSeconds: settings.expiredGraceSeconds,
    expires: (finding) => sources.expires(finding),
    scopeOf: (row) => storedScope(common.api, row),
    viewSourceOf: (source) => sources.viewSourceOf(source),
    eventTypesOf: (view) => sources.eventTypesOf(view),
    ...injected,
    ...(resolvesPerSecond !== undefined && { resolvesPerSecond }),
  });
  const expiry = createExpiry({
    ...common,
    index,
    log: logger("expiry"),
    ownNamespace: settings.podNamespace,
    budget: pipeline.budget,
    stateOf: (row) => findings.state(row),
    ttlSeconds: settings.observationTtlSeconds,
    resolvedTtlSeconds: settings.resolvedTtlSeconds,
    intervalMs: settings.gcIntervalMs,
    timeoutMs: settings.gcTimeoutMs,
    perSecond: DELETES_PER_SECOND,
    ...injected,
  });
  return { findings, expiry };
}
