import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { badRequest, type Cause, failure, invalid, type Named, StatusError } from "./errors.ts";
import { sameJson } from "./patch.ts";
import { apiVersion, type Resource, type Version } from "./resources.ts";
import { normalizeObject, tooLong, violations } from "./schema.ts";

/** What a request speaks of: one resource in one version, and where. */
export interface Target {
  readonly resource: Resource;
  readonly version: Version;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
}

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const WRITABLE_META = [
  "name",
  "generateName",
  "namespace",
  "labels",
  "annotations",
  "finalizers",
  "ownerReferences",
];
const SERVER_META = [
  "uid",
  "creationTimestamp",
  "generation",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
];
const MAX_ANNOTATION_BYTES = 256 * 1024;
const MAX_STORED_BYTES = 1.5 * 1024 * 1024;

/** The target as errors about the object name it: by plural. */
export function named({ resource, name }: Target): Named {
  return { group: resource.group, kind: resource.plural, ...(name === undefined ? {} : { name }) };
}

/** The target as errors of validation name it: by kind. */
export function kinded({ resource: { group, kind } }: Target, object: JsonObject): Named {
  return { group, kind, name: String(meta(object).name ?? "") };
}

/** An object's metadata; made where there is none. */
export function meta(object: JsonObject): JsonObject {
  return isObject(object.metadata) ? object.metadata : object.metadata = {};
}

/** True where finalizers keep the object from going. */
export function isHeld(object: JsonObject): boolean {
  const { finalizers } = meta(object);
  return Array.isArray(finalizers) && finalizers.length > 0;
}

