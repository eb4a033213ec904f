/** A token bucket per source: whoever waits is served in order, and nothing is dropped here. */
import type { Clock } from "../model/clock.ts";
import type { RateLimiter } from "./ports.ts";

/** How fast a source may write. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export interface RateLimiterOptions {
  readonly clock: Clock;
  readonly rate: Rate;
  /** A source's own rate (its Ingester's `rateLimit`), asked for each time: it changes at run time. */
  readonly rateOf?: (source: string) => Rate | undefined;
  /** Buckets kept; those idle longest are forgotten first. Ones with waiters always stay. */
  readonly maxSources?: number;
  /** Calls back after so many ms; returns what cancels it. */
  readonly timer?: (callback: () => void, delayMs: number) => () => void;
}

interface Bucket {
  tokens: number;
  readAt: number;
  /** In order of arrival: sets keep it, and an aborted one leaves in constant time. */
  readonly waiting: Set<() => void>;
  cancelTimer: (() => void) | undefined;
}

/** Creates the limiter. Its timers run only while someone waits; an aborted wait leaves nothing behind. */
export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { clock, maxSources = 1024, timer = startTimer } = options;
  const buckets = new Map<string, Bucket>();

  function rateOf(source: string): Rate {
    const { perSecond, burst } = options.rateOf?.(source) ?? options.rate;
    // A bucket that holds less than one token, or never fills, would be a drop in disguise.
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
    // A rate may be raised while we wait: look again once a second.
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
