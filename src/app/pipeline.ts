/** Index, dedup, rate limit, store and intake of a process, wired. */
import type { Beat } from "../model/beat.ts";
import type { Clock } from "../model/clock.ts";
import type { DrawContext, NormalEvent } from "../model/event.ts";
import type { Observation } from "../model/observation.ts";
import type { KubeApi } from "../kube/api.ts";
import { sleep } from "../kube/retry.ts";
import { watch, type WatchState, type WatchTuning } from "../kube/watch.ts";
import { createDedup, type Dedup } from "../pipeline/dedup.ts";
import { createIntake, type Intake } from "../pipeline/intake.ts";
import { contentHashOf } from "../pipeline/normalize.ts";
import type { Rejection } from "../pipeline/ports.ts";
import { createLimits, type Limits, type Rate, type TimeSlices } from "../pipeline/limits.ts";
import type { Settings } from "../settings.ts";
import { createStore, feedIndex, OBSERVATIONS, type Store, type StoredObservation } from "../store/mod.ts";
import { type Budget, type BudgetOptions, type BudgetState, createBudget } from "../store/budget.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Books } from "../telemetry/accounting.ts";

export interface PipelineOptions {
  readonly api: KubeApi;
  readonly settings: Settings;
  readonly metrics: Metrics;
  readonly books: Books;
  readonly clock: Clock;
  readonly filter: (event: NormalEvent) => Rejection | undefined;
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
  readonly sources: BudgetOptions["sources"];
  /** The storage budget is used up, or has room again. */
  readonly onBudget: (state: BudgetState) => void;
  readonly onIndexState: (state: WatchState) => void;
  /** The index was listed anew after the server's revision had gone back. */
  readonly onIndexHealed: () => void;
  readonly watchTuning?: WatchTuning | undefined;
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
  const { api, settings, metrics, books, clock } = options;
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
    onHealed: options.onIndexHealed,
    sourceLabel: books.sourceLabel,
    contentSilenceMs: 2 * settings.resyncIntervalMs,
    countReturns: settings.dedupEnableAggregation,
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
  const limits = createLimits({
    clock,
    rate: { perSecond: settings.dedupMaxRatePerSource, burst: settings.dedupRateBurst },
    rateOf: options.rateOf,
  });
  const intake = createIntake({
    steps: {
      filter: options.filter,
      inScope: options.inScope,
      dedup,
      admits: (event) => budget.admits(event),
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
    publish: () => publish({ dedup, limits, store, budget, metrics }),
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
