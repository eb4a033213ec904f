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
}

/** A body read whole. Dispose of it when the request is answered: that gives its bytes back to the budget. */
export interface Body extends Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Bodies up to this length are read in one piece. */
const WHOLE_BYTES = 64 * 1024;

/** Reads a body within its bounds. Throws a `Refusal`: 413 too large, 408 too slow or cut off, 503 no room. */
export async function readBody(
  request: Request,
  { maxBytes, budget, timeoutMs }: BodyOptions,
): Promise<Body> {
  const declared = Number(request.headers.get("content-length") ?? "0");
  if (declared > maxBytes) {
    await request.body?.cancel().catch(() => {});
    throw tooLarge(maxBytes);
  }
  if (declared > 0 && declared <= WHOLE_BYTES) {
    return await readWhole(request, { budget, timeoutMs, declared });
  }
  let taken = 0;
  const take = (bytes: number) => {
    if (!budget.tryTake(bytes)) throw full();
    taken += bytes;
  };
  const chunks: Uint8Array[] = [];
  const reader = request.body?.getReader();
  const timer = setTimeout(() => reader?.cancel(new Error("timeout")).catch(() => {}), timeoutMs);
  const deadline = performance.now() + timeoutMs;
  try {
    take(declared);
    let size = 0;
    while (reader) {
      const { done, value } = await reader.read();
      if (performance.now() >= deadline) throw tooSlow(timeoutMs);
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
    if (error instanceof Refusal) throw error;
    throw cutOff();
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A small body of announced length in one piece: the runtime then reads just that much, where a reader is handed 64 KiB
 * at each read.
 */
async function readWhole(
  request: Request,
  { budget, timeoutMs, declared }: Omit<BodyOptions, "maxBytes"> & { readonly declared: number },
): Promise<Body> {
  if (!budget.tryTake(declared)) {
    await request.body?.cancel().catch(() => {});
    throw full();
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooSlow(timeoutMs)), timeoutMs);
  });
  try {
    const bytes = new Uint8Array(await Promise.race([request.arrayBuffer(), late]));
    return { bytes, [Symbol.dispose]: () => budget.release(declared) };
  } catch (error) {
    budget.release(declared);
    throw error instanceof Refusal ? error : cutOff();
  } finally {
    clearTimeout(timer);
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

function cutOff(): Refusal {
  return new Refusal(400, "Cannot read the body: the connection was cut off before its end");
}

function tooSlow(timeoutMs: number): Refusal {
  return new Refusal(408, `Cannot read the body: it did not arrive within ${timeoutMs} ms`);
}
