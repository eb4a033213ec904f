/** What metrics and `onState` learn of a watcher. */
import { type Clock, systemClock } from "../model/clock.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { WatchErrorReason, WatchOptions, WatchState } from "./watch.ts";

type WatchMetrics = NonNullable<WatchOptions["metrics"]>;

/** The telemetry of one watcher. */
export interface WatchTracker extends Disposable {
  state(state: WatchState): void;
  /** A page or a frame came. */
  activity(): void;
  reconnect(reason: WatchErrorReason | "ended"): void;
}

/** Watchers of one resource (one for each namespace) share its series: it is synced when all of them are. */
const watchersByGauge = new WeakMap<Metrics["informerSynced"], Map<string, Set<{ synced: boolean }>>>();

/** Starts to track a watcher of `resource`; disposing of it removes what it reported. */
export function trackWatch(
  resource: string,
  options: {
    readonly metrics?: WatchMetrics;
    readonly clock?: Clock;
    readonly onState?: (state: WatchState) => void;
  },
): WatchTracker {
  const { metrics, clock = systemClock, onState } = options;
  const own = { synced: false };
  const all = metrics ? watchersOf(metrics, resource) : new Set<{ synced: boolean }>();
  const show = () =>
    metrics?.informerSynced.set({ resource }, [...all].every(({ synced }) => synced) ? 1 : 0);
  let current: WatchState | undefined;
  all.add(own);
  show();
  return {
    state(state) {
      if (state === current) return;
      current = state;
      own.synced = state === "synced";
      show();
      onState?.(state);
    },
    activity: () => metrics?.watchLastActivity.set({ resource }, clock.now() / 1_000),
    reconnect: (reason) => metrics?.watchReconnects.inc({ resource, reason }),
    [Symbol.dispose]() {
      all.delete(own);
      if (all.size > 0) return show();
      metrics?.informerSynced.remove({ resource });
      metrics?.watchLastActivity.remove({ resource });
    },
  };
}

function watchersOf(metrics: WatchMetrics, resource: string): Set<{ synced: boolean }> {
  let byResource = watchersByGauge.get(metrics.informerSynced);
  if (!byResource) watchersByGauge.set(metrics.informerSynced, byResource = new Map());
  let watchers = byResource.get(resource);
  if (!watchers) byResource.set(resource, watchers = new Set());
  return watchers;
}
