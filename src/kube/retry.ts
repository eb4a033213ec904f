/** Waiting and trying again: sleeps that an abort ends, deadlines, full-jitter back-off, `Retry-After`. */
import { ApiError, NetworkError } from "./api.ts";

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

/** True if `work` settles, one way or the other, within `ms`. It goes on if it does not. */
export async function settledWithin(
  work: Promise<unknown>,
  ms: number,
  options: { readonly sleep?: Sleep } = {},
): Promise<boolean> {
  const settled = new AbortController();
  void work.then(() => settled.abort(), () => settled.abort());
  return !await elapsed(ms, { ...options, signal: settled.signal });
}

/** A signal that aborts with its parent or after a while. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts now. */
  abort(reason: unknown): void;
  /** The time no longer counts; the parent still does. */
  clear(): void;
  /** Counts `ms` from now. */
  restart(): void;
}

/**
 * Aborts with `NetworkError` `timeout` after `ms`. Not `AbortSignal.any` and `.timeout`: those leave a listener on a
 * parent that lives as long as the process, and a timer that is never cleared.
 */
export function deadline(ms: number, what: string, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent?.reason);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let dueAt = 0;
  const clear = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  const ring = () => {
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) {
      timer = setTimeout(ring, Math.ceil(leftMs));
      return;
    }
    controller.abort(new NetworkError(`Cannot ${what}: nothing came for ${ms} ms`, { fault: "timeout" }));
  };
  const restart = () => {
    dueAt = performance.now() + ms;
    // Each frame of a watch restarts its guard: the timer under way looks again when it rings.
    timer ??= setTimeout(ring, ms);
  };
  if (parent?.aborted) follow();
  else {
    parent?.addEventListener("abort", follow, { once: true });
    restart();
  }
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    clear,
    restart,
    [Symbol.dispose]() {
      clear();
      parent?.removeEventListener("abort", follow);
    },
  };
}

export interface BackoffOptions {
  readonly initialMs?: number;
  readonly maxMs?: number;
  /** The longest `Retry-After` that is believed. */
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
      // Jitter goes on top of what the server asked for: clients that were told "1 s" must not come back together.
      return Math.min(Math.max(retryAfterMs, 0), maxRetryAfterMs) + waitMs;
    },
    reset() {
      boundMs = initialMs;
    },
  };
}

/**
 * True where the same request may yet succeed: 408, 429, 5xx, no answer, and 401 (the transport has reloaded the
 * credentials and tried once already; a rotation may still be under way). 409 and other 4xx are answers.
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
  /** Called with each failure that is to be tried again. */
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
