/** The store of a process, as every replica runs it: index, creates, repeats. */
import type { Clock } from "../model/time.ts";
import type { KubeApi } from "../kube/api.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Watch } from "../kube/watch.ts";
import type { ObservationStore } from "../pipeline/ports.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { throttle } from "../telemetry/throttle.ts";
import { type IndexOptions, ObservationIndex } from "./index/mod.ts";
import type { StoredObservation } from "./observations.ts";
import { createRepeats, type Repeats } from "./repeats.ts";
import type { Transition } from "./transitions.ts";
import { createUpdates, type Updates } from "./updates.ts";
import { createWriter } from "./writer.ts";

export { type AcceptanceOf, ObservationIndex } from "./index/mod.ts";
export { OBSERVATIONS, type StoredObservation } from "./observations.ts";

export interface StoreOptions
  extends Pick<IndexOptions, "contentHash" | "covers" | "onHealed" | "acceptanceOf"> {
  readonly api: KubeApi;
  readonly clock: Clock;
  /** INSTANCE: the label that says which shard wrote an Observation. */
  readonly instance: string;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "observationsCreateErrors" | "repeatsUncounted">;
  readonly ownNamespace: string;
  /** OBSERVATION_NAMESPACE; "": each Observation is stored in the namespace of its resource. */
  readonly observationNamespace?: string;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  /** Time without the report whose content is stored after which another report may replace it: twice the resync interval. */
  readonly contentSilenceMs: number;
  /** DEDUP_ENABLE_AGGREGATION: whether a return from Resolved adds an occurrence. */
  readonly countReturns: boolean;
  /** Called when a finding was created, resolved or reopened by a write of this process. */
  readonly onTransition?: (transition: Transition) => void;
  readonly random?: () => number;
  readonly sleep?: Sleep;
}

/** At most one log line in this time for each reason. */
const SET_ASIDE_LOG_MS = 60_000;

/** The index of the stored Observations, and the writers that create and change them. */
export interface Store extends ObservationStore {
  readonly index: ObservationIndex;
  readonly updates: Updates;
  readonly repeats: Repeats;
}

/** Creates the store of a process. */
export function createStore(options: StoreOptions): Store {
  const { clock, log, ownNamespace, observationNamespace = "" } = options;
  const lines = throttle({ lines: 1, windowMs: SET_ASIDE_LOG_MS, now: () => clock.monotonic() });
  const index = new ObservationIndex({
    ...options,
    sharedNamespaces: [ownNamespace, observationNamespace].filter(Boolean),
    onForeign({ metadata: { namespace, name } }, why) {
      const unsaid = lines(why);
      if (unsaid === undefined) return;
      log.warn("Observations that are not ours are set aside", { namespace, name, why, others: unsaid });
    },
  });
  const updates = createUpdates({ ...options, index });
  const repeats = createRepeats({ ...options, index, updates });
  index.onResolved = repeats.noteResolved;
  const write = createWriter({ ...options, index, repeats });
  return { index, updates, repeats, write, repeat: repeats.add };
}

export interface FeedIndexOptions {
  readonly log: Logger;
  /** A full list is made this often (RESYNC_INTERVAL), and at once when the server's revision went back. */
  readonly resyncMs: number;
  readonly random?: () => number;
  readonly sleep?: Sleep;
}

/** Number of objects after which a resync yields to other work. */
const RESYNC_SLICE = 500;
const RESYNC_PAUSE_MS = 50;

/** Feeds the index from the watch of Observations until that ends. */
export async function feedIndex(
  index: ObservationIndex,
  events: Pick<Watch<StoredObservation>, "relist" | typeof Symbol.asyncIterator>,
  { log, resyncMs, random = Math.random, sleep }: FeedIndexOptions,
): Promise<void> {
  index.onRewound = () => {
    log.warn("The API server's revision went back, as after a restore of etcd: Observations are listed anew");
    events.relist();
  };
  let resync: ReturnType<typeof setTimeout> | undefined;
  let taken = 0;
  try {
    for await (const event of events) {
      index.take(event);
      if (event.type === "synced") {
        clearTimeout(resync);
        // Jitter, so that replicas that started together do not list at the same time.
        resync = setTimeout(() => events.relist(), resyncMs * (0.9 + 0.2 * random()));
      }
      // A resync is not urgent and must not delay writes.
      const isResync = index.isListing && index.complete && !index.isRewound;
      if (isResync && ++taken % RESYNC_SLICE === 0) await elapsed(RESYNC_PAUSE_MS, { sleep });
    }
  } finally {
    clearTimeout(resync);
    index.onRewound = () => {};
  }
}
