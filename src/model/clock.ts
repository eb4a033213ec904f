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
