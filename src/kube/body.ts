/** Reading answers within bounds: whole bodies, and the lines of a watch. */
import { NetworkError } from "./api.ts";

/** The text of a body of at most `maxBytes`. Throws `NetworkError` `too_large`; the body is then cancelled. */
export async function readText(response: Response, maxBytes: number): Promise<string> {
  const length = Number(response.headers.get("content-length") ?? NaN);
  // A body whose length is announced and small needs no counting. A compressed one announces another length.
  if (length <= maxBytes && !response.headers.has("content-encoding")) return await response.text();
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(response.body)) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw tooLarge(`its body is over ${maxBytes} bytes`);
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  parts.push(decoder.decode());
  return parts.join("");
}

/** The non-empty lines of `body`, the last one too where it has no newline. Leaving the loop cancels the body. */
export async function* readLines(
  body: ReadableStream<Uint8Array>,
  maxLineBytes: number,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  // Pieces of the line that is not complete yet: joined once, so that a long line costs no quadratic time.
  let pieces: string[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(body)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      bytes += end - start;
      if (bytes > maxLineBytes) throw tooLarge(`a line is over ${maxLineBytes} bytes`);
      pieces.push(decoder.decode(chunk.subarray(start, end)));
      const line = pieces.length === 1 ? pieces[0]! : pieces.join("");
      pieces = [];
      bytes = 0;
      start = end + 1;
      if (line.trim() !== "") yield line;
    }
    bytes += chunk.byteLength - start;
    if (bytes > maxLineBytes) throw tooLarge(`a line is over ${maxLineBytes} bytes`);
    if (start < chunk.byteLength) pieces.push(decoder.decode(chunk.subarray(start), { stream: true }));
  }
  pieces.push(decoder.decode());
  const rest = pieces.join("");
  if (rest.trim() !== "") yield rest;
}

const NEWLINE = 0x0a;
const FIRST_READ_BYTES = 8 * 1024;
const MAX_READ_BYTES = 256 * 1024;

/**
 * The chunks of a body, each valid until the next one is read. Read by itself a body is read into 64 KiB that are new
 * each time, however little comes: that was more garbage than all else together. Where the stream allows it, it is read
 * into one buffer, which grows while answers fill it.
 */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = byteReader(body);
  if (!reader) {
    yield* body;
    return;
  }
  try {
    for (let buffer = new ArrayBuffer(FIRST_READ_BYTES);;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return;
      yield value;
      const full = value.byteLength === value.buffer.byteLength && value.byteLength < MAX_READ_BYTES;
      buffer = full ? new ArrayBuffer(value.byteLength * 2) : value.buffer;
    }
  } finally {
    await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** Undefined for a stream that does not read into a buffer it is given. */
function byteReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return undefined;
  }
}

function tooLarge(why: string): NetworkError {
  return new NetworkError(`Cannot read the answer: ${why}`, { fault: "too_large" });
}
