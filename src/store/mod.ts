/** The store of a process: index, write path and status lane as the pipeline uses them. */
import type { Clock } from "../model/clock.ts";
import type { KubeApi } from "../kube/api.ts";
import type { Sleep } from "../kube/retry.ts";
import type { WatchEvent } from "../kube/watch.ts";
import type { ObservationStore } from "../pipeline/ports.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ObservationIndex } from "./index.ts";
import type { StoredObservation } from "./observations.ts";
import { createStatusLane, type StatusLane } from "./status_lane.ts";
import { createWriter } from "./writer.ts";

export { type IndexOptions, ObservationIndex, type Row } from "./index.ts";
export { OBSERVATIONS, type StoredObservation } from "./observations.ts";
export type { StatusLane } from "./status_lane.ts";

export interface StoreOptions {
  readonly api: KubeApi;
  readonly index: ObservationIndex;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "observationsCreateErrors">;
  readonly instance: string;
  readonly ownNamespace: string;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  /** How long a report may be silent before another one's words replace what it said: twice the resync interval. */
  readonly contentSilenceMs: number;
  /** Unique to each write; by default a UUID. */
  readonly newEventId?: () => string;
  readonly random?: () => number;
  readonly sleep?: Sleep;
}

/** Writes, repeats, and the lane that runs in the background. */
export interface Store extends ObservationStore {
  readonly lane: StatusLane;
}

/** Creates the store of a process. */
export function createStore(options: StoreOptions): Store {
  const lane = createStatusLane(options);
  const writer = createWriter({ newEventId: () => crypto.randomUUID(), ...options, lane });
  return {
    lane,
    write: writer.write,
    repeat: (event, into, context) => lane.repeat(event, into, context),
  };
}

/** Feeds the index from the watch of Observations until that ends. */
export async function feedIndex(
  index: ObservationIndex,
  events: AsyncIterable<WatchEvent<StoredObservation>>,
): Promise<void> {
  for await (const event of events) index.take(event);
}
