/**
 * What an event waits for on its way: memory for its parsed payload, time on the thread, then, where it is to be written,
 * a token of its source and a write slot. Waiting drops nothing; only the signal of the request or of the shutdown ends it.
 */
import type { Payload } from "../model/event.ts";
import type { Clock } from "../model/time.ts";
import { JSON_LIMITS, type JsonPart } from "../text/json.ts";

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
  pause(): Promise<void> | undefined;
}

/** Whose event it is: the source of its payload, and the namespace of the affected resource ("" for none). */
export interface Tenant {
  readonly source: string;
  readonly namespace: string;
}

/** Hands out one token per write and source. */
export interface RateLimiter {
  /** True with a token taken, false where `signal` aborted first. Namespaces that wait take turns; one's events keep their order. */
  take(tenant: Tenant, signal: AbortSignal): boolean | Promise<boolean>;
}

/** Bounds the writes under way: in all, of each source and of each namespace. */
export interface WriteSlots {
  /** Resolves with a slot, or with undefined where `signal` aborted first. Sources that wait take turns, and in them namespaces. */
  take(tenant: Tenant, signal: AbortSignal): Promise<WriteSlot | undefined>;
  readonly taken: number;
}

/**
 * How a wait without a write slot ended: the write goes on, its signal aborted, or it did not begin, because too many writes
 * wait already.
 */
export type Waited = "over" | "aborted" | "too many";

/** The right to have one write under way. */
export interface WriteSlot {
  /**
   * Gives the slot up while `wait` lasts, and takes one again afterwards. `wait` resolves with false where the signal
   * aborted. The slot is gone unless the result is `over`.
   */
  outside(wait: () => Promise<boolean>): Promise<Waited>;
  release(): void;
}

export interface LimitsOptions extends RateLimiterOptions {
  readonly slots?: WriteSlotsOptions;
}

/** The write slots of a process. */
export const WRITE_SLOTS: WriteSlotsOptions = { limit: 32, perSource: 28, perNamespace: 24, perTenant: 18 };

/** Creates the limits of a process. */
export function createLimits(
  { slots = WRITE_SLOTS, ...options }: LimitsOptions,
): Limits {
  return {
    slices: createTimeSlices(options.clock),
    rate: createRateLimiter(options),
    slots: createWriteSlots(slots),
  };
}

/** Limits that never make anything wait. */
export const NO_LIMITS: Limits = {
  slices: { arrived() {}, pause: () => undefined },
  rate: { take: () => true },
  slots: {
    take: () => Promise.resolve({ outside: async (wait) => await wait() ? "over" : "aborted", release() {} }),
    taken: 0,
  },
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
    pause() {
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
  readonly waiting: FairQueue;
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
      {
        tokens: rateOf(source).burst,
        readAt: clock.monotonic(),
        waiting: new FairQueue(),
        cancelTimer: undefined,
      };
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
    while (bucket.tokens >= 1) {
      const next = bucket.waiting.next();
      if (!next) break;
      bucket.tokens--;
      next();
    }
    wakeLater(source, bucket, rate);
  }

  function wakeLater(source: string, bucket: Bucket, { perSecond }: Rate): void {
    if (bucket.waiting.size === 0 || bucket.cancelTimer) return;
    const missingMs = Math.max(1, Math.ceil((1 - bucket.tokens) * 1000 / perSecond));
    // The rate may be raised while events wait, so wait at most a second before reading it again.
    bucket.cancelTimer = timer(() => serve(source, bucket), Math.min(missingMs, 1000));
  }

  function wait({ source, namespace }: Tenant, bucket: Bucket, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (taken: boolean) => {
        bucket.waiting.delete(namespace, next);
        signal.removeEventListener("abort", abort);
        if (bucket.waiting.size === 0) {
          bucket.cancelTimer?.();
          bucket.cancelTimer = undefined;
        }
        resolve(taken);
      };
      const next = () => settle(true);
      const abort = () => settle(false);
      bucket.waiting.add(namespace, next);
      signal.addEventListener("abort", abort, { once: true });
      wakeLater(source, bucket, rateOf(source));
    });
  }

  return {
    take(tenant, signal) {
      if (signal.aborted) return false;
      const bucket = bucketOf(tenant.source);
      refill(bucket, rateOf(tenant.source));
      if (bucket.waiting.size > 0 || bucket.tokens < 1) return wait(tenant, bucket, signal);
      bucket.tokens--;
      return true;
    },
  };
}

