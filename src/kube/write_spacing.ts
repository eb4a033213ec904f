/** Background writes start evenly spread over time: a burst of due work must not crowd out creates. */
import type { Clock } from "../model/clock.ts";
import { elapsed, type Sleep } from "./retry.ts";

export interface SpacingOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  readonly sleep?: Sleep;
}

/** Makes a function that waits until the next write may start; false where its signal aborted first. */
export function createSpacing(options: SpacingOptions): (signal: AbortSignal) => Promise<boolean> {
  const { clock, perSecond, sleep } = options;
  let nextAt = 0;
  return async (signal) => {
    const now = clock.monotonic();
    const startAt = Math.max(now, nextAt);
    nextAt = startAt + 1_000 / perSecond;
    return startAt > now ? await elapsed(startAt - now, { signal, sleep }) : !signal.aborted;
  };
}
