/**
 * Reads a request within its limits: who sends it (address, rate, and the token, certificate or signature that proves it), its
 * body, and the refusal of a request that breaks a limit.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { BlockList, isIP } from "node:net";
import { LRUCache } from "lru-cache";
import type { Clock } from "../model/time.ts";
import { logger } from "../telemetry/logging.ts";
import type { FeedAuth } from "../sources/source.ts";
import { createTextLimits, spareBytes, type TextLimits } from "../pipeline/limits.ts";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { WebhookToken } from "./reread.ts";

const log = logger("http");

/** A set of addresses and CIDRs. */
export interface AddressSet {
  readonly empty: boolean;
  has(address: string): boolean;
}

/** Reads addresses and CIDRs, IPv4 and IPv6. Throws an `Error` that names the entry that is neither. */
export function addressSet(entries: readonly string[]): AddressSet {
  const set = new BlockList();
  for (const entry of entries) {
    const [given = "", prefix, ...rest] = entry.split("/");
    const width = isIP(given) === 4 ? 32 : 128;
    const length = prefix === undefined ? width : Number(prefix);
    const bad = isIP(given) === 0 || rest.length > 0 || !Number.isInteger(length) || length < 0 ||
      length > width;
    if (bad) {
      throw new Error(`Cannot read address "${entry}": expected an IP address or CIDR such as 10.0.0.0/8`);
    }
    const address = plainAddress(given);
    if (isIP(address) === isIP(given)) set.addSubnet(given, length, isIP(given) === 4 ? "ipv4" : "ipv6");
    else set.addSubnet(address, Math.max(0, length - MAPPED_BITS), "ipv4");
  }
  return {
    empty: entries.length === 0,
    has(address) {
      const version = isIP(address);
      return version !== 0 && set.check(address, version === 4 ? "ipv4" : "ipv6");
    },
  };
}

/** Bits before the IPv4 address in an IPv4-mapped IPv6 address. */
const MAPPED_BITS = 96;

/** An IPv4 address that a dual-stack socket shows as `::ffff:10.0.0.1`, in its own form; others as they are. */
export function plainAddress(address: string): string {
  if (isIP(address) !== 6 || address.includes("%") || !/ffff:/i.test(address)) return address;
  const groups = new URL(`http://[${address}]`).hostname.slice(1, -1).split(":");
  const [empty, none, marker, high, low] = groups;
  if (groups.length !== 5 || empty !== "" || none !== "" || marker !== "ffff") return address;
  const words = [high, low].map((group) => parseInt(group ?? "", 16));
  return words.flatMap((word) => [word >> 8, word & 255]).join(".");
}

/** Proxies in a row. The addresses before may be the client's own invention, and 1,000 of them took 10 ms to read. */
const MAX_PROXIES = 32;

/**
 * The client's address: the peer's, or where the peer is a trusted proxy the last address in
 * `X-Forwarded-For` that is not one.
 */
export function clientAddress(given: string, forwardedFor: string | undefined, trusted: AddressSet): string {
  const peer = plainAddress(given);
  if (trusted.empty || forwardedFor === undefined || !trusted.has(peer)) return peer;
  for (const text of forwardedFor.split(",").slice(-MAX_PROXIES).reverse()) {
    const hop = plainAddress(withoutPort(text.trim()));
    if (isIP(hop) === 0) return peer;
    if (!trusted.has(hop)) return hop;
  }
  return peer;
}

/** `10.0.0.1:1234` and `[2001:db8::1]:1234`, as some proxies write a hop, without the port. */
function withoutPort(hop: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(hop);
  if (bracketed?.[1] !== undefined) return bracketed[1];
  const [address = "", port, ...rest] = hop.split(":");
  return port !== undefined && rest.length === 0 ? address : hop;
}

export interface ClientLimitOptions {
  readonly ratePerSecond: number;
  readonly burst: number;
  readonly clock: Clock;
}

const MAX_CLIENTS = 10_000;

