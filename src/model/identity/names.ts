/** Names of objects and values of labels, and whom a workload's generated name stands for. */
import { sha256, shortFingerprint } from "./fingerprint.ts";
import type { Resource } from "../observation.ts";

const LABEL_VALUE_MAX = 63;
/** What Kubernetes generates hashes and suffixes from: no vowels, nothing that looks like another. */
const SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
const DIGITS = "0123456789";

/** `<source>-<32 hex>` for a finding (generation 0), the same + `-<n>` for the n-th occurrence. */
export function observationName(source: string, fingerprint: string, generation: number): string {
  const name = `${source}-${shortFingerprint(fingerprint)}`;
  return generation === 0 ? name : `${name}-${generation}`;
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

/** The Deployment's name, of a ReplicaSet's: less its `-<pod template hash>`; undefined where it bears none. */
export function deploymentOfReplicaSet(name: string): string | undefined {
  return withoutSuffix(name, { alphabet: SAFE_ALPHABET, min: 5, max: 10 });
}

/** The Deployment's name, of one of its Pods': less `-<pod template hash>-<5>`; undefined where it bears none. */
export function deploymentOfPod(name: string): string | undefined {
  const replicaSet = withoutSuffix(name, { alphabet: SAFE_ALPHABET, min: 5, max: 5 });
  return replicaSet === undefined ? undefined : deploymentOfReplicaSet(replicaSet);
}

/** The CronJob's name, of one of its Jobs': less `-<minutes since the epoch>`; undefined where it bears none. */
export function cronJobOfJob(name: string): string | undefined {
  return withoutSuffix(name, { alphabet: DIGITS, min: 8, max: 12 });
}

/** Whom to report on: a ReplicaSet's Deployment, a numbered Job's CronJob, else the resource itself. */
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

interface Suffix {
  readonly alphabet: string;
  readonly min: number;
  readonly max: number;
}

function withoutSuffix(name: string, { alphabet, min, max }: Suffix): string | undefined {
  const dash = name.lastIndexOf("-");
  const length = name.length - dash - 1;
  if (dash < 1 || length < min || length > max) return undefined;
  for (let index = dash + 1; index < name.length; index++) {
    if (!alphabet.includes(name[index] ?? "?")) return undefined;
  }
  return name.slice(0, dash);
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
