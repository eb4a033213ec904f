/** Reads one HTTP/1.1 answer off a socket: status, headers, and a body of announced length, in chunks, or up to the end. */
import { NetworkError } from "./api.ts";

/** Where bytes come from: `Deno.Conn`. */
export interface ByteSource {
  read(into: Uint8Array): Promise<number | null>;
}

/** A whole answer. */
export interface Http1Answer {
  readonly status: number;
  /** In order, names in lower case. */
  readonly headers: [string, string][];
  readonly body: Uint8Array<ArrayBuffer>;
  /** Another request may follow on the same socket. */
  readonly keepAlive: boolean;
}

/** The bytes of a socket that are not consumed yet. Its buffer is kept from answer to answer. */
export class Inbox {
  #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;
  #reading: Promise<number | null> | undefined;
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** What has arrived. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Begins to wait for the next bytes, so that a peer that hangs up is noticed. The next `more` takes what comes. */
  listen(): Promise<number | null> {
    if (this.#end === this.#buffer.length) this.#makeRoom();
    return this.#reading ??= this.#source.read(this.#buffer.subarray(this.#end));
  }

  /** Waits for more. False when the peer has hung up. */
  async more(): Promise<boolean> {
    const read = await this.listen();
    this.#reading = undefined;
    if (read === null) return false;
    this.#end += read;
    return true;
  }

  consume(count: number): void {
    this.#start += count;
    if (this.#start < this.#end) return;
    this.#start = this.#end = 0;
    // One large answer must not make its socket large for good.
    if (this.#buffer.length > BUFFER_BYTES) this.#buffer = new Uint8Array(BUFFER_BYTES);
  }

  #makeRoom(): void {
    const kept = this.bytes;
    const next = kept.length * 2 > this.#buffer.length
      ? new Uint8Array(this.#buffer.length * 2)
      : this.#buffer;
    next.set(kept);
    this.#buffer = next;
    this.#end = kept.length;
    this.#start = 0;
  }
}

const BUFFER_BYTES = 8 * 1024;
const MAX_HEAD_BYTES = 64 * 1024;
/** A Status is short; what is long is some proxy's page. */
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_CHUNK_LINE_BYTES = 4 * 1024;
const HEAD_END = "\r\n\r\n";
const latin1 = new TextDecoder("latin1");

/**
 * Reads the next answer. Throws `NetworkError` where it is none, or a success whose body ends too early or is over
 * `maxBytes`. The body of anything but a success that cannot be read is empty.
 */
export async function readAnswer(inbox: Inbox, maxBytes: number): Promise<Http1Answer> {
  let head = await readHead(inbox);
  // 100 Continue and its like announce the answer proper.
  while (head.status < 200) head = await readHead(inbox);
  const { status, headers, http11 } = head;
  const values = (name: string) => headers.filter(([known]) => known === name).map(([, value]) => value);
  const framing = framingOf(status, values);
  const body = status < 300
    ? await readBody(inbox, { framing, maxBytes })
    // The status line alone says enough, however its body ends.
    : await readBody(inbox, { framing, maxBytes: MAX_ERROR_BYTES }).catch(() => undefined);
  const keepAlive = http11 && framing !== "end" && body !== undefined && inbox.bytes.length === 0 &&
    !values("connection").some((value) => value.toLowerCase().includes("close"));
  return { status, headers, body: body ?? new Uint8Array(), keepAlive };
}

interface Head {
  readonly status: number;
  readonly headers: [string, string][];
  readonly http11: boolean;
}

async function readHead(inbox: Inbox): Promise<Head> {
  const text = await readUntil(inbox, HEAD_END, MAX_HEAD_BYTES);
  const [first = "", ...lines] = text.split("\r\n");
  const [, version, code] = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: |$)/.exec(first) ?? [];
  if (code === undefined) throw garbled("its first line is not one of HTTP/1.1");
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    if (colon <= 0) throw garbled("a header without a colon");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(code), headers, http11: version === "1" };
}

type Framing = number | "chunked" | "end";

/** RFC 9112, section 6.3. */
function framingOf(status: number, values: (name: string) => readonly string[]): Framing {
  if (status === 204 || status === 304) return 0;
  const coding = values("transfer-encoding").join(", ").toLowerCase();
  if (coding !== "") {
    if (coding !== "chunked") throw garbled(`a transfer coding of "${coding}"`);
    return "chunked";
  }
  const [length, ...others] = new Set(values("content-length"));
  if (length === undefined) return "end";
  if (others.length > 0 || !/^[0-9]{1,15}$/.test(length)) throw garbled(`a length of "${length}"`);
  return Number(length);
}

async function readBody(
  inbox: Inbox,
  { framing, maxBytes }: { readonly framing: Framing; readonly maxBytes: number },
): Promise<Uint8Array<ArrayBuffer>> {
  if (framing === "chunked") return await readChunks(inbox, maxBytes);
  if (framing === "end") {
    do checkSize(inbox.bytes.length, maxBytes); while (await inbox.more());
    return take(inbox, inbox.bytes.length);
  }
  checkSize(framing, maxBytes);
  return await readExactly(inbox, framing);
}

async function readChunks(inbox: Inbox, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let total = 0;
  for (;;) {
    const line = await readUntil(inbox, "\r\n", MAX_CHUNK_LINE_BYTES);
    const size = /^([0-9a-f]{1,12})[ \t]*(?:;|$)/i.exec(line)?.[1];
    if (size === undefined) throw garbled("a chunk without a size");
    const length = parseInt(size, 16);
    if (length === 0) break;
    checkSize(total += length, maxBytes);
    chunks.push(await readExactly(inbox, length));
    if (await readUntil(inbox, "\r\n", MAX_CHUNK_LINE_BYTES) !== "") throw garbled("a chunk over its size");
  }
  // Trailers, up to an empty line.
  while (await readUntil(inbox, "\r\n", MAX_CHUNK_LINE_BYTES) !== "");
  const [only] = chunks;
  if (chunks.length === 1 && only) return only;
  const body = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** Consumes up to and with `end`; returns what came before it. */
async function readUntil(inbox: Inbox, end: string, maxBytes: number): Promise<string> {
  let searched = 0;
  for (;;) {
    const { bytes } = inbox;
    const at = indexOf(bytes, { end, from: searched });
    if (at >= 0) {
      const text = latin1.decode(bytes.subarray(0, at));
      inbox.consume(at + end.length);
      return text;
    }
    if (bytes.length > maxBytes) throw garbled(`its head or a line of it is over ${maxBytes} bytes`);
    searched = Math.max(0, bytes.length - end.length + 1);
    await fill(inbox);
  }
}

/** `end` begins with a carriage return, which is rare in what is searched. */
function indexOf(
  bytes: Uint8Array,
  { end, from }: { readonly end: string; readonly from: number },
): number {
  for (let at = bytes.indexOf(CR, from); at >= 0; at = bytes.indexOf(CR, at + 1)) {
    let matched = 1;
    while (matched < end.length && bytes[at + matched] === end.charCodeAt(matched)) matched++;
    if (matched === end.length) return at;
  }
  return -1;
}

const CR = 13;

async function readExactly(inbox: Inbox, count: number): Promise<Uint8Array<ArrayBuffer>> {
  while (inbox.bytes.length < count) await fill(inbox);
  return take(inbox, count);
}

function take(inbox: Inbox, count: number): Uint8Array<ArrayBuffer> {
  const taken = inbox.bytes.slice(0, count);
  inbox.consume(count);
  return taken;
}

async function fill(inbox: Inbox): Promise<void> {
  if (!await inbox.more()) {
    throw new NetworkError("the connection was closed before the answer was complete");
  }
}

function checkSize(bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new NetworkError(`Cannot read the answer: its body is over ${maxBytes} bytes`, {
    fault: "too_large",
  });
}

function garbled(why: string): NetworkError {
  return new NetworkError(`the answer is not HTTP: ${why}`, { fault: "garbled" });
}
