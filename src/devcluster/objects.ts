import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { badRequest, type Cause, conflict, invalid, type Named, StatusError } from "./errors.ts";
import { sameJson } from "./patch.ts";
import { apiVersion, type Resource, type Version } from "./resources.ts";
import { normalizeObject, violations } from "./schema.ts";

/** What a request speaks of: one resource in one version, and where. */
export interface Target {
  readonly resource: Resource;
  readonly version: Version;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
}

const SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
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
export function kinded({ resource }: Target, object: JsonObject): Named {
  return { group: resource.group, kind: resource.kind, name: String(meta(object).name ?? "") };
}

/** An object's metadata; made where there is none. */
export function meta(object: JsonObject): JsonObject {
  return isObject(object.metadata) ? object.metadata : object.metadata = {};
}

/** Parses a request body as an object of the target's kind, apiVersion and kind checked. */
export function decode(text: string, target: Target): JsonObject {
  const { resource, version } = target;
  const unrecognized = `the object provided is unrecognized (must be of type ${resource.kind}): `;
  let object: Json;
  try {
    object = JSON.parse(text);
  } catch (error) {
    throw badRequest(
      `${unrecognized}couldn't get version/kind; json parse error: ${(error as Error).message}`,
    );
  }
  if (!isObject(object)) throw badRequest(`${unrecognized}expected an object`);
  const expected = apiVersion(resource.group, version.name);
  if (!resource.custom) {
    object.kind ??= resource.kind;
    object.apiVersion ??= expected;
  }
  if (!object.kind) throw badRequest(`${unrecognized}Object 'Kind' is missing in '${text.slice(0, 100)}'`);
  if (object.apiVersion !== expected) {
    const given = `the API version in the data (${object.apiVersion ?? ""})`;
    throw badRequest(`${given} does not match the expected API version (${expected})`);
  }
  if (object.kind !== resource.kind) {
    const message = `Invalid value: ${JSON.stringify(object.kind)}: must be ${resource.kind}`;
    const what = { ...kinded(target, object), kind: String(object.kind) };
    throw invalid(what, [{ reason: "FieldValueInvalid", message, field: "kind" }]);
  }
  checkPlace(object, target);
  return object;
}

