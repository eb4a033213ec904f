import { isDeepStrictEqual } from "node:util";
import { at, isObject, type Json, type JsonObject } from "../model/json.ts";
import { badRequest, type Cause, cause, failure, invalid, refused, StatusError } from "./errors.ts";
import { parse } from "./json.ts";
import { type ApiResource, apiVersion, type Version } from "./resources.ts";
import { conform, KEEPS_UNKNOWN } from "./schema.ts";

/** What a request is about: one resource in one version, and its namespace and name. */
export interface Target {
  readonly resource: ApiResource;
  readonly version: Version;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: string | undefined;
}

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const CLIENT_META = "name generateName namespace labels annotations finalizers ownerReferences".split(" ");
const OWN_META = "uid creationTimestamp generation deletionTimestamp deletionGracePeriodSeconds".split(" ");
const MAX_ANNOTATION_BYTES = 256 * 1024;
const MAX_STORED_BYTES = 1.5 * 1024 * 1024;

/** An object's metadata, added if it is missing. */
export function meta(object: JsonObject): JsonObject {
  return isObject(object.metadata) ? object.metadata : object.metadata = {};
}

/** The key of a target's object among those of its resource; what the keys begin with where it names none. */
export function objectKey({ namespace, name = "" }: Target): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** True if the object has finalizers: a delete then only marks it as being deleted. */
export function isHeld(object: JsonObject): boolean {
  const { finalizers } = meta(object);
  return Array.isArray(finalizers) && finalizers.length > 0;
}

