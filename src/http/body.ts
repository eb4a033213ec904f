/** Reads the bodies of requests, within bounds of size and of memory in use. */
import { Refusal } from "./problem.ts";
import { createTextLimits, FULL_MEMORY_BYTES, type TextLimits } from "../pipeline/limits.ts";

/** Bytes of request bodies in memory at once. */
export class ByteBudget {
  #used = 0;
  readonly #max: number;
  readonly #options: ByteBudgetOptions;
  readonly #held = new Map<string, number>();

  constructor(max: number, options: ByteBudgetOptions = {}) {
    this.#max = max;
    this.#options = options;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes` for a sender if there is room; a body larger than all the room is let in alone. */
  tryTake(bytes: number, sender = ""): boolean {
    if (!this.hasRoom(bytes, sender)) return false;
    if (this.#options.within?.tryTake(bytes, sender) === false) return false;
    this.#used += bytes;
    this.#held.set(sender, (this.#held.get(sender) ?? 0) + bytes);
    return true;
  }

  /** True where `tryTake()` would take them, as far as this budget goes. */
  hasRoom(bytes: number, sender = ""): boolean {
    const { perSender = Infinity } = this.#options;
    const held = this.#held.get(sender) ?? 0;
    return this.#used === 0 || (this.#used + bytes <= this.#max && held + bytes <= perSender);
  }

  release(bytes: number, sender = ""): void {
    this.leave(bytes, sender)?.release(bytes, sender);
  }

  /** Gives the bytes back here alone; they stay in the larger budget that is returned. */
  leave(bytes: number, sender = ""): ByteBudget | undefined {
    const held = (this.#held.get(sender) ?? 0) - bytes;
    if (held > 0) this.#held.set(sender, held);
    else this.#held.delete(sender);
    this.#used -= bytes;
    return this.#options.within;
  }
}

export interface ByteBudgetOptions {
  /** Most bytes of one sender while there are others. */
  readonly perSender?: number;
  /** A larger budget that these bytes count in too. */
  readonly within?: ByteBudget;
}

export interface BodyOptions {
  readonly maxBytes: number;
  readonly budget: ByteBudget;
  /** Bodies of more than a MiB count here too: only one or two of them are let in at a time. */
  readonly large?: ByteBudget;
  /** Whose share of the budget it takes. */
  readonly sender?: string;
  /** For the whole body to arrive. */
  readonly timeoutMs: number;
  /** Aborted when requests under way must end: the rest of a body is not waited for then. */
  readonly signal?: AbortSignal;
  /** Is given the bytes as they arrive. */
  readonly onBytes?: (bytes: Uint8Array) => void;
}

/** A body read whole. Dispose of it when the request is answered: that gives its bytes back to the budget. */
export interface Body extends Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its sender is known: it leaves the budget it was read in for the larger one. */
  leaveBudget(): void;
}

function bodyOf(
  bytes: Uint8Array<ArrayBuffer>,
  { budget, large, sender, taken, largeTaken = 0 }: Pick<BodyOptions, "budget" | "large"> & {
    readonly sender: string | undefined;
    readonly taken: number;
    readonly largeTaken?: number;
  },
): Body {
  let holder: ByteBudget | undefined = budget;
  return {
    bytes,
    leaveBudget: () => void (holder = holder?.leave(taken, sender)),
    [Symbol.dispose]() {
      holder?.release(taken, sender);
      large?.release(largeTaken, sender);
      // Large buffers would wait for a full garbage collection: the process grew by 16 MiB with each body.
      free(bytes.buffer);
    },
  };
}

/** Gives the memory of a buffer back now, resizable or not. */
function free(buffer: ArrayBuffer): void {
  buffer.transferToFixedLength(0);
}

/** Bodies up to this length are read in one piece. */
const WHOLE_BYTES = 64 * 1024;
/** Larger ones are large. */
const LARGE_BYTES = 1024 * 1024;

/** Reads a body within its bounds. Throws a `Refusal`: 413 too large, 408 too slow, 400 cut off, 503 no room or shutting down. */
export async function readBody(
  request: Request,
  { maxBytes, ...options }: BodyOptions,
): Promise<Body> {
  const { budget, large, sender, onBytes } = options;
  const declared = declaredLength(request);
  const isLarge = declared > LARGE_BYTES && large !== undefined && !large.hasRoom(declared, sender);
  if (declared > maxBytes || isLarge) {
    await request.body?.cancel().catch(() => {});
    throw declared > maxBytes ? tooLarge(maxBytes) : full();
  }
  if (declared > 0 && declared <= WHOLE_BYTES) {
    return await readWhole(request, { ...options, declared });
  }
  // It grows in place: a buffer that moves is twice in memory, and the one it moves to is resident to its end.
  const most = declared || maxBytes;
  const buffer = new ArrayBuffer(0, { maxByteLength: most });
  const bytes = new Uint8Array(buffer);
  let size = 0;
  let largeTaken = 0;
  const reader = request.body?.getReader();
  using patience = patienceOf(options);
  patience.over.catch(() => reader?.cancel().catch(() => {}));
  try {
    while (reader) {
      const { done, value } = await reader.read();
      // A cancelled reader says that it is done: what came so far is no body.
      if (patience.refusal) throw patience.refusal;
      if (done) break;
      if (size + value.byteLength > most) throw tooLarge(most);
      // Taken as it comes: a sender holds no more of the room than it sent.
      if (!budget.tryTake(value.byteLength, sender)) throw full();
      buffer.resize(size + value.byteLength);
      bytes.set(value, size);
      size += value.byteLength;
      if (large && size > LARGE_BYTES) {
        if (!large.tryTake(size - largeTaken, sender)) throw full();
        largeTaken = size;
      }
      onBytes?.(value);
      freePiece(value);
    }
    return bodyOf(bytes, {
      budget,
      sender,
      taken: size,
      ...(large && { large, largeTaken }),
    });
  } catch (error) {
    free(buffer);
    budget.release(size, sender);
    large?.release(largeTaken, sender);
    await reader?.cancel().catch(() => {});
    throw error instanceof Refusal ? error : cutOff();
  }
}

/** Frees a piece of a body: it would wait for a garbage collection, by which time there may be 100 MiB of pieces. */
export function freePiece({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength) free(buffer);
}

/** What the sender announces; 0 where it is no length: such a body is counted as it comes. */
function declaredLength(request: Request): number {
  const length = Number(request.headers.get("content-length") ?? "0");
  return Number.isSafeInteger(length) && length > 0 ? length : 0;
}

interface Patience extends Disposable {
  /** Rejects with the refusal once the deadline is over or the program stops. */
  readonly over: Promise<never>;
  readonly refusal: Refusal | undefined;
}

/** How long a body is waited for. */
function patienceOf({ timeoutMs, signal }: Pick<BodyOptions, "timeoutMs" | "signal">): Patience {
  const { promise, reject } = Promise.withResolvers<never>();
  let refusal: Refusal | undefined;
  const end = (why: Refusal) => reject(refusal ??= why);
  const stop = () => end(stopping());
  const timer = setTimeout(() => end(tooSlow(timeoutMs)), timeoutMs);
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  promise.catch(() => {});
  return {
    over: promise,
    get refusal() {
      return refusal;
    },
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    },
  };
}

/**
 * A small body of announced length in one piece: the runtime then reads just that much, where a reader is handed 64 KiB
 * at each read.
 */
async function readWhole(
  request: Request,
  { budget, sender, declared, onBytes, ...options }: Omit<BodyOptions, "maxBytes"> & {
    readonly declared: number;
  },
): Promise<Body> {
  if (!budget.tryTake(declared, sender)) {
    await request.body?.cancel().catch(() => {});
    throw full();
  }
  using patience = patienceOf(options);
  try {
    const bytes = new Uint8Array(await Promise.race([request.arrayBuffer(), patience.over]));
    onBytes?.(bytes);
    return bodyOf(bytes, { budget, sender, taken: declared });
  } catch (error) {
    budget.release(declared, sender);
    throw error instanceof Refusal ? error : cutOff();
  }
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal(413, `Cannot read the body: it is larger than ${maxBytes} bytes (WEBHOOK_MAX_BYTES)`);
}

function full(): Refusal {
  const retry = { "retry-after": "1" };
  return new Refusal(503, "Cannot read the body: too many large requests at once, come again", retry);
}

function stopping(): Refusal {
  return new Refusal(503, "Cannot read the body: the program is shutting down, come again", {
    "retry-after": "1",
  });
}

function cutOff(): Refusal {
  return new Refusal(400, "Cannot read the body: the connection was cut off before its end");
}

function tooSlow(timeoutMs: number): Refusal {
  return new Refusal(408, `Cannot read the body: it did not arrive within ${timeoutMs} ms`);
}

/** Bounds of request bodies, shared by all endpoints. */
export interface BodyLimits extends TextLimits {
  /** Bodies of senders that proved who they are; those that did not count here too. */
  readonly proven: ByteBudget;
  /** Bodies of which nothing proves who sent them, or not yet. */
  readonly unproven: ByteBudget;
  /** Those of more than a MiB, of either kind: two of the longest, of two senders. */
  readonly large: ByteBudget;
}

/** The share of the memory limit that all bodies may take together: 64 MiB at 512. */
const BODIES_SHARE = 1 / 8;

/** The bounds for bodies of up to `maxBytes` (WEBHOOK_MAX_BYTES) under a memory limit. */
export function createBodyLimits(
  limits: { readonly maxBytes: number; readonly memoryBytes: number },
): BodyLimits {
  const all = Math.min(limits.memoryBytes, FULL_MEMORY_BYTES) * BODIES_SHARE;
  const proven = new ByteBudget(all, { perSender: all / 2 });
  const unproven = new ByteBudget(all / 2, { perSender: all / 4, within: proven });
  const large = new ByteBudget(all / 2, { perSender: all / 4 });
  return { ...createTextLimits(limits), proven, unproven, large };
}
