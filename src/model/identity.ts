/** What makes two events the same, names of objects, values of labels, and the workload behind a generated name. */
import { LIMITS, type Resource } from "./observation.ts";
import { createHash } from "node:crypto";
import { isObject, type Json, type JsonObject } from "./json.ts";

const LABEL_VALUE_MAX = 63;
/** What Kubernetes generates hashes and suffixes from: no vowels, nothing that looks like another. */
const SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
/** The part of it that hexadecimal digits are mapped to: older pod template hashes are made of these alone. */
const HASH_ALPHABET = "456789bcdf";
/** What Kubernetes ends the names of a controller's Pods with. */
const POD_SUFFIX = new RegExp(`^(.+)-[${SAFE_ALPHABET}]{5}$`);
/** The index before that suffix in the name of a Pod of an indexed Job. */
const JOB_INDEX = /-\d{1,5}$/;
/** Numbers of a CronJob's Jobs: minutes since the epoch, 2023 to 2038. A fixed range, since identity depends on no clock. */
const FIRST_JOB_NUMBER = 28_000_000, LAST_JOB_NUMBER = 36_000_000;

/** Crockford's base32 (https://www.crockford.com/base32.html), lower case: no i, l, o, u. */
const BASE32 = "0123456789abcdefghjkmnpqrstvwxyz";
/** Hex digits of a fingerprint that a name holds: 100 bits. */
const NAME_HEX = 25;
/** The same bits in base32. */
const NAME_BASE32 = 20;
/** Five hex digits are four of base32. */
const HEX_STEP = 5, BASE32_STEP = 4;

/**
 * `<source>-<20 characters>` for a finding (generation 0), the same + `-<n>` for the n-th occurrence. The characters
 * are the first 100 bits of the fingerprint in lower-case Crockford base32. Frozen: a stored finding is found by its name.
 */
export function observationName(source: string, fingerprint: string, generation: number): string {
  const name = `${source}-${base32(nameFingerprint(fingerprint))}`;
  return generation === 0 ? name : `${name}-${generation}`;
}

/** The part of a fingerprint that an Observation's name holds: the first 100 bits, 25 hex digits. */
export function nameFingerprint(fingerprint: string): string {
  return fingerprint.slice(0, NAME_HEX);
}

/** The parts of an Observation's deterministic name. */
export interface ObservationName {
  readonly source: string;
  /** See `nameFingerprint`. */
  readonly fingerprint: string;
  readonly generation: number;
}

/** Reads a name that `observationName` gave; undefined for any other. */
export function parseName(name: string): ObservationName | undefined {
  const dash = name.lastIndexOf("-");
  const tail = name.slice(dash + 1);
  const isFinding = tail.length === NAME_BASE32;
  const generation = isFinding ? 0 : Number(tail);
  const stem = isFinding ? name : name.slice(0, Math.max(dash, 0));
  const source = stem.slice(0, -NAME_BASE32 - 1);
  const fingerprint = unBase32(stem.slice(-NAME_BASE32));
  const isLegal = Number.isSafeInteger(generation) && generation >= 0 && generation < 2 ** 32 &&
    source !== "";
  if (!isLegal || fingerprint === undefined) return undefined;
  return observationName(source, fingerprint, generation) === name
    ? { source, fingerprint, generation }
    : undefined;
}

function base32(hex: string): string {
  let text = "";
  for (let index = 0; index < hex.length; index += HEX_STEP) {
    const bits = Number.parseInt(hex.slice(index, index + HEX_STEP), 16);
    for (let shift = (BASE32_STEP - 1) * 5; shift >= 0; shift -= 5) text += BASE32[(bits >> shift) & 31];
  }
  return text;
}

function unBase32(text: string): string | undefined {
  if (text.length !== NAME_BASE32) return undefined;
  let hex = "";
  for (let index = 0; index < text.length; index += BASE32_STEP) {
    let bits = 0;
    for (const char of text.slice(index, index + BASE32_STEP)) {
      const value = BASE32.indexOf(char);
      if (value < 0) return undefined;
      bits = bits * 32 + value;
    }
    hex += bits.toString(16).padStart(HEX_STEP, "0");
  }
  return hex;
}

