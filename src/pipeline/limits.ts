/**
 * What an event waits for on its way: a turn on the thread, then, where it is to be written, a token of its source and a
 * write slot. Waiting drops nothing; only the signal of the request or of the shutdown ends it.
 */
import type { Clock } from "../model/clock.ts";

/** The limits of a process, shared by all its payloads. */
export interface Limits {
  readonly slices: TimeSlices;
  readonly rate: RateLimiter;
  readonly slots: WriteSlots;
}

/** Cuts long loops into slices, so that probes and other requests are answered in between. */
export interface TimeSlices {
  /** A request arrived from the network. It begins a slice where no loop is waiting: idle time is not work. */
  arrived(): void;
  /** Awaited inside a long loop; undefined, at no cost, while the slice lasts. */
  turn(): Promise<void> | undefined;
}

/** Hands out one token per write and source. */
export interface RateLimiter {
  /** Resolves true with a token taken, in order of arrival; false where `signal` aborted first. */
  take(source: string, signal: AbortSignal): Promise<boolean>;
}

/** Bounds the writes under way, in all and for each source. */
export interface WriteSlots {
  /** Resolves true once there is a slot, false where `signal` aborted first. Every true needs a `release`. */
  take(source: string, signal: AbortSignal): Promise<boolean>;
  release(source: string): void;
  readonly taken: number;
}

export interface LimitsOptions extends RateLimiterOptions {
  readonly slots?: WriteSlotsOptions;
}

/** Creates the limits of a process. */
export function createLimits({ slots = { limit: 32, perSource: 24 }, ...options }: LimitsOptions): Limits {
  return {
    slices: createTimeSlices(options.clock),
    rate: createRateLimiter(options),
    slots: createWriteSlots(slots),
  };
}

/** Limits that never make anything wait. */
export const NO_LIMITS: Limits = {
  slices: { arrived() {}, turn: () => undefined },
  rate: { take: () => Promise.resolve(true) },
  slots: { take: () => Promise.resolve(true), release() {}, taken: 0 },
};

/**
 * Creates the slices of all loops of the process: however many loops run, about one slice lies between two turns of the
 * event loop. A loop that waited gets the whole slice that begins then, not one step of it.
 */
export function createTimeSlices(clock: Clock, sliceMs = 10): TimeSlices {
  let queue: Promise<void> | undefined;
  let waiting = 0;
  let startedAt = clock.monotonic();

  const isOver = () => clock.monotonic() - startedAt >= sliceMs;

  async function next(before: Promise<void> | undefined): Promise<void> {
    await before;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    startedAt = clock.monotonic();
    if (--waiting === 0) queue = undefined;
  }

  return {
    arrived() {
      if (!queue && isOver()) startedAt = clock.monotonic();
    },
    turn() {
      if (!isOver()) return undefined;
      waiting++;
      return queue = next(queue);
    },
  };
}

/** How fast a source may write. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export interface RateLimiterOptions {
  readonly clock: Clock;
  readonly rate: Rate;
  /** A source's own rate (its Ingester's `rateLimit`); read on each take, because it changes at run time. */
  readonly rateOf?: (source: string) => Rate | undefined;
  /** Buckets kept; those idle longest are forgotten first. A bucket with waiters always stays. */
  readonly maxSources?: number;
  /** Calls back after so many ms; returns what cancels it. */
  readonly timer?: (callback: () => void, delayMs: number) => () => void;
}

interface Bucket {
  tokens: number;
  readAt: number;
  /** In order of arrival: a set keeps it, and an aborted waiter leaves in constant time. */
  readonly waiting: Set<() => void>;
  cancelTimer: (() => void) | undefined;
}

