/** Work that is merged by key while it waits, done when due, at a bounded rate, and tried again when it fails. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/clock.ts";
import { type Backoff, backoff, type BackoffOptions, elapsed, type Sleep } from "./retry.ts";
import { Pause } from "./pause.ts";
import { createSpacing } from "./write_spacing.ts";

/**
 * How one piece of work ended. `again`: time mends it, at the earliest after `retryAfterMs`; `refused`: an admin must,
 * and it waits its own, longer time.
 */
export type WorkResult = "done" | "again" | "refused" | { readonly retryAfterMs: number };

export interface DueQueueOptions<T> {
  readonly clock: Clock;
  /** Does the work; what is not done is put back, merged with what came meanwhile. Never rejects. */
  work(key: string, item: T, signal: AbortSignal): Promise<WorkResult>;
  merge(older: T, newer: T): T;
  /** Called with refused work that is dropped: refused work may fill half the queue, the rest is for other keys. */
  dropped(item: T): void;
  /** Keys that may wait; `add` refuses more. */
  readonly maxSize: number;
  readonly concurrency: number;
  readonly perSecond: number;
  /** How long refused work waits; 5 s to 5 min. */
  readonly refusedWait?: BackoffOptions;
  readonly sleep?: Sleep;
}

interface Waiting<T> {
  item: T;
  dueAt: number;
  /** Of refused work: new work for its key does not make it due earlier. */
  readonly refused?: { readonly untilAt: number; readonly waits: Backoff };
}

/** One piece of work takes less: a few requests. */
const TURN_MS = 300_000;
/** How often a queue that is not empty looks for what is due. */
const TICK_MS = 200;
const REFUSED_WAIT = { initialMs: 5_000, maxMs: 300_000 };

/** A queue of due work. */
export class DueQueue<T> {
  readonly #options: DueQueueOptions<T>;
  readonly #turn: (signal: AbortSignal) => Promise<boolean>;
  readonly #waiting = new Map<string, Waiting<T>>();
  readonly #busy = new Map<string, T>();
  readonly #retries = backoff({ initialMs: 500, maxMs: 10_000 });
  #refused = 0;
  readonly #pause: Pause;

  constructor(options: DueQueueOptions<T>) {
    this.#options = options;
    this.#turn = createSpacing(options);
    this.#pause = new Pause(options.sleep);
  }

  /** Keys that wait or are at work. */
  get size(): number {
    return this.#waiting.size + this.#busy.size;
  }

  /** Keys whose last try was refused. */
  get refused(): number {
    return this.#refused;
  }

  /** What is not done yet for a key. */
  pending(key: string): T | undefined {
    const waiting = this.#waiting.get(key)?.item;
    const busy = this.#busy.get(key);
    return waiting !== undefined && busy !== undefined ? this.#options.merge(busy, waiting) : waiting ?? busy;
  }

  /** What waits for a key, less what is at work. */
  waiting(key: string): T | undefined {
    return this.#waiting.get(key)?.item;
  }

  /** Merges work into what waits for the key, due at the earlier of both times. False where the queue is full. */
  add(key: string, item: T, delayMs: number): boolean {
    const dueAt = this.#options.clock.monotonic() + delayMs;
    const waiting = this.#waiting.get(key);
    if (waiting) {
      waiting.item = this.#options.merge(waiting.item, item);
      waiting.dueAt = Math.max(Math.min(waiting.dueAt, dueAt), waiting.refused?.untilAt ?? -Infinity);
      return true;
    }
    if (this.size >= this.#options.maxSize) return false;
    this.#waiting.set(key, { item, dueAt });
    this.#pause.wake();
    return true;
  }

  /** Makes what waits for a key due no earlier than in `delayMs`. */
  postpone(key: string, delayMs: number): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.dueAt = Math.max(waiting.dueAt, this.#options.clock.monotonic() + delayMs);
  }

  /** Takes back what waits for a key; what is at work goes on. */
  drop(key: string): void {
    if (this.#waiting.get(key)?.refused) this.#refused--;
    this.#waiting.delete(key);
  }

  /**
   * Does work for a key at once, out of the queue: what is added for the key meanwhile waits until it has ended. False
   * where work for the key waits or is under way already.
   */
  async exclusively(key: string, item: T, work: () => Promise<void>): Promise<boolean> {
    if (this.pending(key) !== undefined) return false;
    this.#busy.set(key, item);
    try {
      await work();
      return true;
    } finally {
      this.#busy.delete(key);
    }
  }

  /** Does what is due until `signal` aborts. */
  async run(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<void> {
    do {
      beat.idle();
      while (this.size === 0 && await this.#pause.wait(Infinity, signal));
      beat.within(TURN_MS);
      const dueBy = this.#options.clock.monotonic();
      await this.#all({ signal, dueBy, paced: true, refused: true, beat });
    } while (await this.#elapsed(TICK_MS, signal));
  }

  /**
   * Does everything, due or not and as fast as it goes, until nothing is left but what was refused, once more,
   * or `signal` aborts.
   */
  async flush(signal: AbortSignal): Promise<void> {
    for (let refused = true; this.size > (refused ? 0 : this.#refused) && !signal.aborted; refused = false) {
      const before = this.size;
      await this.#all({ signal, dueBy: Infinity, paced: false, refused, beat: NO_BEAT });
      if (this.size >= before && this.size > this.#refused) {
        await this.#elapsed(this.#retries.next(), signal);
      }
    }
  }

  async #all(
    { signal, dueBy, paced, refused, beat }: {
      signal: AbortSignal;
      dueBy: number;
      paced: boolean;
      refused: boolean;
      beat: Beat;
    },
  ): Promise<void> {
    const due: string[] = [];
    for (const [key, waiting] of this.#waiting) {
      if (waiting.dueAt > dueBy || this.#busy.has(key) || (waiting.refused && !refused)) continue;
      due.push(key);
    }
    const worker = async () => {
      for (let key = due.pop(); key !== undefined && !signal.aborted; key = due.pop()) {
        beat.within(TURN_MS);
        if (!paced || await this.#turn(signal)) await this.#do(key, signal);
      }
    };
    due.reverse();
    await Promise.all(Array.from({ length: Math.min(this.#options.concurrency, due.length) }, worker));
  }

  async #do(key: string, signal: AbortSignal): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (!waiting || this.#busy.has(key) || signal.aborted) return;
    this.drop(key);
    this.#busy.set(key, waiting.item);
    const result = await this.#options.work(key, waiting.item, signal);
    this.#busy.delete(key);
    if (result === "done") return this.#retries.reset();
    const newer = this.#waiting.get(key);
    const item = newer ? this.#options.merge(waiting.item, newer.item) : waiting.item;
    const now = this.#options.clock.monotonic();
    if (result !== "refused") {
      const retryAfterMs = result === "again" ? 0 : result.retryAfterMs;
      this.#waiting.set(key, { item, dueAt: now + this.#retries.next(retryAfterMs) });
    } else if (this.#refused < this.#options.maxSize / 2) {
      const waits = waiting.refused?.waits ?? backoff(this.#options.refusedWait ?? REFUSED_WAIT);
      const untilAt = now + waits.next();
      this.#waiting.set(key, { item, dueAt: untilAt, refused: { untilAt, waits } });
      this.#refused++;
    } else {
      this.#waiting.delete(key);
      this.#options.dropped(item);
    }
  }

  #elapsed(ms: number, signal: AbortSignal): Promise<boolean> {
    return elapsed(ms, { signal, sleep: this.#options.sleep });
  }
}
