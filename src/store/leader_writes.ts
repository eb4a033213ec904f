/** What every background write of the leader has in common: the lease is checked first, and a pace is kept. */
import type { Clock } from "../model/clock.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";

export interface LeaderWritesOptions {
  readonly clock: Clock;
  /** Throws where the lease may be another's by now. */
  readonly assertLeader: () => void;
  readonly perSecond: number;
  readonly sleep?: Sleep;
}

/** Starts writes of the leader. */
export interface LeaderWrites {
  /** Waits for its turn, then makes sure that we still lead: throws if not. False where `signal` aborted first. */
  turn(signal: AbortSignal): Promise<boolean>;
}

/** Creates a pace for leader writes: evenly spread starts, no bursts. */
export function createLeaderWrites(options: LeaderWritesOptions): LeaderWrites {
  const { clock, assertLeader, perSecond, sleep } = options;
  let nextAt = 0;
  return {
    async turn(signal) {
      const now = clock.monotonic();
      const startAt = Math.max(now, nextAt);
      nextAt = startAt + 1_000 / perSecond;
      if (startAt > now && !await elapsed(startAt - now, { signal, sleep })) return false;
      if (signal.aborted) return false;
      assertLeader();
      return true;
    },
  };
}
