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
  for await (const chunk of response.body) {
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
  for await (const chunk of body) {
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

function tooLarge(why: string): NetworkError {
  return new NetworkError(`Cannot read the answer: ${why}`, { fault: "too_large" });
}
