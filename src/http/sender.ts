/** Who sends a request: its address and rate, and the token, certificate or signature that proves who it is. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { BlockList, isIP } from "node:net";
import type { Context } from "hono";
import { LRUCache } from "lru-cache";
import type { Clock } from "../model/time.ts";
import type { FeedAuth } from "../sources/source.ts";
import { Refusal } from "./problem.ts";

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

/**
 * The client's address: the peer's, or where the peer is a trusted proxy the last address in
 * `X-Forwarded-For` that is not one.
 */
export function clientAddress(given: string, forwardedFor: string | undefined, trusted: AddressSet): string {
  const peer = plainAddress(given);
  if (trusted.empty || forwardedFor === undefined || !trusted.has(peer)) return peer;
  const hops = forwardedFor.split(",").map((hop) => plainAddress(withoutPort(hop.trim())));
  for (const hop of hops.reverse()) {
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
   * none. False where such requests of that namespace take half of the room already.
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
  /** By room; by room and sender; by room and namespace. */
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
      let noted: string | undefined;
      const only = (namespace: string | undefined): boolean => {
        if (noted !== undefined) count(noted, -1);
        noted = namespace === undefined ? undefined : `namespace ${name} ${namespace}`;
        if (noted === undefined) return true;
        count(noted, 1);
        return countOf(noted) <= half;
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

export interface TokenOptions {
  readonly token: string;
  readonly file: string;
  readonly now: () => number;
  readonly readFile?: (path: string) => string;
}

const TOKEN_FILE_INTERVAL_MS = 5_000;

/**
 * The webhook token now in force: fixed, or from a file that is read again every 5 s. A file that became
 * unreadable leaves the last token in force; "" means that no token is configured.
 */
export function webhookToken(
  { token, file, now, readFile = Deno.readTextFileSync }: TokenOptions,
): () => string {
  if (file === "") return () => token;
  let current = readToken(file, readFile);
  let readAt = now();
  if (current === "") throw new Error(`Cannot use webhook token file "${file}": it is empty`);
  return () => {
    if (now() - readAt >= TOKEN_FILE_INTERVAL_MS) {
      readAt = now();
      try {
        current = readFile(file).trim() || current;
      } catch {
        // A Secret volume is swapped by renames: the next reading finds the file again.
      }
    }
    return current;
  };
}

function readToken(file: string, readFile: (path: string) => string): string {
  try {
    return readFile(file).trim();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot read webhook token file "${file}" (WEBHOOK_AUTH_TOKEN_FILE): ${why}`, { cause });
  }
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
    readonly token: () => string;
    readonly clientCertificates: boolean;
  };
}

/** Checks the token or the certificate that the endpoint requires. True where the sender proved itself by it. */
export function checkProof(c: Context, { clientVerified, auth, token, options }: Shown): boolean {
  const expected = auth.type === "default" ? options.token() : auth.type === "bearer" ? auth.secret() : "";
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