/** A legal label value: unchanged where it is one, else made legal and told apart by a short hash. */
export function labelValue(text: string): string {
  if (isLabelValue(text)) return text;
  let legal = "";
  for (let index = 0; index < text.length && legal.length < LABEL_VALUE_MAX - 9; index++) {
    const code = text.charCodeAt(index);
    const fits = isAlphanumeric(code) || (legal !== "" && isLabelPunctuation(code));
    if (fits) legal += text[index];
    else if (legal !== "" && !legal.endsWith("-")) legal += "-";
  }
  let end = legal.length;
  while (end > 0 && !isAlphanumeric(legal.charCodeAt(end - 1))) end--;
  const hash = sha256(text).slice(0, 8);
  return end === 0 ? hash : `${legal.slice(0, end)}-${hash}`;
}

/** True for a legal label value; the empty one is legal. */
export function isLabelValue(text: string): boolean {
  if (text.length > LABEL_VALUE_MAX) return false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const inside = index > 0 && index < text.length - 1;
    if (!isAlphanumeric(code) && !(inside && isLabelPunctuation(code))) return false;
  }
  return true;
}

/** True for a legal namespace name (a DNS-1123 label). */
export function isNamespaceName(text: string): boolean {
  if (text.length === 0 || text.length > 63 || text.startsWith("-") || text.endsWith("-")) return false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (!isLowerAlphanumeric(code) && code !== 45) return false;
  }
  return true;
}

/** A legal source name out of any tool's: lower-cased, other characters `-`; "" where nothing is left. */
export function sourceName(text: string): string {
  return dashed(text, "-");
}

/** A legal event type out of any tool's word; "" where nothing is left. */
export function eventTypeName(text: string): string {
  return dashed(text, "_");
}

/**
 * The Deployment's name of a ReplicaSet's name: less its `-<pod template hash>`; undefined where it has none. A hash is
 * 8 to 10 characters of the safe alphabet with a digit, or 5 to 10 of the hash alphabet (part of identity version 1).
 */
export function deploymentOfReplicaSet(name: string): string | undefined {
  const dash = name.lastIndexOf("-");
  const hash = name.slice(dash + 1);
  const isHash = isMadeOf(hash, { alphabet: HASH_ALPHABET, min: 5, max: 10 }) ||
    (isMadeOf(hash, { alphabet: SAFE_ALPHABET, min: 8, max: 10 }) && /\d/.test(hash));
  return dash > 0 && isHash ? name.slice(0, dash) : undefined;
}

/** The Deployment's name, of one of its Pods': less `-<pod template hash>-<5>`; undefined where it bears none. */
export function deploymentOfPod(name: string): string | undefined {
  const owner = ownerOfPod(name);
  return owner === undefined ? undefined : deploymentOfReplicaSet(owner);
}

/** The CronJob's name, of one of its Pods': less `-<minutes since the epoch>-<5>`, an index between them too; undefined where it bears none. */
function cronJobOfPod(name: string): string | undefined {
  const owner = ownerOfPod(name) ?? "";
  return cronJobOfJob(owner) ?? cronJobOfJob(owner.replace(JOB_INDEX, ""));
}

/** What a controller names a Pod after: its name less `-<5>`; undefined where it has no such end. */
function ownerOfPod(name: string): string | undefined {
  return POD_SUFFIX.exec(name)?.[1];
}

/** The CronJob's name of a Job's name: less `-<minutes since the epoch>`; undefined where it has none. */
export function cronJobOfJob(name: string): string | undefined {
  const [, cronJob, number = ""] = /^(.+)-(\d{8})$/.exec(name) ?? [];
  return Number(number) >= FIRST_JOB_NUMBER && Number(number) <= LAST_JOB_NUMBER ? cronJob : undefined;
}

/**
 * The object that lives on of a workload's chain: of a ReplicaSet, and of a Pod named as one's, the Deployment; of a
 * numbered Job, and of a Pod named as one's, the CronJob; else the resource itself.
 */
export function topOfChain(resource: Resource): Resource {
  const { kind = "", name = "" } = resource;
  if (kind.toLowerCase() !== "pod") return reportedWorkload(resource);
  // First: a number such as 29945678 also passes as a hash. It begins with 2 or 3, which are in no Pod template hash.
  const cronJob = cronJobOfPod(name);
  if (cronJob !== undefined) return { ...resource, apiVersion: "batch/v1", kind: "CronJob", name: cronJob };
  const deployment = deploymentOfPod(name);
  return deployment === undefined
    ? resource
    : { ...resource, apiVersion: "apps/v1", kind: "Deployment", name: deployment };
}

