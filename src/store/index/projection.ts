/** Reads from an Observation the fields that the index keeps, and checks that it is a valid Observation of this shard. */
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

/** Projects an Observation, or returns why it is set aside. Its fields are validated first (SPEC section 6). */
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

/** The key of a fingerprint, by its first two words. */
export function keyOfWords(high: number, low: number): number {
  return ((high ^ SECRET) >>> 0) * 2 ** LOW_BITS + (low >>> (32 - LOW_BITS));
}

/** The key of a fingerprint in hex. */
export function fingerprintKey(fingerprint: string): number {
  const [high = 0, low = 0] = hexWords(fingerprint, 2);
  return keyOfWords(high, low);
}

/** The part of a fingerprint that names hold, in four words; the last is filled up with zeros. */
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
