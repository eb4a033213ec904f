import type { Clock } from "../../src/model/time.ts";

/** A machine's wall clock that is wrong or is set while the program runs. The monotonic clock is not affected. */
export class MovedClock implements Clock {
  #offMs: number;

  constructor(offMs = 0) {
    this.#offMs = offMs;
  }

  now = () => Date.now() + this.#offMs;
  monotonic = () => performance.now();

  /** Moves the clock by this much more from now on. */
  move(ms: number): void {
    this.#offMs += ms;
  }
}
