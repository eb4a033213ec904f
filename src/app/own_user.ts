/** Who we are to the API server: what its audit log says of our own requests is no news. */
import { whoAmI } from "../kube/access.ts";
import type { KubeApi } from "../kube/api.ts";
import { backoff, retry, type Sleep } from "../kube/retry.ts";
import { untilAborted } from "../lifecycle.ts";

export interface OwnUser {
  /** "" while unknown. */
  readonly name: string;
  /** Asks once; never throws. Awaited before requests are welcome: by then it should be known. */
  ask(signal: AbortSignal): Promise<void>;
  /** Goes on asking where the first answer was none, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** Creates it; nobody is asked yet. */
export function createOwnUser(api: KubeApi, options: { readonly sleep?: Sleep } = {}): OwnUser {
  const asked = Promise.withResolvers<void>();
  let name = "";

  async function learn(signal: AbortSignal): Promise<void> {
    name = (await whoAmI(api, { signal }))?.username ?? "";
  }

  return {
    get name() {
      return name;
    },
    async ask(signal) {
      await learn(signal).catch(() => {});
      asked.resolve();
    },
    async run(signal) {
      await Promise.race([asked.promise, untilAborted(signal)]);
      // Where it is denied it stays so for long.
      const how = { signal, retryable: () => true, backoff: backoff({ maxMs: 30_000 }), ...options };
      if (name === "" && !signal.aborted) await retry(() => learn(signal), how).catch(() => {});
      await untilAborted(signal);
    },
  };
}