function checkPlace(object: JsonObject, { namespace, name }: Target): void {
  const metadata = meta(object);
  for (const field of ["labels", "annotations"]) {
    if (!isObject(metadata[field])) continue;
    if (Object.values(metadata[field]).every((value) => typeof value === "string")) continue;
    throw badRequest(
      `json: cannot unmarshal into Go struct field ObjectMeta.metadata.${field} of type string`,
    );
  }
  if (namespace !== undefined && metadata.namespace && metadata.namespace !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  if (namespace !== undefined) metadata.namespace = namespace;
  else delete metadata.namespace;
  if (name === undefined) return;
  metadata.name ??= name;
  if (metadata.name === name) return;
  throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${name})`);
}

/** Makes a decoded object one that can be stored for the first time. */
export function prepareNew(object: JsonObject, target: Target): void {
  const { resource, version } = target;
  const given = meta(object);
  if (given.resourceVersion) {
    throw new StatusError(500, "", "resourceVersion should not be set on objects to be created");
  }
  if (!given.name && typeof given.generateName === "string" && given.generateName) {
    given.name = given.generateName.slice(0, 58) + randomSuffix();
  }
  const kept = WRITABLE_META.filter((key) => given[key] !== undefined && given[key] !== null);
  object.metadata = {
    ...Object.fromEntries(kept.map((key) => [key, given[key]!])),
    uid: crypto.randomUUID(),
    creationTimestamp: now(),
    ...(resource.hasGeneration ? { generation: 1 } : {}),
  };
  if (version.hasStatus) delete object.status;
  complete(object, target);
}

/** The next state of a stored object, from what a client proposes; the stored one itself where nothing changes. */
export function prepareUpdate(current: JsonObject, proposed: JsonObject, target: Target): JsonObject {
  const { resource, version, subresource } = target;
  const [was, given] = [meta(current), meta(proposed)];
  if (given.resourceVersion && given.resourceVersion !== was.resourceVersion) {
    const why = "the object has been modified; please apply your changes to the latest version and try again";
    throw conflict(named(target), why);
  }
  if (given.uid && given.uid !== was.uid) {
    const message = `Invalid value: ${JSON.stringify(given.uid)}: field is immutable`;
    throw invalid(kinded(target, current), [{ reason: "FieldValueInvalid", message, field: "metadata.uid" }]);
  }
  const next = subresource === "status" ? { ...current } : { ...proposed };
  if (version.hasStatus) {
    const status = subresource === "status" ? proposed.status : current.status;
    if (status === undefined) delete next.status;
    else next.status = status;
  }
  const kept = (from: JsonObject, keys: string[]) =>
    keys.filter((key) => from[key] !== undefined && from[key] !== null).map((key) => [key, from[key]!]);
  const writable = kept(subresource ? was : given, WRITABLE_META);
  const metadata: JsonObject = {
    ...Object.fromEntries(writable),
    ...Object.fromEntries(kept(was, SERVER_META)),
  };
  next.metadata = { ...metadata, resourceVersion: was.resourceVersion! };
  complete(next, target);
  if (sameJson(next, current)) return current;
  if (resource.hasGeneration && !sameJson(desired(next, target), desired(current, target))) {
    metadata.generation = Number(was.generation) + 1;
  }
  next.metadata = metadata;
  return next;
}

function desired({ metadata: _, status, ...rest }: JsonObject, { version }: Target): JsonObject {
  return version.hasStatus || status === undefined ? rest : { ...rest, status };
}

function complete(object: JsonObject, target: Target): void {
  const { resource, version: { schema } } = target;
  if (schema) normalizeObject(object, schema);
  const causes = metadataCauses(object, resource);
  const found = schema ? violations(object, schema) : [];
  if (found.length > 0 && !resource.custom) {
    const message = `${resource.kind} in version "v1" cannot be handled as a ${resource.kind}: ${
      found[0]!.message
    }`;
    throw badRequest(message);
  }
  causes.push(...found, ...(resource.custom ? [] : builtInCauses(object, resource)));
  if (causes.length > 0) throw invalid(kinded(target, object), causes);
  if (JSON.stringify(object).length > MAX_STORED_BYTES) {
    throw new StatusError(500, "", "etcdserver: request is too large");
  }
}

function metadataCauses(object: JsonObject, { kind }: Resource): Cause[] {
  const { name, labels, annotations } = meta(object);
  const causes: Cause[] = [];
  const [pattern, max] = kind === "Namespace" ? [LABEL, 63] : [SUBDOMAIN, 253];
  if (!name) {
    const message = "Required value: name or generateName is required";
    causes.push({ reason: "FieldValueRequired", message, field: "metadata.name" });
  } else if (typeof name !== "string" || name.length > max || !new RegExp(`^${pattern}$`).test(name)) {
    causes.push(
      refused(
        "metadata.name",
        name,
        `a lowercase RFC 1123 ${kind === "Namespace" ? "label" : "subdomain"} \
must consist of lower case alphanumeric characters, '-' or '.' (regex used for validation is '${pattern}')`,
      ),
    );
  }
  for (const [key, value] of Object.entries(isObject(labels) ? labels : {})) {
    const [, prefix, base] = /^(?:(.*)\/)?(.*)$/.exec(key)!;
    const legalKey = new RegExp(`^${LABEL_VALUE}$`).test(base!) && base !== "" && base!.length <= 63;
    if (!legalKey || (prefix !== undefined && !new RegExp(`^${SUBDOMAIN}$`).test(prefix))) {
      causes.push(
        refused("metadata.labels", key, "name part must consist of alphanumeric characters, '-', '_' or '.'"),
      );
    }
    if (!new RegExp(`^${LABEL_VALUE}$`).test(String(value)) || String(value).length > 63) {
      causes.push(refused(
        "metadata.labels",
        value,
        `a valid label must be an empty string or consist of \
alphanumeric characters, '-', '_' or '.', at most 63 (regex used for validation is '${LABEL_VALUE}')`,
      ));
    }
  }
  const size = Object.entries(annotations ?? {}).reduce(
    (sum, [key, value]) => sum + key.length + value.length,
    0,
  );
  if (size > MAX_ANNOTATION_BYTES) {
    const message = `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`;
    causes.push({ reason: "FieldValueTooLong", message, field: "metadata.annotations" });
  }
  return causes;
}

function builtInCauses(object: JsonObject, { kind }: Resource): Cause[] {
  const metadata = meta(object);
  if (kind === "Secret" && isObject(object.stringData)) {
    const encoded = Object.entries(object.stringData).map(([key, value]) => [key, base64(String(value))]);
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
    const namespace = object.involvedObject.namespace ?? "default";
    if (namespace !== metadata.namespace) {
      return [refused("involvedObject.namespace", namespace, "does not match event.namespace")];
    }
  } else if (kind === "Lease" && isObject(object.spec)) {
    const seconds = object.spec.leaseDurationSeconds;
    if (typeof seconds === "number" && seconds <= 0) {
      return [refused("spec.leaseDurationSeconds", seconds, "must be greater than 0")];
    }
  }
  return [];
}

function refused(field: string, value: Json, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
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
