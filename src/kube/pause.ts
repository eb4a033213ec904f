/** The pause of a loop that may be woken before its time. */
import { elapsed, type Sleep } from "./retry.ts";

/** Timers of a longer time fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Waits until some time has passed or `wake` is called; a call between two waits counts for the next one. */
export class Pause {
  readonly #sleep: Sleep | undefined;
  #isWoken = false;
  #cut = new AbortController();

  constructor(sleep?: Sleep) {
    this.#sleep = sleep;
  }

  /** Ends the wait under way, or else the next one. */
  wake(): void {
    this.#isWoken = true;
    this.#cut.abort();
  }

  /** True after `ms`, or as soon as it is woken; false as soon as `signal` aborts. */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (!this.#isWoken) {
      const cut = new AbortController();
      const end = () => cut.abort();
      this.#cut = cut;
      signal.addEventListener("abort", end, { once: true });
      await elapsed(Math.min(ms, LONGEST_MS), { signal: cut.signal, sleep: this.#sleep });
      signal.removeEventListener("abort", end);
    }
    this.#isWoken = false;
    return !signal.aborted;
  }
}