function startTimer(callback: () => void, delayMs: number): () => void {
  const id = setTimeout(callback, delayMs);
  return () => clearTimeout(id);
}

/** A queue of those that wait, by namespace: namespaces take turns, whatever the length of their queues. */
class FairQueue {
  // Maps and sets keep their order, and an aborted waiter leaves in constant time.
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Namespaces with somebody waiting. */
  get size(): number {
    return this.#waiting.size;
  }

  has(namespace: string): boolean {
    return this.#waiting.has(namespace);
  }

  add(namespace: string, waiter: () => void): void {
    const own = this.#waiting.get(namespace) ?? new Set();
    this.#waiting.set(namespace, own.add(waiter));
  }

  delete(namespace: string, waiter: () => void): void {
    const own = this.#waiting.get(namespace);
    own?.delete(waiter);
    if (own?.size === 0) this.#waiting.delete(namespace);
  }

  /** Takes the first waiter of the namespace whose turn it is, among those that may have one. */
  next(mayHave: (namespace: string) => boolean = () => true): (() => void) | undefined {
    for (const [namespace, own] of this.#waiting) {
      const [first] = own;
      if (!first || !mayHave(namespace)) continue;
      this.#waiting.delete(namespace);
      own.delete(first);
      if (own.size > 0) this.#waiting.set(namespace, own);
      return first;
    }
    return undefined;
  }
}

export interface WriteSlotsOptions {
  /** Writes under way in all. */
  readonly limit: number;
  /** Of one source, and of one namespace, below `limit`: what the API server is slow for leaves room for others. */
  readonly perSource: number;
  readonly perNamespace: number;
  /** Of one source and namespace, below both. */
  readonly perTenant: number;
  /** Writes that may wait outside for one namespace. */
  readonly maxOutsidePerNamespace?: number;
  /** Writes that may wait outside in all. */
  readonly maxOutside?: number;
}

interface Queue {
  readonly taken: Counts;
  readonly waiting: FairQueue;
}