/** A token bucket per client; the least recently seen of 10,000 clients is forgotten. Returns false where a client is over its limit. */
export function clientLimit(
  { ratePerSecond, burst, clock }: ClientLimitOptions,
): (client: string) => boolean {
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: MAX_CLIENTS });
  return (client) => {
    const at = clock.monotonic();
    const bucket = buckets.get(client) ?? { tokens: burst, at };
    bucket.tokens = Math.min(burst, bucket.tokens + ((at - bucket.at) / 1_000) * ratePerSecond);
    bucket.at = at;
    buckets.set(client, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  };
}

/** A room, and how many requests may wait in it. */
export interface Room {
  readonly name: string;
  readonly size: number;
}

/** The place of a request in a room. */
export interface Seat {
  /**
   * Notes the namespace that all events of the request without an outcome belong to; undefined where there are several, or
   * none. False where such requests of that namespace take half of the room already, or half of what its sender may take: a
   * sender such as Falcosidekick brings the alerts of all namespaces.
   */
  only(namespace: string | undefined): boolean;
  leave(): void;
}

/** Webhook requests that wait for their answers: no sender and no namespace fills a room for the others. */
export interface WaitingRooms {
  /** Undefined where the room is full, or the sender takes half of it already. */
  enter(room: Room, sender: string): Seat | undefined;
}

/** Creates the waiting rooms of a process. */
export function createWaitingRooms(): WaitingRooms {
  /** By room; by room and sender; by room and namespace; by room, sender and namespace. */
  const waiting = new Map<string, number>();
  const countOf = (key: string) => waiting.get(key) ?? 0;

  function count(key: string, by: 1 | -1): void {
    const now = countOf(key) + by;
    if (now > 0) waiting.set(key, now);
    else waiting.delete(key);
  }

  return {
    enter({ name, size }, sender) {
      const half = Math.ceil(size / 2);
      const keys = [`room ${name}`, `sender ${name} ${sender}`];
      const [all = 0, own = 0] = keys.map(countOf);
      if (all >= size || own >= half) return undefined;
      for (const key of keys) count(key, 1);
      let noted: readonly string[] = [];
      const only = (namespace: string | undefined): boolean => {
        for (const key of noted) count(key, -1);
        noted = namespace === undefined
          ? []
          : [`namespace ${name} ${namespace}`, `of sender ${name} ${sender} ${namespace}`];
        for (const key of noted) count(key, 1);
        const [inRoom = 0, ofSender = 0] = noted.map(countOf);
        return inRoom <= half && ofSender <= Math.ceil(half / 2);
      };
      return {
        only,
        leave() {
          only(undefined);
          for (const key of keys) count(key, -1);
        },
      };
    },
  };
}

/** Compares two texts in a time that does not depend on where they differ. */
export function sameSecret(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

/** The bearer token of an `Authorization` header, or undefined. */
function bearerToken(header: string | undefined): string | undefined {
  const match = header === undefined ? null : /^bearer +(\S{1,4096})$/i.exec(header.trim());
  return match?.[1];
}

/** Computes GitHub's form of a signature over a body while it arrives. */
export function signatureCheck(
  secret: string,
): { update(bytes: Uint8Array): void; matches(header: string | undefined): boolean } {
  const hash = createHmac("sha256", secret);
  return {
    update: (bytes) => void hash.update(bytes),
    matches: (header = "") => sameSecret(header.trim().toLowerCase(), `sha256=${hash.digest("hex")}`),
  };
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

interface Shown {
  readonly auth: FeedAuth;
  /** In the path. */
  readonly token: string | undefined;
  /** It showed a certificate of the clients' CA. */
  readonly clientVerified?: boolean;
  readonly options: {
    readonly token: WebhookToken;
    readonly clientCertificates: boolean;
  };
}

/** Checks the token or the certificate that the endpoint requires. True where the sender proved itself by it. */
export function checkProof(c: Context, { clientVerified, auth, token, options }: Shown): boolean {
  const expected = auth.type === "default"
    ? options.token.current
    : auth.type === "bearer"
    ? auth.secret()
    : "";
  if (expected === undefined) throw missingSecret();
  const given = token ?? bearerToken(c.req.header("authorization"));
  const isCertified = clientVerified === true && auth.type === "default";
  if (expected !== "" && !isCertified && (given === undefined || !sameSecret(given, expected))) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no valid token (bearer, or last path segment)",
      {
        "www-authenticate": "Bearer",
      },
    );
  }
  if (expected === "" && auth.type === "default" && options.clientCertificates && !isCertified) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no client certificate (TLS port, TLS_CLIENT_CA_FILE), and no token is set",
    );
  }
  if (expected === "" && token !== undefined && auth.type !== "default") {
    throw new Refusal(404, "Cannot find this path");
  }
  return expected !== "" || isCertified;
}

