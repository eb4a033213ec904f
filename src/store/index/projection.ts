/**
 * What the index keeps of an Observation: the fields it reads, after it has checked that the Observation is a valid one of
 * this shard, and the columns that hold them, typed arrays off the JavaScript heap.
 */
import { Buffer } from "node:buffer";
import { type AcceptableFinding, acceptableOf, storedAcceptance } from "../../model/acceptance.ts";
import { nameFingerprint, type ObservationName, parseName } from "../../model/identity.ts";
import {
  ANNOTATIONS,
  CATEGORIES,
  type Category,
  LABELS,
  MANAGED_BY,
  type Observation,
  SEVERITIES,
  type Severity,
} from "../../model/observation.ts";
import { believedTime, type Clock, seenTimes } from "../../model/time.ts";
import type { Generation } from "../../pipeline/ports.ts";

/** Highest valid generation: none can be reached by counting. */
const MAX_GENERATION = 999_999_999;
/** Largest valid Observation: zen-watcher never writes one this large, even with the fields that the API server adds. */
const MAX_BYTES = 128 * 1024;

/** The fields of an Observation that the index keeps. Those that exceptions match are empty for occurrences. */
export interface Projection extends Pick<AcceptableFinding, "rule" | "workload" | "resource" | "isFixKnown"> {
  /** See `storedAcceptance`. */
  readonly storedAcceptance: string;
  readonly namespace: string;
  /** `spec.resource.namespace`; "" where there is none. */
  readonly belongsTo: string;
  readonly source: string;
  readonly eventType: string;
  /** The first 100 bits, as names hold them, in four words. */
  readonly fingerprint: readonly number[];
  readonly generation: number;
  readonly uid: readonly number[];
  readonly resourceVersion: number;
  readonly createdAt: number;
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
  /** 0 while Active. */
  readonly resolvedAt: number;
  readonly resolved: boolean;
  readonly ttlSeconds: number;
  readonly bytes: number;
  readonly contentHash: number;
  readonly severity: number;
  readonly category: number;
  readonly finding: boolean;
  readonly pushed: boolean;
}

/** One stored Observation as the index knows it. */
export interface Row extends Generation {
  readonly source: string;
  /** The namespace of the affected resource; "" where there is none. */
  readonly belongsTo: string;
  readonly eventType: string;
  readonly kind: "finding" | "occurrence";
  readonly severity: Severity;
  readonly category: Category;
  /** The part that names hold: 25 hex digits. */
  readonly fingerprint: string;
  readonly uid: string;
  /** Undefined if the server's is not a number. */
  readonly resourceVersion: string | undefined;
  readonly createdAt: number;
  /** 0 while Active. */
  readonly resolvedAt: number;
  /** 0: none of its own. */
  readonly ttlSeconds: number;
  readonly bytes: number;
  /** True for a finding that came through an Ingester's webhook: the views of its source do not report it. */
  readonly pushed: boolean;
  /** Of a finding. */
  readonly rule: string;
  /** The exception that covers it now (`acceptanceText`); "" where none does. */
  readonly acceptance: string;
  /** The exception that its status names; "" where it is not Accepted. */
  readonly storedAcceptance: string;
}

/** Returns the exception that covers a finding (`acceptanceText`), or "". `stored` is the one that its status names. */
export type AcceptanceOf = (finding: AcceptableFinding, stored: string) => string;

/** The findings that a change of exceptions may concern. */
export interface Concerned {
  /** The namespaces that they belong to; "" for those that belong to none. */
  readonly namespaces: ReadonlySet<string>;
  /** Rules, whole or by their policy. */
  readonly rules: ReadonlySet<string>;
  /** `Kind/name`, whatever the rule. */
  readonly resources: ReadonlySet<string>;
}

export interface ProjectOptions {
  /** Namespaces that hold Observations of other namespaces' findings: the controller's, OBSERVATION_NAMESPACE. */
  readonly sharedNamespaces: readonly string[];
  /** False for a namespace of another shard; `belongsTo` is "" for resources without a namespace. By default always true. */
  readonly covers?: (belongsTo: string) => boolean;
  readonly clock: Pick<Clock, "now">;
  /** The hash of message and lasting details, as normalise makes it of events. */
  readonly contentHash: (observation: Observation) => number;
}

/** Why an object is left out of the index. */
export type Foreign = "unmanaged" | "irregular" | "misplaced" | "too_large" | "other_shard";