/** Creates the write slots. */
export function createWriteSlots(options: WriteSlotsOptions): WriteSlots {
  const { limit, perSource, perNamespace, perTenant, maxOutsidePerNamespace = 256, maxOutside = 4_096 } =
    options;
  const queues = new Map<string, Queue>();
  const takenOf = new Counts();
  const outsideOf = new Counts();

  function handOut(): void {
    for (const queue of queues.values()) {
      if (takenOf.total >= limit) return;
      queue.waiting.next((namespace) => hasRoom(queue, namespace))?.();
    }
  }

  function hasRoom(queue: Queue, namespace: string): boolean {
    return takenOf.total < limit && takenOf.get(namespace) < perNamespace &&
      queue.taken.total < perSource && queue.taken.get(namespace) < perTenant;
  }

  function queueOf(source: string): Queue {
    const queue = queues.get(source) ?? { taken: new Counts(), waiting: new FairQueue() };
    queues.set(source, queue);
    return queue;
  }

  function forgetIdle(source: string): void {
    const queue = queues.get(source);
    if (queue?.taken.total === 0 && queue.waiting.size === 0) queues.delete(source);
  }

  function giveBack({ source, namespace }: Tenant): void {
    queues.get(source)?.taken.add(namespace, -1);
    takenOf.add(namespace, -1);
    forgetIdle(source);
    handOut();
  }

  function acquire({ source, namespace }: Tenant, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    const queue = queueOf(source);
    const admit = () => {
      // A map keeps its order: a source that got a slot goes to its end.
      queues.delete(source);
      queues.set(source, queue);
      queue.taken.add(namespace, 1);
      takenOf.add(namespace, 1);
    };
    if (hasRoom(queue, namespace) && !queue.waiting.has(namespace)) {
      admit();
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const enter = () => {
        signal.removeEventListener("abort", abort);
        admit();
        resolve(true);
      };
      const abort = () => {
        queue.waiting.delete(namespace, enter);
        forgetIdle(source);
        resolve(false);
      };
      queue.waiting.add(namespace, enter);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  return {
    async take(tenant, signal) {
      if (!await acquire(tenant, signal)) return undefined;
      let isHeld = true;
      const release = () => {
        if (isHeld) giveBack(tenant);
        isHeld = false;
      };
      return {
        release,
        async outside(wait) {
          const { namespace } = tenant;
          release();
          if (outsideOf.total >= maxOutside || outsideOf.get(namespace) >= maxOutsidePerNamespace) {
            return "too many";
          }
          outsideOf.add(namespace, 1);
          try {
            if (!await wait()) return "aborted";
          } finally {
            outsideOf.add(namespace, -1);
          }
          isHeld = await acquire(tenant, signal);
          return isHeld ? "over" : "aborted";
        },
      };
    },
    get taken() {
      return takenOf.total;
    },
  };
}

/** Counts by key (a namespace, a sender), and their sum. */
class Counts {
  readonly #counts = new Map<string, number>();
  total = 0;

  get(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  add(key: string, by: number): void {
    this.total += by;
    const count = this.get(key) + by;
    if (count === 0) this.#counts.delete(key);
    else this.#counts.set(key, count);
  }
}

/** Memory for the parsed parts of texts. A part keeps its share until its last event is drawn. */
export interface ParseRoom {
  /**
   * Resolves with what gives the share back, in order of arrival; with undefined where the signal aborted first. While a
   * sender holds a quarter of the room, its further parts wait and those of others pass them.
   */
  take(part: Pick<JsonPart, "bytes" | "values">, from: PartSender): Promise<Disposable | undefined>;
}

/** Whose part it is, and what ends its wait. */
export interface PartSender {
  readonly sender: string;
  readonly signal: AbortSignal;
}

/** What a parsed value takes: measured 96 bytes for `{"a":1}`, which are two. */
const VALUE_BYTES = 96;
/** The text of a part is there as one string, and its strings once more: two bytes a character where one is not Latin. */
const COPIES = 4;
/** Parts that take less need no share: a request of ordinary alerts never waits for others. */
const SMALL_BYTES = 64 * 1024;
const NO_SHARE: Disposable = { [Symbol.dispose]() {} };

/** Of the room, for the parts of one sender that holds some already. */
const SENDER_SHARE = 1 / 4;
/**
 * How long a share counts after it was given back: what was parsed is garbage then, and is collected later than it is made. A share
 * that is larger than a sender's counts for longer, in proportion.
 */
const GARBAGE_MS = 25;

/** The time that shares are counted by. */
export interface ParseRoomOptions extends Pick<RateLimiterOptions, "timer"> {
  readonly clock?: Pick<Clock, "monotonic">;
}

/** Creates the room of `capacity` bytes; a part that needs more is let in alone. */
export function createParseRoom(
  capacity: number,
  { clock = { monotonic: () => performance.now() }, timer = startTimer }: ParseRoomOptions = {},
): ParseRoom {
  const perSender = capacity * SENDER_SHARE;
  const waiting = new Set<PartWaiting>();
  /** Bytes by sender. */
  const held = new Counts();
  /** Shares given back; each counts until `until`. */
  const garbage = new Set<{ readonly bytes: number; readonly sender: string; readonly until: number }>();
  let cancelTimer: (() => void) | undefined;

  function letIn(): void {
    const now = clock.monotonic();
    for (const share of garbage) {
      if (share.until > now) continue;
      garbage.delete(share);
      held.add(share.sender, -share.bytes);
    }
    for (const { bytes, sender, enter } of waiting) {
      const own = held.get(sender);
      if (own > 0 && own + bytes > perSender) continue;
      if (held.total > 0 && held.total + bytes > capacity) break;
      enter();
    }
    cancelTimer?.();
    const next = Math.min(...[...garbage].map(({ until }) => until));
    cancelTimer = waiting.size > 0 && next < Infinity ? timer(letIn, Math.ceil(next - now)) : undefined;
  }

  function share(bytes: number, sender: string): Disposable {
    held.add(sender, bytes);
    return {
      [Symbol.dispose]() {
        const garbageMs = GARBAGE_MS * Math.max(1, bytes / perSender);
        garbage.add({ bytes, sender, until: clock.monotonic() + garbageMs });
        letIn();
      },
    };
  }

  return {
    take({ bytes: textBytes, values }, { sender, signal }) {
      const bytes = COPIES * textBytes + VALUE_BYTES * values;
      if (bytes <= SMALL_BYTES) return Promise.resolve(NO_SHARE);
      if (signal.aborted) return Promise.resolve(undefined);
      const { promise, resolve } = Promise.withResolvers<Disposable | undefined>();
      const leave = () => {
        waiting.delete(part);
        signal.removeEventListener("abort", giveUp);
      };
      const part: PartWaiting = {
        bytes,
        sender,
        enter() {
          leave();
          resolve(share(bytes, sender));
        },
      };
      const giveUp = () => {
        leave();
        resolve(undefined);
        letIn();
      };
      waiting.add(part);
      signal.addEventListener("abort", giveUp, { once: true });
      letIn();
      return promise;
    },
  };
}

/** A part that waits for room. */
interface PartWaiting {
  readonly bytes: number;
  readonly sender: string;
  enter(): void;
}

/** Bounds of the texts of a kind of feed. */
export interface TextLimits {
  readonly maxBytes: number;
  /** Most values of a document, or of an item of a list. */
  readonly maxValues: number;
  readonly room: ParseRoom;
}

const MIB = 2 ** 20;
/** What the bounds are made for: more memory changes nothing. */
const FULL_MEMORY_BYTES = 512 * MIB;
/** Memory that the idle program uses, whatever its limit. */
const AT_REST_BYTES = 64 * MIB, LEAST_SPARE_BYTES = 16 * MIB;
/** Of the memory limit, so that 16 MiB may be a text at 512. */
const TEXT_SHARE = 1 / 32;
/** Of the spare memory, so that 32 MiB may be parsed values at 512. */
const PARSED_SHARE = 1 / 14;

/** What a memory limit leaves for requests: 448 MiB at 512, 64 at 128. */
export function spareBytes(memoryBytes: number): number {
  return Math.max(LEAST_SPARE_BYTES, Math.min(memoryBytes, FULL_MEMORY_BYTES) - AT_REST_BYTES);
}

/** The bounds for texts of up to `maxBytes` under a memory limit; each has a room of its own. */
export function createTextLimits(
  { maxBytes, memoryBytes }: { readonly maxBytes: number; readonly memoryBytes: number },
): TextLimits {
  const spare = spareBytes(memoryBytes);
  return {
    maxBytes: Math.floor(Math.min(maxBytes, memoryBytes * TEXT_SHARE)),
    maxValues: Math.floor(JSON_LIMITS.values * spare / spareBytes(Infinity)),
    room: createParseRoom(spare * PARSED_SHARE),
  };
}

/** What the payloads of a text have in common, and how they are read. */
export interface PartsOptions extends Pick<Payload, "origin" | "receivedAt">, PartSender {
  readonly room: ParseRoom;
}

/** The payloads of the parts of a text; `isCutShort` once one of them got no room. */
export function readInTurn(
  parts: readonly JsonPart[],
  { room, sender, signal, ...common }: PartsOptions,
): { readonly payloads: AsyncIterable<Payload>; readonly isCutShort: boolean } {
  let isCutShort = false;
  async function* payloads(): AsyncGenerator<Payload> {
    for (const part of parts) {
      const share = await room.take(part, { sender, signal });
      isCutShort = share === undefined;
      if (!share) return;
      // Not `using`: esbuild 0.25 leaves out a declaration whose name the next statement alone reads.
      try {
        yield { body: part.read(), path: part.path, ...common };
      } finally {
        share[Symbol.dispose]();
      }
    }
  }
  return {
    payloads: payloads(),
    get isCutShort() {
      return isCutShort;
    },
  };
}
