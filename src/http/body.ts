import { Refusal } from "./problem.ts";

/** Bytes of request bodies in memory at once, over all requests. */
export class ByteBudget {
  #used = 0;
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes` if there is room; a body larger than all the room is let in alone. */
  tryTake(bytes: number): boolean {
    if (this.#used > 0 && this.#used + bytes > this.#max) return false;
    this.#used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }
}

export interface BodyOptions {
  readonly maxBytes: number;
  readonly budget: ByteBudget;
  /** For the whole body to arrive. */
  readonly timeoutMs: number;
  /** Aborted when requests under way must end: nobody waits for the rest of a body then. */
  readonly signal?: AbortSignal;
}

/** A body read whole. Dispose of it when the request is answered: that gives its bytes back to the budget. */
export interface Body extends Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Bodies up to this length are read in one piece. */
const WHOLE_BYTES = 64 * 1024;

/** Reads a body within its bounds. Throws a `Refusal`: 413 too large, 408 too slow, 400 cut off, 503 no room or shutting down. */
export async function readBody(
  request: Request,
  { maxBytes, ...options }: BodyOptions,
): Promise<Body> {
  const { budget } = options;
  const declared = declaredLength(request);
  if (declared > maxBytes) {
    await request.body?.cancel().catch(() => {});
    throw tooLarge(maxBytes);
  }
  if (declared > 0 && declared <= WHOLE_BYTES) {
    return await readWhole(request, { ...options, declared });
  }
  let taken = 0;
  const take = (bytes: number) => {
    if (!budget.tryTake(bytes)) throw full();
    taken += bytes;
  };
  const chunks: Uint8Array[] = [];
  const reader = request.body?.getReader();
  using patience = patienceOf(options);
  patience.over.catch(() => reader?.cancel().catch(() => {}));
  try {
    take(declared);
    let size = 0;
    while (reader) {
      const { done, value } = await reader.read();
      // A cancelled reader says that it is done: what came so far is no body.
      if (patience.refusal) throw patience.refusal;
      if (done) break;
      size += value.byteLength;
      if (size > maxBytes) throw tooLarge(maxBytes);
      if (size > taken) take(size - taken);
      chunks.push(value);
    }
    return { bytes: concat(chunks, size), [Symbol.dispose]: () => budget.release(taken) };
  } catch (error) {
    budget.release(taken);
    await reader?.cancel().catch(() => {});
    throw error instanceof Refusal ? error : cutOff();
  }
}

/** What the sender announces; 0 where it is no length: such a body is counted as it comes. */
function declaredLength(request: Request): number {
  const length = Number(request.headers.get("content-length") ?? "0");
  return Number.isSafeInteger(length) && length > 0 ? length : 0;
}

interface Patience extends Disposable {
  /** Rejects with the refusal once nobody waits any longer. */
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
  { budget, declared, ...options }: Omit<BodyOptions, "maxBytes"> & { readonly declared: number },
): Promise<Body> {
  if (!budget.tryTake(declared)) {
    await request.body?.cancel().catch(() => {});
    throw full();
  }
  using patience = patienceOf(options);
  try {
    const bytes = new Uint8Array(await Promise.race([request.arrayBuffer(), patience.over]));
    return { bytes, [Symbol.dispose]: () => budget.release(declared) };
  } catch (error) {
    budget.release(declared);
    throw error instanceof Refusal ? error : cutOff();
  }
}

function concat(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
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
