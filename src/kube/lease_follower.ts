/** Watches a lease for the moment it becomes free, so that a takeover need not wait for the next try. */
import type { KubeApi } from "./api.ts";
import { LEASES, readRecord } from "./lease_record.ts";
import { elapsed, type Sleep } from "./retry.ts";
import { watch, type WatchEvent } from "./watch.ts";

/** Waits that end early. */
export interface LeaseFollower extends AsyncDisposable {
  /** Resolves after `ms`, or as soon as the lease is released or deleted, or the follower stopped. */
  wait(ms: number): Promise<void>;
}

/** Follows until disposed of or aborted. The watch only wakes: what the lease says is then read anew. */
export function followLease(options: {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly name: string;
  readonly signal: AbortSignal;
  readonly sleep: Sleep;
}): LeaseFollower {
  const { api, namespace, name, signal, sleep } = options;
  const stop = new AbortController();
  let wake = new AbortController();
  const end = () => {
    stop.abort();
    wake.abort();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const following = (async () => {
    const scope = { namespace, fieldSelector: `metadata.name=${name}` };
    for await (const event of watch(api, LEASES, { ...scope, signal: stop.signal })) {
      if (isFreed(event)) wake.abort();
    }
  })();
  return {
    async wait(ms) {
      const woken = !await elapsed(ms, { signal: wake.signal, sleep });
      if (woken && !stop.signal.aborted) wake = new AbortController();
    },
    async [Symbol.asyncDispose]() {
      signal.removeEventListener("abort", end);
      end();
      await following;
    },
  };
}

function isFreed(event: WatchEvent): boolean {
  return event.type === "delete" ||
    (event.type === "apply" && readRecord(event.object).holderIdentity === "");
}
