/** Waiting and trying again: sleeps that an abort ends, deadlines, full-jitter back-off, `Retry-After`, and the queue of work that is due later. */
import { ApiError, NetworkError } from "./api.ts";
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";

/** Waits. Rejects with the signal's reason when it aborts. */
export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>;

/** The real `Sleep`. It leaves no timer and no listener behind. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * Waits; true after `ms`, false as soon as `signal` aborts. For loops that end with their signal:
 * `while (await elapsed(TICK_MS, { signal })) await tick();`
 */
export async function elapsed(
  ms: number,
  options: { readonly signal?: AbortSignal | undefined; readonly sleep?: Sleep | undefined },
): Promise<boolean> {
  const { signal, sleep: wait = sleep } = options;
  try {
    await wait(ms, signal);
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
  return !signal?.aborted;
}

/** The work of `every` is short: where its next beat is this late, the event loop is stuck. */
const LATE_MS = 60_000;

/** Calls `work` every `intervalMs` until `signal` aborts, with a beat before each wait. Rejects with what `work` throws. */
export async function every(
  intervalMs: number,
  work: () => void,
  { signal, beat = NO_BEAT, sleep }: {
    readonly signal: AbortSignal;
    readonly beat?: Beat;
    readonly sleep?: Sleep | undefined;
  },
): Promise<void> {
  const next = () => beat.within(intervalMs + LATE_MS);
  for (next(); await elapsed(intervalMs, { signal, sleep }); next()) work();
}

/** Runs the work of a key; see `createPacer`. */
export type Pacer = (key: string, work: () => void) => void;

/**
 * Runs the work of each key at most once in `intervalMs`: at once where none ran in this time, else at its end. Calls that
 * wait for it count as one, and the last one's work runs. Nothing runs after `signal` aborted.
 */
export function createPacer(
  intervalMs: number,
  options: { readonly signal: AbortSignal; readonly sleep?: Sleep | undefined },
): Pacer {
  /** By key, where work ran within `intervalMs`: the work that waits. */
  const waiting = new Map<string, (() => void) | undefined>();
  async function pace(key: string, work: () => void): Promise<void> {
    let next: (() => void) | undefined = work;
    while (next) {
      waiting.set(key, undefined);
      next();
      next = await elapsed(intervalMs, options) ? waiting.get(key) : undefined;
    }
    waiting.delete(key);
  }
  return (key, work) => {
    if (waiting.has(key)) waiting.set(key, work);
    else void pace(key, work);
  };
}

/** True if `work` resolves or rejects within `ms`. If not, it continues in the background. */
export async function settledWithin(
  work: Promise<unknown>,
  ms: number,
  options: { readonly sleep?: Sleep } = {},
): Promise<boolean> {
  const settled = new AbortController();
  void work.then(() => settled.abort(), () => settled.abort());
  return !await elapsed(ms, { ...options, signal: settled.signal });
}

export interface BackoffOptions {
  readonly initialMs?: number;
  readonly maxMs?: number;
  /** Longest `Retry-After` to follow. */
  readonly maxRetryAfterMs?: number;
  readonly random?: () => number;
}

/** Growing waits. */
export interface Backoff {
  /** The next wait. At least `retryAfterMs` where the server named one. */
  next(retryAfterMs?: number): number;
  /** Starts over at the shortest wait. */
  reset(): void;
}

/** Full jitter: anything from 0 to a bound that doubles from `initialMs` (250) up to `maxMs` (5,000). */
export function backoff(options: BackoffOptions = {}): Backoff {
  const { initialMs = 250, maxMs = 5_000, maxRetryAfterMs = 60_000, random = Math.random } = options;
  let boundMs = initialMs;
  return {
    next(retryAfterMs = 0) {
      const waitMs = random() * Math.min(boundMs, maxMs);
      boundMs = Math.min(boundMs * 2, maxMs);
      // Jitter is added to the server's Retry-After, so that clients with the same one do not return at the same time.
      // A text instead of a number of seconds is NaN here: such a wait would be none.
      return (retryAfterMs > 0 ? Math.min(retryAfterMs, maxRetryAfterMs) : 0) + waitMs;
    },
    reset() {
      boundMs = initialMs;
    },
  };
}

/**
 * True if the same request may succeed later: 408, 429, 5xx, no answer, and 401 (the client has reloaded the credentials
 * and tried once already; a rotation may still be in progress). 409 and other 4xx are final.
 */
export function isRetryable(error: unknown): boolean {
  if (error instanceof NetworkError) return error.fault !== "too_large";
  if (!(error instanceof ApiError)) return false;
  return error.status >= 500 || error.status === 429 || error.status === 408 || error.status === 401;
}

/** The wait the server asked for, if any. */
export function retryAfterMsOf(error: unknown): number | undefined {
  return error instanceof ApiError ? error.retryAfterMs : undefined;
}

export interface RetryOptions {
  readonly signal?: AbortSignal;
  readonly retryable?: (error: unknown) => boolean;
  readonly backoff?: Backoff;
  /** Attempts in all; without it, until `signal` aborts. */
  readonly maxAttempts?: number;
  readonly sleep?: Sleep;
  /** Called with each failure that will be retried. */
  readonly onRetry?: (error: unknown, attempt: number, waitMs: number) => void;
}

/**
 * Calls `fn` until it succeeds, fails for good, runs out of attempts, or `signal` aborts.
 * Throws what `fn` threw last: after an abort too, so that the caller can still say why it was waiting.
 */
export async function retry<T>(fn: (attempt: number) => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { signal, retryable = isRetryable, maxAttempts = Infinity, onRetry } = options;
  const waits = options.backoff ?? backoff();
  signal?.throwIfAborted();
  for (let attempt = 1;; attempt++) {
    try {
      return await fn(attempt);
    } catch (error) {
      if (signal?.aborted || attempt >= maxAttempts || !retryable(error)) throw error;
      const waitMs = waits.next(retryAfterMsOf(error));
      onRetry?.(error, attempt, waitMs);
      if (!await elapsed(waitMs, { signal, sleep: options.sleep })) throw error;
    }
  }
}

/** Longest time of a timer; a longer one fires at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Waits until some time has passed or `wake` is called; a call between two waits counts for the next one. */
export class Pause {
  readonly #sleep: Sleep | undefined;
  #isWoken = false;
  #cut = new AbortController();

  constructor(sleep?: Sleep) {
    this.#sleep = sleep;
  }

  /** Ends the current wait, or else the next one. */
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

export interface SpacingOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  readonly sleep?: Sleep;
}

/** Waits until the next write may start; false where its signal aborted first. */
export type Spacing = (signal: AbortSignal) => Promise<boolean>;

/** Makes a spacing. Those that share it take turns. */
export function createSpacing(options: SpacingOptions): Spacing {
  const { clock, perSecond, sleep } = options;
  let nextAt = 0;
  return async (signal) => {
    const now = clock.monotonic();
    const startAt = Math.max(now, nextAt);
    nextAt = startAt + 1_000 / perSecond;
    return startAt > now ? await elapsed(startAt - now, { signal, sleep }) : !signal.aborted;
  };
}

/**
 * How one piece of work ended. `again`: a temporary error, retried after `retryAfterMs` at the earliest. `refused`: an
 * admin has to change something, so it is retried after a longer time.
 */
export type WorkResult = "done" | "again" | "refused" | { readonly retryAfterMs: number };

export interface DueQueueOptions<T> {
  readonly clock: Clock;
  /** Does the work. Work that is not done goes back into the queue, merged with newer work of its key. Never rejects. */
  work(key: string, item: T, signal: AbortSignal): Promise<WorkResult>;
  merge(older: T, newer: T): T;
  /** Called with refused work that is dropped: refused work may fill at most half of the queue. */
  dropped(item: T): void;
  /** Keys that may wait; `add` refuses more. */
  readonly maxSize: number;
  readonly concurrency: number;
  /** When the next work may begin. */
  readonly spacing: Spacing;
  /** How long refused work waits; 5 s to 5 min. */
  readonly refusedWait?: BackoffOptions;
  readonly sleep?: Sleep;
}

interface Waiting<T> {
  item: T;
  dueAt: number;
  /** Set after a try that failed: new work of the key does not make it due before `untilAt`. */
  readonly failed?: {
    readonly untilAt: number;
    readonly waits: Backoff;
    readonly isRefused: boolean;
  };
}

/** Longest time of one piece of work (a few requests) before the liveness check fails. */
const LONGEST_WORK_MS = 300_000;
/** How often a queue that is not empty checks for work that is due. */
const TICK_MS = 200;
const RETRY_WAIT = { initialMs: 500, maxMs: 10_000 };
const REFUSED_WAIT = { initialMs: 5_000, maxMs: 300_000 };

/**
 * Work by key that is due at a time. Up to `concurrency` keys are worked on at once, one piece of work for each key. A key
 * whose work fails waits by a back-off of its own: neither a slow nor a failing key delays the others.
 */
export class DueQueue<T> {
  readonly #options: DueQueueOptions<T>;
  readonly #waiting = new Map<string, Waiting<T>>();
  readonly #busy = new Map<string, T>();
  #refused = 0;
  readonly #pause: Pause;

  constructor(options: DueQueueOptions<T>) {
    this.#options = options;
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

  /** The work for a key that is not done, waiting or in progress. */
  pending(key: string): T | undefined {
    const waiting = this.#waiting.get(key)?.item;
    const busy = this.#busy.get(key);
    return waiting !== undefined && busy !== undefined ? this.#options.merge(busy, waiting) : waiting ?? busy;
  }

  /** The work that waits for a key, without work in progress. */
  waiting(key: string): T | undefined {
    return this.#waiting.get(key)?.item;
  }

  /** Merges work into the waiting work of the key, due at the earlier of both times. False if the queue is full. */
  add(key: string, item: T, delayMs: number): boolean {
    const dueAt = this.#options.clock.monotonic() + delayMs;
    const waiting = this.#waiting.get(key);
    if (waiting) {
      waiting.item = this.#options.merge(waiting.item, item);
      waiting.dueAt = Math.max(Math.min(waiting.dueAt, dueAt), waiting.failed?.untilAt ?? -Infinity);
      return true;
    }
    if (this.size >= this.#options.maxSize) return false;
    this.#waiting.set(key, { item, dueAt });
    this.#pause.wake();
    return true;
  }

  /** Delays the waiting work of a key by at least `delayMs` from now. */
  postpone(key: string, delayMs: number): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.dueAt = Math.max(waiting.dueAt, this.#options.clock.monotonic() + delayMs);
  }

  /** Removes the waiting work of a key; work in progress continues. */
  drop(key: string): void {
    if (this.#waiting.get(key)?.failed?.isRefused) this.#refused--;
    this.#waiting.delete(key);
  }

  /**
   * Does work for a key at once, outside of the queue. Work added for the key meanwhile waits until it has ended. False if
   * work for the key waits or is in progress already.
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
    const due: string[] = [];
    const workers = new Set<Promise<void>>();
    const mayBegin = () => {
      beat.within(LONGEST_WORK_MS);
      return this.#options.spacing(signal);
    };
    do {
      if (this.size === 0) beat.idle();
      while (this.size === 0 && await this.#pause.wait(Infinity, signal));
      // While work is under way only its progress counts: a loop that went on alone would hide that all of it is stuck.
      if (workers.size === 0) beat.within(LONGEST_WORK_MS);
      const now = this.#options.clock.monotonic();
      if (due.length === 0) due.push(...this.#keys(({ dueAt }) => dueAt <= now));
      while (workers.size < this.#options.concurrency && due.length > 0) {
        const worker = this.#workOff(due, { signal, mayBegin }).finally(() => workers.delete(worker));
        workers.add(worker);
      }
    } while (await this.#elapsed(TICK_MS, signal));
    await Promise.all(workers);
  }

  /**
   * Does all work at once, due or not, until only work is left that was refused again, or `signal` aborts.
   */
  async flush(signal: AbortSignal): Promise<void> {
    const waits = backoff(RETRY_WAIT);
    const mayBegin = () => Promise.resolve(true);
    for (let refused = true; this.size > (refused ? 0 : this.#refused) && !signal.aborted; refused = false) {
      const before = this.size;
      const all = this.#keys(({ failed }) => refused || !failed?.isRefused);
      const count = Math.min(this.#options.concurrency, all.length);
      await Promise.all(Array.from({ length: count }, () => this.#workOff(all, { signal, mayBegin })));
      if (this.size < before) waits.reset();
      else if (this.size > this.#refused) await this.#elapsed(waits.next(), signal);
    }
  }

  /** The waiting keys that `isMeant` takes and that are not at work, the one that waits longest last. */
  #keys(isMeant: (waiting: Waiting<T>) => boolean): string[] {
    const keys: string[] = [];
    for (const [key, waiting] of this.#waiting) {
      if (isMeant(waiting) && !this.#busy.has(key)) keys.push(key);
    }
    return keys.reverse();
  }

  /** Takes keys from the end of the list and does their work, until none is left. */
  async #workOff(
    keys: string[],
    { signal, mayBegin }: { readonly signal: AbortSignal; readonly mayBegin: () => Promise<boolean> },
  ): Promise<void> {
    for (let key = keys.pop(); key !== undefined && !signal.aborted; key = keys.pop()) {
      if (await mayBegin()) await this.#do(key, signal);
    }
  }

  async #do(key: string, signal: AbortSignal): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (!waiting || this.#busy.has(key) || signal.aborted) return;
    this.drop(key);
    this.#busy.set(key, waiting.item);
    const result = await this.#options.work(key, waiting.item, signal);
    this.#busy.delete(key);
    if (result === "done") return;
    const newer = this.#waiting.get(key);
    const item = newer ? this.#options.merge(waiting.item, newer.item) : waiting.item;
    const isRefused = result === "refused";
    if (isRefused && this.#refused >= this.#options.maxSize / 2) {
      this.#waiting.delete(key);
      this.#options.dropped(item);
      return;
    }
    const { refusedWait = REFUSED_WAIT, clock } = this.#options;
    const before = waiting.failed;
    const waits = before?.isRefused === isRefused
      ? before.waits
      : backoff(isRefused ? refusedWait : RETRY_WAIT);
    const untilAt = clock.monotonic() + waits.next(typeof result === "object" ? result.retryAfterMs : 0);
    this.#waiting.set(key, { item, dueAt: untilAt, failed: { untilAt, waits, isRefused } });
    if (isRefused) this.#refused++;
  }

  #elapsed(ms: number, signal: AbortSignal): Promise<boolean> {
    return elapsed(ms, { signal, sleep: this.#options.sleep });
  }
}
