import type { Clock } from "../../src/model/time.ts";

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** Time that the test advances: a clock, and sleeps that end when it reaches them. */
export class VirtualTime implements Clock {
  #passedMs = 0;
  readonly #startMs: number;
  readonly #sleepers = new Set<Sleeper>();

  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  now(): number {
    return this.#startMs + this.#passedMs;
  }

  monotonic(): number {
    return this.#passedMs;
  }

  /** This clock with an offset, as on another machine. */
  skewed(byMs: number): Clock {
    return { now: () => this.now() + byMs, monotonic: () => this.monotonic() };
  }

  /** Stands in for `sleep` of kube/retry.ts: rejects with the signal's reason when it aborts. */
  readonly sleep = (ms: number, signal?: AbortSignal): Promise<void> => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => () => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", abort);
        settle();
      };
      const abort = end(() => reject(signal?.reason));
      const sleeper: Sleeper = { at: this.#passedMs + Math.max(ms, 0), wake: end(resolve) };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", abort, { once: true });
    });
  };

  /** Calls back after so many ms; returns what cancels it. */
  readonly timer = (callback: () => void, ms: number): () => void => {
    const cancelled = new AbortController();
    this.sleep(ms, cancelled.signal).then(callback, () => {});
    return () => cancelled.abort();
  };

  /** Lets `ms` pass; what wakes meanwhile runs to its next wait. */
  async advance(ms: number): Promise<void> {
    const end = this.#passedMs + ms;
    await settled();
    for (;;) {
      const next = Math.min(...[...this.#sleepers].map(({ at }) => at));
      if (next > end) break;
      this.#passedMs = Math.max(this.#passedMs, next);
      for (const sleeper of [...this.#sleepers]) if (sleeper.at <= this.#passedMs) sleeper.wake();
      await settled();
    }
    this.#passedMs = end;
    await settled();
  }
}

/** Lets everything that needs no time run until it waits. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
