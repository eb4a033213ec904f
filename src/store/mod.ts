/** The store of a process, as every replica runs it: index, creates, repeats. */
import type { Clock } from "../model/clock.ts";
import type { KubeApi } from "../kube/api.ts";
import type { Sleep } from "../kube/retry.ts";
import type { WatchEvent } from "../kube/watch.ts";
import type { ObservationStore } from "../pipeline/ports.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { throttle } from "../telemetry/throttle.ts";
import { type IndexOptions, ObservationIndex } from "./index/mod.ts";
import type { StoredObservation } from "./observations.ts";
import { createRepeats, type Repeats } from "./repeats.ts";
import { createUpdates, type Updates } from "./updates.ts";
import { createWriter } from "./writer.ts";

export { ObservationIndex } from "./index/mod.ts";
export { OBSERVATIONS, type StoredObservation } from "./observations.ts";

export interface StoreOptions extends Pick<IndexOptions, "contentHash" | "onGone" | "covers"> {
  readonly api: KubeApi;
  readonly clock: Clock;
  /** INSTANCE: the label that says which shard wrote an Observation. */
  readonly instance: string;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "observationsCreateErrors">;
  readonly ownNamespace: string;
  /** OBSERVATION_NAMESPACE; "" where Observations lie beside what they are about. */
  readonly observationNamespace?: string;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  /** How long a report may be silent before another one's content replaces what it said: twice the resync interval. */
  readonly contentSilenceMs: number;
  /** DEDUP_ENABLE_AGGREGATION: whether a return from Resolved adds an occurrence. */
  readonly countReturns: boolean;
  /** Unique to each write; by default a UUID. */
  readonly newEventId?: () => string;
  readonly random?: () => number;
  readonly sleep?: Sleep;
}

/** One line in this time for each reason. */
const SET_ASIDE_LOG_MS = 60_000;

/** What is stored: the index of it, its creates and its changes. */
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
    now: () => clock.now(),
    sharedNamespaces: [ownNamespace, observationNamespace].filter(Boolean),
    onForeign({ metadata: { namespace, name } }, why) {
      const unsaid = lines(why);
      if (unsaid === undefined) return;
      log.warn("Observations that are not ours are set aside", { namespace, name, why, others: unsaid });
    },
  });
  const updates = createUpdates({ ...options, index });
  const repeats = createRepeats({ ...options, index, updates });
  const write = createWriter({ newEventId: () => crypto.randomUUID(), ...options, index, repeats });
  return { index, updates, repeats, write, repeat: repeats.add };
}

/** Feeds the index from the watch of Observations until that ends. */
export async function feedIndex(
  index: ObservationIndex,
  events: AsyncIterable<WatchEvent<StoredObservation>>,
): Promise<void> {
  for await (const event of events) index.take(event);
}
