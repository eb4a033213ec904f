/** The first requests to the API server: whether it can be used, and which user we are. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Health } from "../health.ts";
import { ApiError, type KubeApi } from "../kube/api.ts";
import { backoff, elapsed, retry, retryAfterMsOf, type Sleep } from "../kube/retry.ts";
import { untilAborted } from "../lifecycle.ts";
import { OBSERVATIONS } from "../store/mod.ts";
import { logger } from "../telemetry/logging.ts";
import { whoAmI } from "../kube/access.ts";

const log = logger("readiness");
/** At most two requests, and the longest wait before the next try. */
const ROUND_MS = 300_000;

/**
 * Sends requests until the API server answers and serves our CRD. An outage after that does not end readiness. If the CRD is
 * removed later, the watch of the index notices.
 */
export async function probeApi(
  api: KubeApi,
  health: Health,
  { signal, beat, sleep, onReached }: {
    readonly signal: AbortSignal;
    readonly beat: Beat;
    readonly sleep?: Sleep;
    /** Awaited before the answer counts. */
    readonly onReached: () => Promise<void>;
  },
): Promise<void> {
  const waits = backoff();
  for (;;) {
    beat.within(ROUND_MS);
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
      if (!await elapsed(waits.next(retryAfterMsOf(error)), { signal, sleep })) return;
    }
  }
}

/** Our user name: what the audit log says of our own requests is dropped. */
export interface OwnUser {
  /** "" while unknown. */
  readonly name: string;
  /** Asks once; never throws. Awaited before requests are welcome: by then it should be known. */
  ask(signal: AbortSignal): Promise<void>;
  /** Goes on asking where the first answer was none, until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

/** Creates it; no request is made yet. */
export function createOwnUser(api: KubeApi, options: { readonly sleep?: Sleep } = {}): OwnUser {
  const asked = Promise.withResolvers<void>();
  const user = { name: "" };

  async function learn(signal: AbortSignal): Promise<void> {
    user.name = (await whoAmI(api, { signal }))?.username ?? "";
  }

  return Object.assign(user, {
    async ask(signal: AbortSignal) {
      await learn(signal).catch(() => {});
      asked.resolve();
    },
    async run(signal: AbortSignal, beat: Beat = NO_BEAT) {
      beat.idle();
      await Promise.race([asked.promise, untilAborted(signal)]);
      // Where it is denied it stays so for long.
      const how = { signal, retryable: () => true, backoff: backoff({ maxMs: 30_000 }), ...options };
      const ask = () => {
        beat.within(ROUND_MS);
        return learn(signal);
      };
      if (user.name === "" && !signal.aborted) await retry(ask, how).catch(() => {});
      beat.idle();
      await untilAborted(signal);
    },
  });
}