/** Creates a token bucket per source. Timers run only while an event waits; an aborted wait leaves nothing behind. */
export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { clock, maxSources = 1024, timer = startTimer } = options;
  const buckets = new Map<string, Bucket>();

  function rateOf(source: string): Rate {
    const { perSecond, burst } = options.rateOf?.(source) ?? options.rate;
    // A bucket that holds less than one token, or never fills, would drop every event.
    return { perSecond: Math.max(perSecond, 0.001), burst: Math.max(burst, 1) };
  }

  function bucketOf(source: string): Bucket {
    const bucket = buckets.get(source) ??
      { tokens: rateOf(source).burst, readAt: clock.monotonic(), waiting: new Set(), cancelTimer: undefined };
    buckets.delete(source);
    buckets.set(source, bucket); // the last of the map is the one used last
    if (buckets.size > maxSources) forgetOldest();
    return bucket;
  }

  function forgetOldest(): void {
    for (const [source, { waiting }] of buckets) {
      if (waiting.size > 0) continue;
      buckets.delete(source);
      return;
    }
  }

  function refill(bucket: Bucket, { perSecond, burst }: Rate): void {
    const now = clock.monotonic();
    bucket.tokens = Math.min(burst, bucket.tokens + Math.max(0, now - bucket.readAt) * perSecond / 1000);
    bucket.readAt = now;
  }

  function serve(source: string, bucket: Bucket): void {
    bucket.cancelTimer = undefined;
    const rate = rateOf(source);
    refill(bucket, rate);
    for (const next of bucket.waiting) {
      if (bucket.tokens < 1) break;
      bucket.tokens--;
      next();
    }
    wakeLater(source, bucket, rate);
  }

  function wakeLater(source: string, bucket: Bucket, { perSecond }: Rate): void {
    if (bucket.waiting.size === 0 || bucket.cancelTimer) return;
    const missingMs = Math.max(1, Math.ceil((1 - bucket.tokens) * 1000 / perSecond));
    // A rate may be raised while events wait: look again once a second.
    bucket.cancelTimer = timer(() => serve(source, bucket), Math.min(missingMs, 1000));
  }

  function wait(source: string, bucket: Bucket, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (taken: boolean) => {
        bucket.waiting.delete(next);
        signal.removeEventListener("abort", abort);
        if (bucket.waiting.size === 0) {
          bucket.cancelTimer?.();
          bucket.cancelTimer = undefined;
        }
        resolve(taken);
      };
      const next = () => settle(true);
      const abort = () => settle(false);
      bucket.waiting.add(next);
      signal.addEventListener("abort", abort, { once: true });
      wakeLater(source, bucket, rateOf(source));
    });
  }

  return {
    take(source, signal) {
      if (signal.aborted) return Promise.resolve(false);
      const bucket = bucketOf(source);
      refill(bucket, rateOf(source));
      if (bucket.waiting.size > 0 || bucket.tokens < 1) return wait(source, bucket, signal);
      bucket.tokens--;
      return Promise.resolve(true);
    },
  };
}

function startTimer(callback: () => void, delayMs: number): () => void {
  const id = setTimeout(callback, delayMs);
  return () => clearTimeout(id);
}

export interface WriteSlotsOptions {
  /** Writes under way in all. */
  readonly limit: number;
  /** Of one source, below `limit`: writes that wait out a fault of one source leave room for the others. */
  readonly perSource: number;
}

interface Queue {
  taken: number;
  readonly waiting: Set<() => void>;
}

/** Creates the write slots: sources that wait take turns, whatever the length of their queues. */
export function createWriteSlots({ limit, perSource }: WriteSlotsOptions): WriteSlots {
  const queues = new Map<string, Queue>();
  let taken = 0;

  function handOut(): void {
    for (const queue of queues.values()) {
      if (taken >= limit) return;
      const [first] = queue.waiting;
      if (first && queue.taken < perSource) first();
    }
  }

  function queueOf(source: string): Queue {
    const queue = queues.get(source) ?? { taken: 0, waiting: new Set() };
    queues.set(source, queue);
    return queue;
  }

  function forgetIdle(source: string, queue: Queue): void {
    if (queue.taken === 0 && queue.waiting.size === 0) queues.delete(source);
  }

  return {
    take(source, signal) {
      if (signal.aborted) return Promise.resolve(false);
      const queue = queueOf(source);
      const admit = () => {
        // A map keeps its order: a source that got a slot goes to its end.
        queues.delete(source);
        queues.set(source, queue);
        queue.taken++;
        taken++;
      };
      if (taken < limit && queue.taken < perSource && queue.waiting.size === 0) {
        admit();
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const turn = () => {
          queue.waiting.delete(turn);
          signal.removeEventListener("abort", abort);
          admit();
          resolve(true);
        };
        const abort = () => {
          queue.waiting.delete(turn);
          forgetIdle(source, queue);
          resolve(false);
        };
        queue.waiting.add(turn);
        signal.addEventListener("abort", abort, { once: true });
      });
    },
    release(source) {
      const queue = queues.get(source);
      if (!queue) return;
      queue.taken--;
      taken--;
      forgetIdle(source, queue);
      handOut();
    },
    get taken() {
      return taken;
    },
  };
}
