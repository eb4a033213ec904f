import type { Clock } from "../../src/model/time.ts";

/** A machine's clock that is wrong, or is set while the program runs; the monotonic one goes on as ever. */
export class MovedClock implements Clock {
  #offMs: number;

  constructor(offMs = 0) {
    this.#offMs = offMs;
  }

  now = () => Date.now() + this.#offMs;
  monotonic = () => performance.now();

  /** Sets it, from now on, by so much more. */
  move(ms: number): void {
    this.#offMs += ms;
  }
}