/** The resource to report: a ReplicaSet's Deployment, a numbered Job's CronJob, else the resource itself. */
export function reportedWorkload(resource: Resource): Resource {
  const name = resource.name ?? "";
  const kind = resource.kind?.toLowerCase();
  const deployment = kind === "replicaset" ? deploymentOfReplicaSet(name) : undefined;
  if (deployment !== undefined) {
    return { ...resource, apiVersion: "apps/v1", kind: "Deployment", name: deployment };
  }
  const cronJob = kind === "job" ? cronJobOfJob(name) : undefined;
  if (cronJob !== undefined) return { ...resource, apiVersion: "batch/v1", kind: "CronJob", name: cronJob };
  return resource;
}

interface Shape {
  readonly alphabet: string;
  readonly min: number;
  readonly max: number;
}

function isMadeOf(text: string, { alphabet, min, max }: Shape): boolean {
  if (text.length < min || text.length > max) return false;
  for (const char of text) if (!alphabet.includes(char)) return false;
  return true;
}

/** Lower-case alphanumerics, single separators between them, at most 63. */
function dashed(text: string, alsoAllowed: string): string {
  let legal = "";
  for (let index = 0; index < text.length && legal.length < 63; index++) {
    const char = (text[index] ?? "").toLowerCase();
    if (char.length === 1 && isLowerAlphanumeric(char.charCodeAt(0))) legal += char;
    else if (legal !== "" && !legal.endsWith("-") && !legal.endsWith(alsoAllowed)) {
      legal += char === alsoAllowed ? alsoAllowed : "-";
    }
  }
  return legal.endsWith("-") || legal.endsWith(alsoAllowed) ? legal.slice(0, -1) : legal;
}

function isLowerAlphanumeric(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 48 && code <= 57);
}

function isAlphanumeric(code: number): boolean {
  return isLowerAlphanumeric(code) || (code >= 65 && code <= 90);
}

function isLabelPunctuation(code: number): boolean {
  return code === 45 || code === 46 || code === 95;
}

/** Kinds whose own name is the workload's. */
const CONTROLLERS: ReadonlySet<string> = new Set(
  ["deployment", "statefulset", "daemonset", "cronjob", "replicaset", "job"],
);
const ORDINAL = /^(.+)-\d{1,4}$/;

/**
 * The workload of a resource, by its kind and name alone: a Deployment, StatefulSet, DaemonSet or CronJob by its name; a
 * ReplicaSet, Job or Pod less what Kubernetes generated (hash, number, suffix, ordinal); undefined for anything else.
 */
export function workloadOf(resource: Resource | undefined): string | undefined {
  const { kind = "", name = "" } = topOfChain(resource ?? {});
  if (name === "") return undefined;
  const word = kind.toLowerCase();
  if (CONTROLLERS.has(word)) return name;
  return word === "pod" ? ownerOfPod(name) ?? ORDINAL.exec(name)?.[1] ?? name : undefined;
}

/** Words that may be names of objects. */
const NAMES = /[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/g;

/**
 * A text with the workload's own name in place of the generated names of its ReplicaSets, Jobs and Pods. Part of identity
 * version 1.
 */
export function withLastingNames(text: string, { kind, name = "" }: Resource): string {
  const prefix = `${name}-`;
  if (!text.includes(prefix)) return text;
  const isGenerated = (word: string) =>
    ["ReplicaSet", "Job", "Pod"].some((generated) => {
      const top = topOfChain({ kind: generated, name: word });
      return top.kind === kind && top.name === name;
    });
  return text.replace(NAMES, (word) => word.startsWith(prefix) && isGenerated(word) ? name : word);
}

/** SHA-256 of the text, 64 hex digits. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-256 over the canonical JSON of what identifies an event, 64 hex digits. */
export function fingerprintOf(identity: Json): string {
  return sha256(canonicalJson(identity));
}

/** The first 128 bits of a fingerprint, 32 hex digits: what the label carries. */
export function shortFingerprint(fingerprint: string): string {
  return fingerprint.slice(0, 32);
}

/** 32 bits of a hash of the text (FNV-1a over UTF-16 units): tells that content changed, proves nothing. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/**
 * One text for one JSON value, whatever its key order, escapes or number forms (after RFC 8785).
 * Keys in UTF-16 order, numbers and strings as ECMAScript prints them, no white space. Nesting is the
 * caller's to bound (`parseJson` and `cleanJson` both stop at 64).
 */
export function canonicalJson(value: Json): string {
  if (typeof value === "string") return quoted(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) {
    let text = "[";
    for (let index = 0; index < value.length; index++) {
      text += (index === 0 ? "" : ",") + canonicalJson(value[index] ?? null);
    }
    return text + "]";
  }
  let text = "{";
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member === undefined) continue;
    text += (text.length === 1 ? "" : ",") + quoted(key) + ":" + canonicalJson(member);
  }
  return text + "}";
}