/** Projects an Observation, or returns why it is set aside. Its fields are validated first: others may have written it. */
export function project(observation: Observation, options: ProjectOptions): Projection | Foreign {
  const why = foreignness(observation, options);
  if (why) return why;
  const { metadata, spec, status } = observation;
  const named = parseName(metadata.name ?? "");
  const uid = uidWords(metadata.uid ?? "");
  const bytes = Buffer.byteLength(JSON.stringify(observation));
  if (!named || !uid) return "irregular";
  if (bytes > MAX_BYTES) return "too_large";
  const now = options.clock.now();
  const { firstSeenAt, lastSeenAt, createdAt } = seenTimes(observation, now);
  const resolved = status?.phase === "Resolved";
  const finding = metadata.labels?.[LABELS.kind] === "finding";
  return {
    namespace: metadata.namespace ?? "",
    belongsTo: spec.resource?.namespace ?? "",
    source: spec.source,
    eventType: spec.eventType,
    fingerprint: nameWords(named.fingerprint),
    generation: named.generation,
    uid,
    resourceVersion: versionNumber(metadata.resourceVersion),
    createdAt,
    firstSeenAt,
    lastSeenAt,
    resolvedAt: resolved ? believedTime(status?.resolvedAt, now) ?? lastSeenAt : 0,
    resolved,
    ...(finding ? acceptableParts(observation) : NOT_ACCEPTABLE),
    ttlSeconds: spec.ttlSecondsAfterCreation ?? 0,
    bytes,
    contentHash: options.contentHash(observation),
    severity: SEVERITIES.indexOf(spec.severity),
    category: CATEGORIES.indexOf(spec.category),
    finding,
    pushed: metadata.annotations?.[ANNOTATIONS.pushedThrough] !== undefined,
  };
}

/** The values for an occurrence, which no exception covers. */
const NOT_ACCEPTABLE = { rule: "", workload: "", resource: "", isFixKnown: false, storedAcceptance: "" };

function acceptableParts(observation: Observation): typeof NOT_ACCEPTABLE {
  const { rule, workload, resource, isFixKnown } = acceptableOf(observation);
  return {
    rule,
    workload,
    resource,
    isFixKnown,
    storedAcceptance: storedAcceptance(observation.status ?? {}),
  };
}

/** Why a stored object is set aside; undefined if it is valid. The instance label is ignored, so that INSTANCE can be renamed. */
export function foreignness(
  { metadata, spec }: Observation,
  { sharedNamespaces, covers }: Pick<ProjectOptions, "sharedNamespaces" | "covers">,
): Foreign | undefined {
  if (metadata.labels?.[LABELS.managedBy] !== MANAGED_BY) return "unmanaged";
  const named = parseName(metadata.name ?? "");
  const isRegular = named && named.generation <= MAX_GENERATION && named.source === spec?.source &&
    isFingerprint(metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "", named) &&
    SEVERITIES.includes(spec.severity) && CATEGORIES.includes(spec.category);
  if (!isRegular) return "irregular";
  const { namespace = "" } = metadata;
  const belongsTo = spec.resource?.namespace ?? "";
  if (namespace !== belongsTo && !sharedNamespaces.includes(namespace)) return "misplaced";
  return covers?.(belongsTo) === false ? "other_shard" : undefined;
}

/** True for the full fingerprint that the name was made of. */
function isFingerprint(full: string, named: ObservationName): boolean {
  return full.length === 64 && isHex(full) && full.startsWith(named.fingerprint);
}

/** A resourceVersion as a number; NaN if it is not a number, which compares as neither older nor newer. */
export function versionNumber(resourceVersion: string | undefined): number {
  const number = Number(resourceVersion || NaN);
  return Number.isSafeInteger(number) ? number : NaN;
}

/** The four words of a UUID. */
export function uidWords(uid: string): number[] | undefined {
  const hex = uid.replaceAll("-", "");
  return hex.length === 32 && isHex(hex) ? hexWords(hex, 4) : undefined;
}

/** The UUID of four words. */
export function uidText(words: ArrayLike<number>): string {
  const hex = hexText(words);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Words as hex digits. */
export function hexText(words: ArrayLike<number>): string {
  return Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
}

function isHex(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) return false;
  }
  return text.length > 0;
}

// A sender can search for payloads with chosen fingerprints. Without this secret, many could be made to share one map key.
const SECRET = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
const LOW_BITS = 21;