/** The answer while the Secret of an endpoint is missing. */
export function missingSecret(): Refusal {
  return new Refusal(503, "Cannot check this request: the endpoint's Secret is missing or has no key token", {
    "retry-after": "30",
  });
}

/** Bytes in memory at once, of request bodies or of what is found in them. */
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

  /** True for a body that counts in this budget. */
  holds(bytes: number): boolean {
    return bytes > (this.#options.from ?? 0);
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
  /** Bodies of up to so many bytes do not count. */
  readonly from?: number;
}

export interface BodyOptions {
  readonly maxBytes: number;
  /** What sets `maxBytes`, for the sender of a larger body. */
  readonly bound: string;
  readonly budget: ByteBudget;
  /** Large bodies count here too: only one or two of the largest are let in at a time. */
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

/** Bodies up to this announced length are read in one piece. */
export const WHOLE_BYTES = 64 * 1024;

/** Reads a body within its bounds. Throws a `Refusal`: 413 too large, 408 too slow, 400 cut off, 503 no room or shutting down. */
export async function readBody(
  request: Request,
  { maxBytes, bound, ...options }: BodyOptions,
): Promise<Body> {
  const { budget, large, sender, onBytes } = options;
  const declared = announcedLength(request);
  const hasNoRoom = large?.holds(declared) && !large.hasRoom(declared, sender);
  if (declared > maxBytes || hasNoRoom) {
    await request.body?.cancel().catch(() => {});
    throw declared > maxBytes ? tooLarge(maxBytes, bound) : full();
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
      if (size + value.byteLength > most) throw tooLarge(most, bound);
      // Taken as it comes: a sender holds no more of the room than it sent.
      if (!budget.tryTake(value.byteLength, sender)) throw full();
      buffer.resize(size + value.byteLength);
      bytes.set(value, size);
      size += value.byteLength;
      if (large?.holds(size)) {
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
export function announcedLength(request: Request): number {
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
  { budget, sender, declared, onBytes, ...options }: Omit<BodyOptions, "maxBytes" | "bound"> & {
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

const COME_AGAIN = { "retry-after": "1" };
/** A client is over its limit. */
export const tooManyRequests = () =>
  new Refusal(503, "Cannot take this request: the client sends too many (WEBHOOK_RATE_LIMIT)", COME_AGAIN);
const tooLarge = (maxBytes: number, bound: string) =>
  new Refusal(413, `Cannot read the body: it is larger than ${maxBytes} bytes (${bound})`);
/** There is no room for a body, or for what is in it. */
export const full = () =>
  new Refusal(503, "Cannot read the body: too many large requests at once, come again", COME_AGAIN);
const stopping = () =>
  new Refusal(503, "Cannot read the body: the program is shutting down, come again", COME_AGAIN);
const cutOff = () => new Refusal(400, "Cannot read the body: the connection was cut off before its end");
const tooSlow = (timeoutMs: number) =>
  new Refusal(408, `Cannot read the body: it did not arrive within ${timeoutMs} ms`);

/** Bounds of request bodies, shared by all endpoints. */
export interface BodyLimits extends TextLimits {
  /** The setting that `maxBytes` comes from. */
  readonly bound: string;
  /** Bodies of senders that proved who they are; those that did not count here too. */
  readonly proven: ByteBudget;
  /** Bodies of which nothing proves who sent them, or not yet. */
  readonly unproven: ByteBudget;
  /** Large ones of either kind (`LARGE_SHARE`): room for two of the longest, of two senders. */
  readonly large: ByteBudget;
  /** What is found in bodies before it is parsed: a body of 20 kB may have 10,000 parts. */
  readonly found: ByteBudget;
  /** Apart from the webhooks': admission reviews, and those of at most 64 KiB. */
  readonly reviews: ByteBudget;
  readonly smallReviews: ByteBudget;
  readonly maxReviewBytes: number;
}

/** Twice the largest object that an API server stores, and the review around it. */
const MAX_REVIEW_BYTES = 4 * 2 ** 20;
/** Shares of the spare memory: at 512 MiB, 64 MiB of bodies, 16 MiB of reviews, 4 MiB of small ones; from 1 MiB on a body is large. */
const BODIES_SHARE = 1 / 7, REVIEWS_SHARE = 1 / 28, SMALL_REVIEWS_SHARE = 1 / 112, LARGE_SHARE = 1 / 448;

/** The bounds for bodies of up to `maxBytes` (WEBHOOK_MAX_BYTES) under a memory limit. */
export function createBodyLimits(
  limits: { readonly maxBytes: number; readonly memoryBytes: number },
): BodyLimits {
  const spare = spareBytes(limits.memoryBytes);
  const texts = createTextLimits(limits);
  const maxReviewBytes = Math.min(MAX_REVIEW_BYTES, spare * REVIEWS_SHARE / 2);
  /** For two bodies of the largest at the least, of which one sender takes no more than half. */
  const room = (share: number, largest: number, options: ByteBudgetOptions = {}) => {
    const bytes = Math.max(spare * share, 2 * largest);
    return new ByteBudget(bytes, { perSender: bytes / 2, ...options });
  };
  const proven = room(BODIES_SHARE, texts.maxBytes);
  return {
    ...texts,
    bound: texts.maxBytes < limits.maxBytes ? "a 32nd of the memory limit" : "WEBHOOK_MAX_BYTES",
    proven,
    unproven: room(BODIES_SHARE / 2, texts.maxBytes, { within: proven }),
    large: room(BODIES_SHARE / 2, texts.maxBytes, { from: spare * LARGE_SHARE }),
    found: room(BODIES_SHARE / 2, 0),
    reviews: room(REVIEWS_SHARE, maxReviewBytes),
    smallReviews: room(SMALL_REVIEWS_SHARE, WHOLE_BYTES),
    maxReviewBytes,
  };
}

/** A request that is refused, with what the sender needs to know to mend it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: ContentfulStatusCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: ContentfulStatusCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** Answers a refusal as JSON: `{error, requestId, …}`. */
export function problem(
  c: Context,
  refusal: Refusal,
  more: Readonly<Record<string, unknown>> = {},
): Response {
  const body = { error: refusal.message, requestId: requestIdOf(c), ...more };
  return c.json(body, refusal.status, refusal.headers);
}

/** Answers 500 to a request whose handler threw, and logs the error. */
export function answerDefect(
  c: Context,
  { error, path }: { readonly error: unknown; readonly path: string },
): Response {
  log.error("Request failed", { path, error, correlationId: requestIdOf(c) });
  return problem(c, new Refusal(500, "Cannot answer this request: an internal error, see the log"));
}

/** The id of a request: the sender's `X-Request-Id` where it is a plain word, else a new one. */
export function requestIdOf(c: Context): string {
  const known: unknown = c.get("requestId");
  if (typeof known === "string") return known;
  const given = c.req.header("x-request-id") ?? "";
  const id = /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : crypto.randomUUID();
  c.set("requestId", id);
  return id;
}