/** As `JSON.stringify` does it, which for a short plain text is mostly the cost of calling it. */
function quoted(text: string): string {
  if (text.length > 40) return JSON.stringify(text);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126 || code === 34 || code === 92) return JSON.stringify(text);
  }
  return `"${text}"`;
}

/** Part of what is hashed. */
export const IDENTITY_VERSION = 1;

const MAX_DEPTH = 64;
const MAX_VALUES = 10_000;
/** UTF-16 units of a string, and of a key, that are hashed. */
export const MAX_IDENTITY_TEXT = 65_536;
/** UTF-16 units of all strings that are hashed: the texts after so many are left out. */
export const MAX_IDENTITY_TEXTS = 1_048_576;
/** Control characters, and what reads as white space: one space stands for a run of them. */
// deno-lint-ignore no-control-regex -- control characters are what it removes
const SPACES = /[\u0000-\u0020\u007f-\u00a0\u2028\u2029]+/g;

/**
 * The identity with every text trimmed and its white space and control characters folded, lone surrogates replaced, null
 * and non-finite members left out; the same value for the same words of a tool. Never throws.
 */
export function cleanIdentityV1(identity: unknown): JsonObject {
  const budget = { values: MAX_VALUES, texts: MAX_IDENTITY_TEXTS };
  const cleaned = isObject(identity) ? cleanValue(identity, budget, 1) : undefined;
  return isObject(cleaned) ? cleaned : {};
}

interface Budget {
  values: number;
  texts: number;
}

function cleanValue(value: unknown, budget: Budget, depth: number): Json | undefined {
  if (budget.values-- <= 0) return undefined;
  if (typeof value === "string") {
    budget.texts -= Math.min(value.length, MAX_IDENTITY_TEXT);
    return budget.texts < 0 ? undefined : cleanTextV1(value);
  }
  if (typeof value === "boolean") return value;
  if (typeof value === "number") {
    return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : undefined;
  }
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return undefined;
  if (Array.isArray(value)) {
    return value.slice(0, Math.max(0, budget.values)).flatMap((item) => {
      const cleaned = cleanValue(item, budget, depth + 1);
      return cleaned === undefined ? [] : [cleaned];
    });
  }
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(value)) {
    if (budget.values <= 0) break;
    const cleaned = key === "__proto__" ? undefined : cleanValue(member, budget, depth + 1);
    if (cleaned !== undefined) result[cleanTextV1(key)] = cleaned;
  }
  return result;
}

function cleanTextV1(text: string): string {
  return text.slice(0, MAX_IDENTITY_TEXT).toWellFormed().replace(SPACES, " ").trim();
}

/** Kinds that belong to no namespace. */
const CLUSTER_SCOPED: ReadonlySet<string> = new Set([
  ...["namespace", "node", "persistentvolume", "componentstatus"],
  ...["customresourcedefinition", "apiservice", "certificatesigningrequest"],
  ...["mutatingadmissionpolicy", "mutatingadmissionpolicybinding", "mutatingwebhookconfiguration"],
  ...["validatingadmissionpolicy", "validatingadmissionpolicybinding", "validatingwebhookconfiguration"],
  ...["flowschema", "prioritylevelconfiguration", "priorityclass", "runtimeclass"],
  ...["clusterrole", "clusterrolebinding", "podsecuritypolicy", "clusterpolicy"],
  ...["ingressclass", "servicecidr", "deviceclass", "resourceslice"],
  ...["storageclass", "csidriver", "csinode", "volumeattachment", "volumeattributesclass"],
]);

/** True for a kind, in any case, that belongs to no namespace; not for `IPAddress`: Cluster API has a namespaced one. */
export function isClusterScoped(kind: string): boolean {
  return CLUSTER_SCOPED.has(kind.toLowerCase());
}

/** Names a workload in a `ReportScope`, by what an Observation holds of its names. */
export function workloadKey({ kind = "", name = "", namespace = "" }: Resource): string {
  const parts = [
    namespace.slice(0, LIMITS.namespace),
    kind.slice(0, LIMITS.kind).toLowerCase(),
    name.slice(0, LIMITS.name),
  ];
  return parts.join("/");
}