/** Parses an object of the target's kind, checks that it belongs to its place, and leaves apiVersion and kind out. */
export function decode(text: string, target: Target): JsonObject {
  const { resource: { group, kind, custom }, namespace, name } = target;
  const unrecognized = `the object provided is unrecognized (must be of type ${kind}): `;
  const given = parse(text, `${unrecognized}couldn't get version/kind; json parse error: `);
  const expected = apiVersion(group, target.version.name);
  const defaults = custom ? {} : { kind, apiVersion: expected };
  const whole: JsonObject = { ...defaults, ...(isObject(given) && given) };
  const { apiVersion: version, kind: ofKind, ...object } = whole;
  const metadata = meta(object);
  const of = { name: metadata.name ||= name ?? null, namespace: metadata.namespace || namespace };
  if (!ofKind) throw badRequest(`${unrecognized}Object 'Kind' is missing in '${text.slice(0, 100)}'`);
  if (version !== expected) {
    const given = `the API version in the data (${version})`;
    throw badRequest(`${given} does not match the expected API version (${expected})`);
  }
  if (ofKind !== kind) throw invalid(target, [refused("kind", ofKind, `must be ${kind}`)]);
  if (namespace !== undefined && of.namespace !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  if (name !== undefined && of.name !== name) {
    throw badRequest(`the name of the object (${of.name}) does not match the name on the URL (${name})`);
  }
  object.metadata = { ...metadata, namespace: namespace ?? null };
  return object;
}

/** Makes a decoded object one that can be stored for the first time. */
export function prepareNew(object: JsonObject, target: Target): void {
  const { resource: { traits }, version } = target;
  const given = meta(object);
  if (given.resourceVersion) {
    throw new StatusError(500, "", "resourceVersion should not be set on objects to be created");
  }
  const generation = traits.includes("G") ? 1 : null;
  const made = { uid: crypto.randomUUID(), creationTimestamp: now(), generation };
  object.metadata = kept({ ...given, ...made }, [...CLIENT_META, ...OWN_META]);
  if (version.subresources?.status) delete object.status;
  complete(object, target);
}

/** The next state of a stored object from what a client proposes; the stored one itself where nothing changes. */
export function prepareUpdate(current: JsonObject, proposed: JsonObject, target: Target): JsonObject {
  const hasStatus = target.version.subresources?.status !== undefined;
  const [was, given] = [meta(current), meta(proposed)];
  if (given.resourceVersion && given.resourceVersion !== was.resourceVersion) {
    const why = "the object has been modified; please apply your changes to the latest version and try again";
    throw failure("Conflict", target, { why });
  }
  if (given.uid && given.uid !== was.uid) {
    throw invalid(target, [refused("metadata.uid", given.uid, "field is immutable")]);
  }
  const { status, ...rest } = target.subresource ? current : proposed;
  const nextStatus = !hasStatus ? status : target.subresource ? proposed.status : current.status;
  const whole = nextStatus === undefined ? rest : { ...rest, status: nextStatus };
  const next: JsonObject = structuredClone(whole);
  const writable = kept(target.subresource ? was : given, CLIENT_META);
  next.metadata = { ...writable, ...kept(was, [...OWN_META, "resourceVersion"]) };
  complete(next, target);
  if (isDeepStrictEqual(next, current)) return current;
  const ignored = hasStatus ? { metadata: null, status: null } : { metadata: null };
  const isChanged = !isDeepStrictEqual({ ...next, ...ignored }, { ...current, ...ignored });
  if (was.generation && isChanged) meta(next).generation = Number(was.generation) + 1;
  return next;
}

/** The given fields of metadata, less those that hold nothing. */
function kept(metadata: JsonObject, keys: readonly string[]): JsonObject {
  const says = (value: Json) => typeof value === "number" || Object.keys(value ?? {}).length > 0;
  const entries = keys.map((key) => [key, metadata[key] ?? null] as const);
  return Object.fromEntries(entries.filter(([, value]) => says(value)));
}

function complete(object: JsonObject, target: Target): void {
  const { resource: { kind, custom }, version } = target;
  const schema = version.schema?.openAPIV3Schema;
  const { labels, annotations } = meta(object);
  const isText = (of: Json = {}) => Object.values(of ?? {}).every((text) => typeof text === "string");
  // Metadata is not the schema's business.
  const properties = { ...Object(schema?.properties), metadata: { [KEEPS_UNKNOWN]: true } };
  const found = schema ? conform(object, { ...schema, properties }) : [];
  const wrongType = isText(labels) && isText(annotations) ? undefined : "metadata values must be strings";
  const undecodable = wrongType ?? (custom ? undefined : found[0]?.message);
  if (undecodable) throw badRequest(`${kind} in version "v1" cannot be handled as a ${kind}: ${undecodable}`);
  const causes = [...metadataCauses(meta(object), kind), ...(custom ? found : builtInCauses(object, kind))];
  if (causes.length > 0) throw invalid(target, causes);
  if (JSON.stringify(object).length > MAX_STORED_BYTES) {
    throw new StatusError(500, "", "etcdserver: request is too large");
  }
}

function metadataCauses({ name, labels, annotations }: JsonObject, kind: string): Cause[] {
  const causes: Cause[] = [];
  const form = kind === "Namespace" ? DNS_LABEL : SUBDOMAIN;
  if (!form.test(String(name)) || String(name).length > 253) {
    causes.push(refused("metadata.name", name, `a lowercase RFC 1123 name must match '${form.source}'`));
  }
  for (const [key, value] of Object.entries(labels ?? {})) {
    const [base = "", prefix = "prefix", ...more] = key.split("/").reverse();
    const isKey = base !== "" && LABEL_VALUE.test(base) && SUBDOMAIN.test(prefix) && more.length === 0;
    if (isKey && LABEL_VALUE.test(value)) continue;
    const why = `a valid label must match '${LABEL_VALUE.source}'`;
    causes.push(refused("metadata.labels", isKey ? value : key, why));
  }
  const size = Object.entries(annotations ?? {}).flat().join("").length;
  const tooLong = `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`;
  if (size > MAX_ANNOTATION_BYTES) causes.push(cause("TooLong", "metadata.annotations", tooLong));
  return causes;
}

function builtInCauses(object: JsonObject, kind: string): Cause[] {
  const metadata = meta(object);
  if (kind === "Secret") {
    const base64 = (text: Json) => new TextEncoder().encode(String(text)).toBase64();
    const encoded = Object.entries(object.stringData ?? {}).map(([key, value]) => [key, base64(value)]);
    if (encoded.length > 0) object.data = { ...Object(object.data), ...Object.fromEntries(encoded) };
    delete object.stringData;
    object.type ||= "Opaque";
  } else if (kind === "Namespace") {
    metadata.labels = { ...Object(metadata.labels), "kubernetes.io/metadata.name": metadata.name! };
    object.spec ??= { finalizers: ["kubernetes"] };
    object.status ??= { phase: "Active" };
  } else if (kind === "Event" && isObject(object.involvedObject)) {
    const { namespace = "default" } = object.involvedObject;
    if (namespace !== metadata.namespace) {
      return [refused("involvedObject.namespace", namespace, "does not match event.namespace")];
    }
  } else if (kind === "Lease") {
    const seconds = Number(at(object, "spec", "leaseDurationSeconds") ?? 1);
    if (seconds <= 0) return [refused("spec.leaseDurationSeconds", seconds, "must be greater than 0")];
  }
  return [];
}

/** The time as Kubernetes writes it. */
export function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}
