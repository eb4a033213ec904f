import type { Beat } from "../model/beat.ts";
import type { Health } from "../health.ts";
import { ApiError, type KubeApi } from "../kube/api.ts";
import { backoff, elapsed, retryAfterMsOf } from "../kube/retry.ts";
import { untilAborted } from "../lifecycle.ts";
import { OBSERVATIONS } from "../store/mod.ts";
import { logger } from "../telemetry/logging.ts";

const log = logger("readiness");
/** Two requests, and the longest wait before the next try. */
const TURN_MS = 300_000;

/**
 * Asks until the API server answers and serves our CRD. That it is away later is no reason for not being ready; whether
 * the CRD is still served the watch of the index tells.
 */
export async function probeApi(
  api: KubeApi,
  health: Health,
  { signal, beat, onReached }: {
    readonly signal: AbortSignal;
    readonly beat: Beat;
    /** Awaited before the answer counts. */
    readonly onReached: () => Promise<void>;
  },
): Promise<void> {
  const waits = backoff();
  for (;;) {
    beat.within(TURN_MS);
    try {
      await api.list(OBSERVATIONS, { limit: 1, signal });
      await onReached();
      health.set("api", true);
      health.set("crd", true);
      beat.idle();
      return await untilAborted(signal);
    } catch (error) {
      if (signal.aborted) return;
      health.set("api", error instanceof ApiError);
      log.warn("Waiting for the API server and the Observation CRD", { error });
      if (!await elapsed(waits.next(retryAfterMsOf(error)), { signal })) return;
    }
  }
}
