/** What the leader does to what is stored: lifecycle, garbage collection, the budget's evictions. */
import type { Clock } from "../model/clock.ts";
import type { KubeApi } from "../kube/api.ts";
import type { EventDraft } from "../kube/events.ts";
import type { Runnable } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import type { BudgetState } from "../store/budget.ts";
import { createDeletes } from "../store/deletes.ts";
import { createGc } from "../store/gc.ts";
import { createLifecycle, type Lifecycle } from "../store/lifecycle.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Pipeline } from "./pipeline.ts";
import { keepsIn, scopeOf } from "./scope.ts";
import type { SourceSet } from "./sources.ts";

export interface KeepingOptions {
  readonly api: KubeApi;
  readonly settings: Settings;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly pipeline: Pipeline;
  readonly sources: SourceSet;
  readonly sourceLabel: (source: string) => string;
  readonly assertLeader: () => void;
  /** True once it is known which sources configuration adds. */
  readonly sourcesKnown: () => boolean;
}

export interface Keeping {
  readonly lifecycle: Lifecycle;
  /** In the order they start. */
  readonly runnables: readonly Runnable[];
}

/** Deletes start evenly spread at this rate. */
const DELETES_PER_SECOND = 200;

/** Wires what keeps the store in shape. */
export function createKeeping(options: KeepingOptions): Keeping {
  const { api, settings, metrics, clock, assertLeader, sources, sourceLabel } = options;
  const { index, store, budget } = options.pipeline;
  const sharedNamespaces = [settings.podNamespace, settings.observationNamespace].filter(Boolean);
  const scope = scopeOf(settings);
  const inScope = (namespace: string) => keepsIn(namespace, scope, sharedNamespaces);
  const lifecycle = createLifecycle({
    index,
    writer: store.lane.writer,
    clock,
    log: logger("lifecycle"),
    assertLeader,
    graceSeconds: settings.resolveGraceSeconds,
    sharedNamespaces,
    inScope,
    viewSourceOf: (source) => sources.viewSourceOf(source),
    eventTypesOf: (view) => sources.eventTypesOf(view),
  });
  const deletes = createDeletes({
    api,
    index,
    metrics,
    sourceLabel,
    clock,
    assertLeader,
    perSecond: DELETES_PER_SECOND,
  });
  const gc = createGc({
    index,
    deletes,
    clock,
    log: logger("gc"),
    metrics,
    standing: (row) => lifecycle.standing(row),
    inScope,
    ttlSeconds: settings.observationTtlSeconds,
    ready: options.sourcesKnown,
    intervalMs: settings.gcIntervalMs,
    timeoutMs: settings.gcTimeoutMs,
  });
  return {
    lifecycle,
    runnables: [
      { name: "lifecycle", run: (signal) => lifecycle.run(signal) },
      { name: "garbage collection", run: (signal) => gc.run(signal) },
      { name: "budget", run: (signal) => budget.run(deletes, signal) },
    ],
  };
}

/** The Event that says so, on the controller's own namespace. */
export function budgetEvent({ podNamespace }: Settings, state: BudgetState): EventDraft {
  const full = state === "full";
  return {
    regarding: { apiVersion: "v1", kind: "Namespace", name: podNamespace, namespace: podNamespace },
    type: full ? "Warning" : "Normal",
    reason: full ? "StorageBudgetReached" : "StorageBudgetRecovered",
    message: full
      ? "The storage budget is used up: the least important Observations go first (OBSERVATION_MAX_TOTAL, OBSERVATION_MAX_BYTES)"
      : "The storage budget has room again",
  };
}
