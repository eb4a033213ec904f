/** The time, injected: milliseconds since the epoch, and a monotonic reading in milliseconds. */
export interface Clock {
  now(): number;
  monotonic(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Compares the own clock with the API server's, which is in the Date header of its answers. */
export interface ServerClock {
  /** Notes the Date header of an answer that has just come. */
  note(date: string | null): void;
  /** By how many milliseconds the own clock is ahead; undefined before the first answer with a date. */
  readonly skewMs: number | undefined;
  /** False where the clocks differ by more than an hour: neither can be trusted to say what is old. */
  readonly agrees: boolean;
}

/** Dates tell seconds, and most answers come within one: reading each of them would tell no more. */
const READ_EVERY_MS = 1_000;
const MAX_SKEW_MS = 3_600_000;

/**
 * Creates the comparison of a process. Between two answers the server's time is reckoned by the monotonic clock, so that
 * an own clock that jumps disagrees at once.
 */
export function createServerClock(clock: Clock): ServerClock {
  let serverMsAtRead: number | undefined;
  let readAt = -Infinity;
  const skew = () =>
    serverMsAtRead === undefined ? undefined : clock.now() - (serverMsAtRead + clock.monotonic() - readAt);
  return {
    note(date) {
      if (date === null || clock.monotonic() - readAt < READ_EVERY_MS) return;
      const serverMs = Date.parse(date);
      if (Number.isNaN(serverMs)) return;
      readAt = clock.monotonic();
      serverMsAtRead = serverMs;
    },
    get skewMs() {
      return skew();
    },
    get agrees() {
      return Math.abs(skew() ?? 0) <= MAX_SKEW_MS;
    },
  };
}
