/** Deletes of the leader: paced, each only of the very object that was judged. */
import { ApiError, hasStatus, type KubeApi, NetworkError } from "../kube/api.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ObservationIndex, Row } from "./index.ts";
import { createLeaderWrites, type LeaderWritesOptions } from "./leader_writes.ts";
import { OBSERVATIONS } from "./observations.ts";

/** Values of the label `reason` of `observations_deleted_total`. */
export type DeleteReason = "expired" | "budget";

export interface DeletesOptions extends LeaderWritesOptions {
  readonly api: KubeApi;
  readonly index: ObservationIndex;
  readonly metrics: Pick<Metrics, "observationsDeleted" | "gcErrors">;
  readonly sourceLabel: (source: string) => string;
  readonly concurrency?: number;
}

/** Deletes Observations. */
export interface Deletes {
  /** Deletes rows until all are tried or `signal` aborts; resolves with how many are gone. Throws once we do not lead any more. */
  all(rows: Iterable<Row>, reason: DeleteReason, signal: AbortSignal): Promise<number>;
}

/** Creates the deletes of a process. */
export function createDeletes(options: DeletesOptions): Deletes {
  const { api, index, metrics, concurrency = 8 } = options;
  const writes = createLeaderWrites(options);

  async function one(row: Row, reason: DeleteReason, signal: AbortSignal): Promise<boolean> {
    const { namespace, name, uid, resourceVersion } = row;
    try {
      await api.delete(OBSERVATIONS, name, {
        namespace,
        signal,
        preconditions: { uid, ...(resourceVersion !== undefined && { resourceVersion }) },
      });
    } catch (error) {
      if (signal.aborted) return false;
      // It changed since it was judged: the next round judges it again.
      if (hasStatus(error, 409)) return false;
      if (!hasStatus(error, 404)) {
        metrics.gcErrors.inc({ operation: "delete", error_type: errorType(error) });
        return false;
      }
      index.forget(namespace, name, uid);
      return false;
    }
    index.forget(namespace, name, uid);
    metrics.observationsDeleted.inc({ source: options.sourceLabel(row.source), reason });
    return true;
  }

  return {
    async all(rows, reason, signal) {
      const queue = rows[Symbol.iterator]();
      let deleted = 0;
      let lost: unknown;
      const worker = async () => {
        while (lost === undefined) {
          const next = queue.next();
          if (next.done) return;
          try {
            if (!await writes.turn(signal)) return;
          } catch (error) {
            lost = error;
            return;
          }
          if (await one(next.value, reason, signal)) deleted++;
        }
      };
      await Promise.all(Array.from({ length: concurrency }, worker));
      if (lost !== undefined) throw lost;
      return deleted;
    },
  };
}

/** An error in a word of a closed list, for the label `error_type`. */
export function errorType(error: unknown): string {
  if (error instanceof NetworkError) return error.fault;
  if (!(error instanceof ApiError)) return "internal";
  if (error.status === 429) return "throttled";
  if (error.status === 403) return "forbidden";
  if (error.status === 401) return "unauthorized";
  return error.status >= 500 ? "server" : "rejected";
}