/** Parses a request body as an object of the target's kind, and checks that it belongs to the target's place. */
export function decode(text: string, target: Target): JsonObject {
  const { resource: { group, kind, custom }, version, namespace, name } = target;
  const unrecognized = `the object provided is unrecognized (must be of type ${kind}): `;
  const object = parse(text, `${unrecognized}couldn't get version/kind; json parse error: `);
  if (!isObject(object)) throw badRequest(`${unrecognized}expected an object`);
  const expected = apiVersion(group, version.name);
  object.kind ??= custom ? null : kind;
  object.apiVersion ??= custom ? null : expected;
  if (!object.kind) throw badRequest(`${unrecognized}Object 'Kind' is missing in '${text.slice(0, 100)}'`);
  if (object.apiVersion !== expected) {
    const given = `the API version in the data (${object.apiVersion})`;
    throw badRequest(`${given} does not match the expected API version (${expected})`);
  }
  if (object.kind !== kind) {
    const cause = refused("kind", object.kind, `must be ${kind}`);
    throw invalid({ ...kinded(target, object), kind: String(object.kind) }, [cause]);
  }
  const metadata = meta(object);
  if (namespace !== undefined && metadata.namespace && metadata.namespace !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  if (namespace === undefined) delete metadata.namespace;
  else metadata.namespace = namespace;
  metadata.name ??= name ?? null;
  if (name === undefined || metadata.name === name) return object;
  throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${name})`);
}

/** Parses JSON, or answers 400 with `problem` before the reason. */
export function parse(text: string, problem: string): Json {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(problem + (error as Error).message);
  }
}

/** Makes a decoded object one that can be stored for the first time. */
export function prepareNew(object: JsonObject, target: Target): void {
  const given = meta(object);
  if (given.resourceVersion) {
    throw new StatusError(500, "", "resourceVersion should not be set on objects to be created");
  }
  if (!given.name && given.generateName) {
    given.name = String(given.generateName).slice(0, 58) + randomSuffix();
  }
  const generation = target.resource.traits.includes("generation") ? { generation: 1 } : {};
  object.metadata = {
    ...kept(given, WRITABLE_META),
    uid: crypto.randomUUID(),
    creationTimestamp: now(),
    ...generation,
  };
  if (target.version.hasStatus) delete object.status;
  complete(object, target);
}

/** The next state of a stored object from what a client proposes; the stored one itself where nothing changes. */
export function prepareUpdate(
  current: JsonObject,
  { proposed, target }: { proposed: JsonObject; target: Target },
): JsonObject {
  const { version: { hasStatus }, subresource } = target;
  const [was, given] = [meta(current), meta(proposed)];
  if (given.resourceVersion && given.resourceVersion !== was.resourceVersion) {
    const why = "the object has been modified; please apply your changes to the latest version and try again";
    throw failure("Conflict", named(target), { why });
  }
  if (given.uid && given.uid !== was.uid) {
    throw invalid(kinded(target, current), [refused("metadata.uid", given.uid, "field is immutable")]);
  }
  const { status, ...rest } = subresource ? current : proposed;
  const nextStatus = !hasStatus ? status : subresource ? proposed.status : current.status;
  const next: JsonObject = structuredClone(nextStatus === undefined ? rest : { ...rest, status: nextStatus });
  const { resourceVersion } = was;
  next.metadata = {
    ...kept(subresource ? was : given, WRITABLE_META),
    ...kept(was, SERVER_META),
    resourceVersion: resourceVersion!,
  };
  complete(next, target);
  if (sameJson(next, current)) return current;
  const wanted = ({ metadata: _, status, ...spec }: JsonObject) =>
    hasStatus ? spec : { ...spec, status: status ?? null };
  if (was.generation && !sameJson(wanted(next), wanted(current))) {
    meta(next).generation = Number(was.generation) + 1;
  }
  return next;
}

function kept(metadata: JsonObject, keys: readonly string[]): JsonObject {
  const entries = keys.map((key) => [key, metadata[key] ?? null] as const);
  return Object.fromEntries(
    entries.filter(([, value]) =>
      value !== null && Object.keys(Object(value)).length + Number(typeof value !== "object") > 0
    ),
  );
}

function complete(object: JsonObject, target: Target): void {
  const { resource: { kind, custom }, version: { schema } } = target;
  const { labels, annotations } = meta(object);
  for (const value of [labels, annotations].flatMap((texts) => Object.values(texts ?? {}))) {
    if (typeof value !== "string") throw undecodable(kind, "metadata: values must be strings");
  }
  if (schema) normalizeObject(object, schema);
  const found = schema ? violations(object, schema) : [];
  if (found.length > 0 && !custom) throw undecodable(kind, found[0]!.message);
  const causes = [...metadataCauses(meta(object), kind), ...(custom ? found : builtInCauses(object, kind))];
  if (causes.length > 0) throw invalid(kinded(target, object), causes);
  if (JSON.stringify(object).length > MAX_STORED_BYTES) {
    throw new StatusError(500, "", "etcdserver: request is too large");
  }
}

function undecodable(kind: string, why: string): StatusError {
  return badRequest(`${kind} in version "v1" cannot be handled as a ${kind}: ${why}`);
}

function metadataCauses({ name, labels, annotations }: JsonObject, kind: string): Cause[] {
  const causes: Cause[] = [];
  const form = kind === "Namespace" ? DNS_LABEL : SUBDOMAIN;
  if (!name) {
    const message = "Required value: name or generateName is required";
    causes.push({ reason: "FieldValueRequired", message, field: "metadata.name" });
  } else if (!form.test(String(name)) || String(name).length > 253) {
    causes.push(refused("metadata.name", name, `a lowercase RFC 1123 name must match '${form.source}'`));
  }
  for (const [key, value] of Object.entries(labels ?? {})) {
    const [base = "", prefix = "prefix", ...more] = key.split("/").reverse();
    if (base === "" || !LABEL_VALUE.test(base) || !SUBDOMAIN.test(prefix) || more.length > 0) {
      causes.push(refused("metadata.labels", key, `name part must match '${LABEL_VALUE.source}'`));
    }
    if (!LABEL_VALUE.test(value)) {
      causes.push(refused("metadata.labels", value, `a valid label must match '${LABEL_VALUE.source}'`));
    }
  }
  const size = Object.entries(annotations ?? {}).flat().join("").length;
  return size > MAX_ANNOTATION_BYTES
    ? [...causes, tooLong("metadata.annotations", MAX_ANNOTATION_BYTES)]
    : causes;
}

function builtInCauses(object: JsonObject, kind: string): Cause[] {
  const metadata = meta(object);
  if (kind === "Secret" && isObject(object.stringData)) {
    const bytes = (text: Json) => String.fromCharCode(...new TextEncoder().encode(String(text)));
    const encoded = Object.entries(object.stringData).map(([key, value]) => [key, btoa(bytes(value))]);
    object.data = { ...(isObject(object.data) ? object.data : {}), ...Object.fromEntries(encoded) };
    delete object.stringData;
  } else if (kind === "Namespace") {
    metadata.labels = {
      ...(isObject(metadata.labels) ? metadata.labels : {}),
      "kubernetes.io/metadata.name": metadata.name!,
    };
    object.spec ??= { finalizers: ["kubernetes"] };
    object.status ??= { phase: "Active" };
  } else if (kind === "Event" && isObject(object.involvedObject)) {
    const { namespace = "default" } = object.involvedObject;
    if (namespace !== metadata.namespace) {
      return [refused("involvedObject.namespace", namespace, "does not match event.namespace")];
    }
  } else if (kind === "Lease" && isObject(object.spec)) {
    const { leaseDurationSeconds: seconds = 1 } = object.spec;
    if (Number(seconds) <= 0) {
      return [refused("spec.leaseDurationSeconds", seconds, "must be greater than 0")];
    }
  }
  return [];
}

function refused(field: string, value: Json, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}

function randomSuffix(): string {
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) => letters[byte % letters.length]).join(
    "",
  );
}

/** The time as Kubernetes writes it. */
export function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}
