import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { badRequest, type Cause, failure, invalid, refused, StatusError } from "./errors.ts";
import { parse, sameJson } from "./json.ts";
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
  const given = parse(text, `${unrecognized}couldn't get version/kind; json parse error: `);
  const expected = apiVersion(group, version.name);
  const object = isObject(given) ? { ...(custom ? {} : { kind, apiVersion: expected }), ...given } : {};
  const metadata = meta(object);
  metadata.name ??= name ?? null;
  const problems: [boolean, string][] = [
    [!object.kind, `${unrecognized}Object 'Kind' is missing in '${text.slice(0, 100)}'`],
    [
      object.apiVersion !== expected,
      `the API version in the data (${object.apiVersion}) does not match the expected API version (${expected})`,
    ],
    [
      Boolean(namespace && metadata.namespace && metadata.namespace !== namespace),
      "the namespace of the provided object does not match the namespace sent on the request",
    ],
    [
      name !== undefined && metadata.name !== name,
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    ],
  ];
  for (const [isSo, message] of problems) if (isSo) throw badRequest(message);
  if (object.kind !== kind) throw invalid(target, [refused("kind", object.kind, `must be ${kind}`)]);
  if (namespace === undefined) delete metadata.namespace;
  else metadata.namespace = namespace;
  return object;
}

/** Makes a decoded object one that can be stored for the first time. */
export function prepareNew(object: JsonObject, target: Target): void {
  const { resource: { traits }, version } = target;
  const given = meta(object);
  if (given.resourceVersion) {
    throw new StatusError(500, "", "resourceVersion should not be set on objects to be created");
  }
  const generation = traits.includes("G") && { generation: 1 };
  object.metadata = {
    ...kept(given, WRITABLE_META),
    uid: crypto.randomUUID(),
    creationTimestamp: now(),
    ...generation,
  };
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
  const next: JsonObject = structuredClone({
    ...rest,
    ...(nextStatus !== undefined && { status: nextStatus }),
  });
  const writable = kept(target.subresource ? was : given, WRITABLE_META);
  next.metadata = { ...writable, ...kept(was, [...SERVER_META, "resourceVersion"]) };
  complete(next, target);
  if (sameJson(next, current)) return current;
  const spec = ({ metadata: _, status, ...rest }: JsonObject) =>
    hasStatus ? rest : { ...rest, status: status ?? null };
  if (was.generation && !sameJson(spec(next), spec(current))) {
    meta(next).generation = Number(was.generation) + 1;
  }
  return next;
}

/** The given fields of metadata, less those that hold nothing. */
function kept(metadata: JsonObject, keys: readonly string[]): JsonObject {
  const isEmpty = (value: Json) =>
    value === null || (typeof value === "object" && Object.keys(value).length === 0);
  const entries = keys.map((key) => [key, metadata[key] ?? null] as const);
  return Object.fromEntries(entries.filter(([, value]) => !isEmpty(value)));
}

function complete(object: JsonObject, target: Target): void {
  const { resource: { kind, custom }, version } = target;
  const schema = version.schema?.openAPIV3Schema;
  const { labels, annotations } = meta(object);
  const texts = [...Object.values(labels ?? {}), ...Object.values(annotations ?? {})];
  if (schema) normalizeObject(object, schema);
  const found = schema ? violations(object, schema) : [];
  const wrongType = texts.some((text) => typeof text !== "string")
    ? "metadata values must be strings"
    : undefined;
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
    causes.push(
      refused("metadata.labels", isKey ? value : key, `a valid label must match '${LABEL_VALUE.source}'`),
    );
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
    object.data = { ...(isObject(object.data) && object.data), ...Object.fromEntries(encoded) };
    delete object.stringData;
  } else if (kind === "Namespace") {
    metadata.labels = {
      ...(isObject(metadata.labels) && metadata.labels),
      "kubernetes.io/metadata.name": metadata.name!,
    };
    object.spec ??= { finalizers: ["kubernetes"] };
    object.status ??= { phase: "Active" };
  } else if (kind === "Event" && isObject(object.involvedObject)) {
    const { namespace = "default" } = object.involvedObject;
    if (namespace !== metadata.namespace) {
      return [refused("involvedObject.namespace", namespace, "does not match event.namespace")];
    }
  } else if (
    kind === "Lease" && isObject(object.spec) && Number(object.spec.leaseDurationSeconds ?? 1) <= 0
  ) {
    return [refused("spec.leaseDurationSeconds", object.spec.leaseDurationSeconds, "must be greater than 0")];
  }
  return [];
}

/** Five characters for a generated name. */
export function randomSuffix(): string {
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) => letters[byte % letters.length]).join(
    "",
  );
}

/** The time as Kubernetes writes it. */
export function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}