/** The key of a fingerprint in the index, made of its first 53 bits and a secret of this process. */
export function keyOfWords(high: number, low: number): number {
  return ((high ^ SECRET) >>> 0) * 2 ** LOW_BITS + (low >>> (32 - LOW_BITS));
}

/** The key of a fingerprint in hex. */
export function fingerprintKey(fingerprint: string): number {
  const [high = 0, low = 0] = hexWords(fingerprint, 2);
  return keyOfWords(high, low);
}

/** The first 100 bits of a fingerprint, which names contain, as four words of 32 bits; the last is filled up with zeros. */
export function nameWords(fingerprint: string): number[] {
  return hexWords(nameFingerprint(fingerprint).padEnd(32, "0"), 4);
}

/** The first `count` × 32 bits of a text of hex digits. */
function hexWords(hex: string, count: number): number[] {
  const words: number[] = [];
  for (let word = 0; word < count; word++) {
    words.push(Number.parseInt(hex.slice(word * 8, word * 8 + 8), 16) >>> 0);
  }
  return words;
}

/** The rows of the index: typed arrays, one entry a slot, off the JavaScript heap. */

const FIRST_CAPACITY = 1_024;

/** Columns grow together by doubling: 127 bytes a slot. */
export class Columns {
  capacity = FIRST_CAPACITY;
  /** Four words each. */
  fingerprint: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  uid: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  /** NaN if the server's is not a number. */
  resourceVersion: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Milliseconds since the epoch. */
  firstSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  lastSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Seconds since the epoch, the precision of Kubernetes. */
  createdAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  resolvedAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** Seconds since the process started; 0: not reported to this process. */
  reportedAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** 0: none of its own. */
  ttlSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  bytes: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  generation: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  contentHash: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  namespace: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  belongsTo: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** The next older generation of the fingerprint, or the next free slot, as slot + 1; 0 ends the chain. */
  next: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  source: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  eventType: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  rule: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  workload: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  resource: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** The exception that covers the finding now, and the one that its status names. */
  acceptance: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  storedAcceptance: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** Bits: 0–2 severity, 3–5 category, 6 resolved, 7 finding, 8 pushed through a door, 9 a fix is known. */
  traits: Uint16Array = new Uint16Array(FIRST_CAPACITY);
  /** 0: free; else the list in which the object was last seen. */
  epoch: Uint8Array = new Uint8Array(FIRST_CAPACITY);

  /** Doubles the capacity. */
  grow(): void {
    this.capacity *= 2;
    for (const [name, column] of this.#columns()) Object.assign(this, { [name]: doubled(column) });
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.#columns().reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
  }

  #columns(): [string, Column][] {
    return Object.entries(this).filter((entry): entry is [string, Column] => ArrayBuffer.isView(entry[1]));
  }
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

function doubled(column: Column): Column {
  const Wider = column.constructor as new (length: number) => Column;
  const wider = new Wider(column.length * 2);
  wider.set(column);
  return wider;
}

/** Strings kept once, with the number of their users; a text without users is dropped. */
export class Interned {
  readonly #ids = new Map<string, number>();
  readonly #texts: (string | undefined)[] = [];
  readonly #users: number[] = [];
  readonly #free: number[] = [];

  /** The id of a text, one more user of it. */
  take(text: string): number {
    let id = this.#ids.get(text);
    if (id === undefined) {
      id = this.#free.pop() ?? this.#texts.length;
      this.#ids.set(text, id);
      this.#texts[id] = text;
      this.#users[id] = 0;
    }
    this.#users[id] = (this.#users[id] ?? 0) + 1;
    return id;
  }

  /** One past the highest id. */
  get end(): number {
    return this.#texts.length;
  }

  /** A flag for each id: 1 if `isWanted` is true for its text. */
  flags(isWanted: (text: string) => boolean): Uint8Array {
    const found = new Uint8Array(this.#texts.length);
    for (const [text, id] of this.#ids) if (isWanted(text)) found[id] = 1;
    return found;
  }

  /** Every text that has users, with its id. */
  entries(): IterableIterator<[string, number]> {
    return this.#ids.entries();
  }

  /** One user less. */
  release(id: number): void {
    const users = (this.#users[id] ?? 0) - 1;
    this.#users[id] = users;
    if (users > 0) return;
    const text = this.#texts[id];
    if (text !== undefined) this.#ids.delete(text);
    this.#texts[id] = undefined;
    this.#free.push(id);
  }

  text(id: number): string {
    return this.#texts[id] ?? "";
  }
}
