/** What the index keeps of an Observation, and whether it is one of ours at all. */
import { Buffer } from "node:buffer";
import { labelValue, observationName } from "../../model/identity/names.ts";
import {
  ANNOTATIONS,
  CATEGORIES,
  LABELS,
  MANAGED_BY,
  type Observation,
  SEVERITIES,
} from "../../model/observation.ts";
import { parseTime } from "../../model/time.ts";
import { hexWords } from "../fingerprint_key.ts";

const HOUR_MS = 3_600_000;
const FUTURE_MS = 6 * 60_000;

/** An Observation, projected. */
export interface Projection {
  readonly namespace: string;
  readonly source: string;
  readonly eventType: string;
  /** The first 128 bits. */
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

export interface ProjectOptions {
  /** INSTANCE: the shard set whose Observations these are. */
  readonly instance: string;
  /** The hash of message and lasting details, as normalise makes it of events. */
  readonly contentHash: (observation: Observation) => number;
}

/** Why an object is left out of the index. */
export type Foreign = "unmanaged" | "other_instance" | "irregular";

/** Projects an Observation, or says why it is none of ours. */
export function project(observation: Observation, options: ProjectOptions): Projection | Foreign {
  const { metadata, spec } = observation;
  const { labels = {} } = metadata;
  if (labels[LABELS.managedBy] !== MANAGED_BY) return "unmanaged";
  if (labels[LABELS.instance] !== labelValue(options.instance)) return "other_instance";
  const named = parseName(metadata.name ?? "");
  const full = metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "";
  const severity = SEVERITIES.indexOf(spec?.severity);
  const category = CATEGORIES.indexOf(spec?.category);
  const uid = uidWords(metadata.uid ?? "");
  const regular = named && named.source === spec?.source && full.startsWith(named.fingerprint) &&
    severity >= 0 &&
    category >= 0 && uid;
  return regular ? projected({ observation, named, severity, category, uid, options }) : "irregular";
}

interface Parts {
  readonly observation: Observation;
  readonly named: ObservationName;
  readonly severity: number;
  readonly category: number;
  readonly uid: readonly number[];
  readonly options: ProjectOptions;
}

function projected({ observation, named, severity, category, uid, options }: Parts): Projection {
  const { metadata, spec, status } = observation;
  const { firstSeenAt, lastSeenAt, createdAt } = seenTimes(observation);
  const resolved = status?.phase === "Resolved";
  return {
    namespace: metadata.namespace ?? "",
    source: spec.source,
    eventType: spec.eventType,
    fingerprint: hexWords(named.fingerprint, 4),
    generation: named.generation,
    uid,
    resourceVersion: versionNumber(metadata.resourceVersion),
    createdAt,
    firstSeenAt,
    lastSeenAt,
    resolvedAt: resolved ? parseTime(status?.resolvedAt ?? "")?.ms ?? lastSeenAt : 0,
    resolved,
    ttlSeconds: spec.ttlSecondsAfterCreation ?? 0,
    bytes: Buffer.byteLength(JSON.stringify(observation)),
    contentHash: options.contentHash(observation),
    severity,
    category,
    finding: metadata.labels?.[LABELS.kind] === "finding",
    pushed: metadata.annotations?.[ANNOTATIONS.pushedThrough] !== undefined,
  };
}

/**
 * When an Observation was seen. Where its status does not say yet: `detectedAt` if event times could be that far from
 * its creation, else its creation.
 */
export function seenTimes({ metadata, spec, status }: Observation): {
  readonly createdAt: number;
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
} {
  const createdAt = parseTime(metadata.creationTimestamp ?? "")?.ms ?? 0;
  const detected = parseTime(spec.detectedAt ?? "")?.ms;
  const near = detected !== undefined && detected >= createdAt - HOUR_MS && detected <= createdAt + FUTURE_MS;
  const otherwise = near ? detected : createdAt;
  return {
    createdAt,
    firstSeenAt: parseTime(status?.firstSeenAt ?? "")?.ms ?? otherwise,
    lastSeenAt: parseTime(status?.lastSeenAt ?? "")?.ms ?? otherwise,
  };
}

/** A resourceVersion as a number, NaN where it is none: they are compared only where they can be. */
export function versionNumber(resourceVersion: string | undefined): number {
  const number = Number(resourceVersion || NaN);
  return Number.isSafeInteger(number) ? number : NaN;
}

/** What a deterministic name says. */
export interface ObservationName {
  readonly source: string;
  /** 32 hex digits. */
  readonly fingerprint: string;
  readonly generation: number;
}

/** Reads `<source>-<32 hex>[-<n>]`, undefined where a name is not of that form. */
export function parseName(name: string): ObservationName | undefined {
  const dash = name.lastIndexOf("-");
  const tail = name.slice(dash + 1);
  const generation = tail.length < 32 ? Number(tail) : 0;
  const stem = tail.length < 32 ? name.slice(0, Math.max(dash, 0)) : name;
  const source = stem.slice(0, -33);
  const fingerprint = stem.slice(-32);
  if (
    !Number.isSafeInteger(generation) || generation < 0 || generation >= 2 ** 32 || source === "" ||
    !isHex(fingerprint)
  ) {
    return undefined;
  }
  return observationName(source, fingerprint, generation) === name
    ? { source, fingerprint, generation }
    : undefined;
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
