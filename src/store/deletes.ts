/** Deletes Observations, at a limited rate. Each delete names the uid and resourceVersion of the object that was judged. Runs on the leader. */
import { ApiError, hasStatus, type KubeApi, NetworkError } from "../kube/api.ts";
import { type EventDraft, installationEvent } from "../kube/events.ts";
import {
  backoff,
  createSpacing,
  elapsed,
  isRetryable,
  retryAfterMsOf,
  type SpacingOptions,
} from "../kube/retry.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ObservationIndex, Row } from "./index/mod.ts";
import { OBSERVATIONS } from "./observations.ts";

/** Why zen-watcher deletes Observations, and what each word means. */
export const DELETE_REASON_MEANINGS = {
  expired: "its TTL is over, and no report contains it",
  budget: "the storage budget is exceeded",
  merged: "the same finding is stored in its own namespace too, which had refused it before",
} as const;
/** One of the reasons for a delete. */
export type DeleteReason = keyof typeof DELETE_REASON_MEANINGS;

/** Values of the label `error_type` of failed deletes. */
const ERROR_TYPES = [
  ...["unreachable", "timeout", "garbled", "too_large"] as const,
  ...["throttled", "forbidden", "unauthorized", "server", "rejected", "internal"] as const,
];

export interface DeletesOptions extends SpacingOptions {
  readonly api: KubeApi;
  readonly index: ObservationIndex;
  readonly metrics: Pick<Metrics, "observationsDeleted" | "gcErrors">;
  readonly sourceLabel: (source: string) => string;
  /** Throws if another replica may hold the lease by now. */
  readonly assertLeader: () => void;
  /** False while the clocks of this process and the API server differ too much: nothing is deleted then. */
  readonly clocksAgree?: () => boolean;
  readonly concurrency?: number;
  readonly random?: () => number;
}

interface Again {
  readonly retryAfterMs: number | undefined;
}

/** Most attempts for one object in one round. */
const MAX_ATTEMPTS = 3;

/** Deletes Observations. */
export interface Deletes {
  /** Deletes rows until all are tried or `signal` aborts; resolves with how many are gone. Throws once another replica may lead. */
  all(rows: Iterable<Row>, reason: DeleteReason, signal: AbortSignal): Promise<number>;
}

/** Creates the deletes of a process. */
export function createDeletes(options: DeletesOptions): Deletes {
  const { api, index, metrics, concurrency = 8, sleep } = options;
  const spacing = createSpacing(options);
  const mayDelete = options.clocksAgree ?? (() => true);
  // Prometheus sees the first error only if the series was 0 before.
  for (const error_type of ERROR_TYPES) metrics.gcErrors.inc({ operation: "delete", error_type }, 0);

  /** Sends one delete: true if it deleted the object, false if not, `Again` if another attempt may help. */
  async function one(row: Row, reason: DeleteReason, signal: AbortSignal): Promise<boolean | Again> {
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
        return isRetryable(error) && { retryAfterMs: retryAfterMsOf(error) };
      }
      index.forget(namespace, name, uid);
      return false;
    }
    index.forget(namespace, name, uid);
    metrics.observationsDeleted.inc({ source: options.sourceLabel(row.source), reason });
    return true;
  }

  /** Waits as long as an overloaded API server asks; each attempt waits until the rate limit allows it. */
  async function paced(row: Row, reason: DeleteReason, signal: AbortSignal): Promise<boolean> {
    const waits = backoff(options.random ? { random: options.random } : {});
    for (let attempt = 1;; attempt++) {
      if (!await spacing(signal) || !mayDelete()) return false;
      options.assertLeader();
      const result = await one(row, reason, signal);
      if (typeof result === "boolean") return result;
      if (attempt >= MAX_ATTEMPTS) return false;
      if (!await elapsed(waits.next(result.retryAfterMs), { signal, sleep })) return false;
    }
  }

  return {
    async all(rows, reason, signal) {
      if (!mayDelete()) return 0;
      const queue = rows[Symbol.iterator]();
      let deleted = 0;
      let lost: unknown;
      const worker = async () => {
        while (lost === undefined) {
          const next = queue.next();
          if (next.done) return;
          if (signal.aborted) return;
          try {
            if (await paced(next.value, reason, signal)) deleted++;
          } catch (error) {
            lost = error;
          }
        }
      };
      await Promise.all(Array.from({ length: concurrency }, worker));
      if (lost !== undefined) throw lost;
      return deleted;
    },
  };
}

/** The Event that says that deletes are suspended because clocks differ, or that they have resumed. */
export function clockEvent(ownNamespace: string, agrees: boolean): EventDraft {
  return installationEvent(
    ownNamespace,
    agrees
      ? {
        type: "Normal",
        reason: "ClocksAgree",
        message:
          "The clocks of zen-watcher and of the API server agree again: Observations are deleted when they are old",
      }
      : {
        type: "Warning",
        reason: "ClocksDisagree",
        message:
          "The clocks of zen-watcher and of the API server differ by more than an hour: no Observation is deleted",
      },
  );
}

/** An error in a word of a closed list, for the label `error_type`. */
export function errorType(error: unknown): typeof ERROR_TYPES[number] {
  if (error instanceof NetworkError) return error.fault;
  if (!(error instanceof ApiError)) return "internal";
  if (error.status === 429) return "throttled";
  if (error.status === 403) return "forbidden";
  if (error.status === 401) return "unauthorized";
  return error.status >= 500 ? "server" : "rejected";
}
