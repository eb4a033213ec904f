/** A file of a tool's output as the payloads that its source's feed would hand to the pipeline. */
import { basename } from "node:path";
import type { Problem } from "../../filters/problem.ts";
import type { Payload } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import type { KubeObject } from "../../kube/api.ts";
import { type Documents, EMPTY_BODY, readDocuments, requestBodyOf } from "../../text/documents.ts";
import { configMapPayload } from "../../sources/feeds/configmap.ts";
import { objectPayload } from "../../sources/feeds/watch.ts";
import type { ConfigMapFeed, Feed } from "../../sources/source.ts";
import { beginsWithJsonLine, itemType, MAX_YAML_LENGTH, readYaml } from "./documents.ts";

/** What a file holds. */
export interface Payloads {
  readonly payloads: readonly Payload[];
  readonly errors: readonly PayloadError[];
  /** Objects that watch frames say are deleted: they report nothing any more. */
  readonly deleted: number;
}

interface ReadOptions {
  readonly feed: Feed;
  readonly receivedAt: number;
}

/** The payloads of a file, as the source's own feed would make them. */
export function readPayloads(
  { path, text }: { readonly path: string; readonly text: string },
  { feed, receivedAt }: ReadOptions,
): Payloads {
  const read = readValues(text);
  if (feed.type === "configmap") return configMapPayloads({ read, text, path }, { feed, receivedAt });
  return toPayloads(read, { feed, receivedAt });
}

/** A parsed value as a payload. */
export function valuePayloads(value: Json, { feed, receivedAt }: ReadOptions): Payloads {
  const read = { documents: [value], errors: [] };
  if (feed.type !== "configmap") return toPayloads(read, { feed, receivedAt });
  return configMapPayloads({ read, text: JSON.stringify(value), path: "input" }, { feed, receivedAt });
}

function toPayloads({ documents, errors }: Documents, { feed, receivedAt }: ReadOptions): Payloads {
  if (feed.type === "post") {
    const body = requestBodyOf({ documents, errors });
    if (body === undefined) {
      return { payloads: [], errors: errors.length > 0 ? errors : [EMPTY_BODY], deleted: 0 };
    }
    return { payloads: [{ body, origin: { confined: false }, receivedAt }], errors, deleted: 0 };
  }
  const objects: KubeObject[] = [];
  const all = [...errors];
  let deleted = 0;
  for (const document of documents) {
    for (const object of objectsIn(document)) {
      if (object === DELETED) deleted++;
      else if (isKubeObject(object)) objects.push(object);
      else all.push({ reason: "wrong_shape", path: "", message: "expected an object with metadata" });
    }
  }
  return { payloads: objects.map((object) => objectPayload(object, receivedAt)), errors: all, deleted };
}

/** ConfigMaps by their key; anything else is what a ConfigMap of the file's name holds. */
function configMapPayloads(
  { read, text, path }: { readonly read: Documents; readonly text: string; readonly path: string },
  { feed: { key, namespace: from }, receivedAt }: ReadOptions & { readonly feed: ConfigMapFeed },
): Payloads {
  const errors: PayloadError[] = [];
  const namespace = typeof from === "string" ? from : from.fallback;
  const objects = read.documents.flatMap((document) => [...objectsIn(document)]);
  const deleted = objects.filter((object) => object === DELETED).length;
  const configMaps = objects.filter(isKubeObject).filter((object) => object.kind === "ConfigMap");
  const named: KubeObject = {
    metadata: { name: basename(path).replace(/\.[a-z]+$/, ""), namespace },
    data: { [key]: text },
  };
  const payloads = (configMaps.length + deleted > 0 ? configMaps : [named]).flatMap((object) => {
    const result = configMapPayload(object, { key, receivedAt, onError: (error) => errors.push(error) });
    return result ? [result.payload] : [];
  });
  return { payloads, errors, deleted };
}

/** JSON as the server reads it, else YAML. */
function readValues(text: string): Documents {
  const json = readDocuments(text);
  if (json.errors.length === 0 || beginsWithJsonLine(text)) return json;
  // "not JSON" is not what is wrong with an object in YAML.
  const isObjectInYaml = text.includes("apiVersion:");
  if (text.length > MAX_YAML_LENGTH) return isObjectInYaml ? { documents: [], errors: [LONG_YAML] } : json;
  const yaml = readYaml(text);
  if (!yaml.ok) return isObjectInYaml ? { documents: [], errors: yaml.problems.map(unreadable) } : json;
  const documents = yaml.documents.map(({ value }) => toJson(value)).filter((value) => value !== null);
  return documents.some(isObject) ? { documents, errors: [] } : json;
}

const LONG_YAML: PayloadError = {
  reason: "unreadable",
  path: "",
  message: `it is YAML of more than ${MAX_YAML_LENGTH / 2 ** 20} MiB; write it as JSON (kubectl get -o json)`,
};

function unreadable({ position, message }: Problem): PayloadError {
  const path = position ? `line ${position.line}, column ${position.column}` : "";
  return { reason: "unreadable", path, message };
}

const DELETED = Symbol("deleted");

/** The objects in lists, arrays, maps of lists and watch frames, as a watch would show them. */
function* objectsIn(value: Json, inherited: JsonObject = {}): Generator<Json | typeof DELETED> {
  if (Array.isArray(value)) {
    for (const item of value) yield* objectsIn(item, inherited);
  } else if (!isObject(value)) yield value;
  else if (Array.isArray(value.items) && !isObject(value.spec)) {
    yield* objectsIn(value.items, itemType(value));
  } else if (typeof value.type === "string" && isObject(value.object) && !value.kind) {
    yield* objectsInFrame(value.type, value.object);
  } else if (isMapOfObjects(value)) { for (const item of Object.values(value)) yield* objectsIn(item); }
  else yield { ...inherited, ...value };
}

function* objectsInFrame(type: string, object: JsonObject): Generator<Json | typeof DELETED> {
  if (type === "DELETED") yield DELETED;
  // A Status of the API server is not an object of the watched kind.
  else if (type === "ERROR") yield null;
  else if (type !== "BOOKMARK") yield* objectsIn(object);
}

function isMapOfObjects(value: JsonObject): boolean {
  if (value.metadata !== undefined || value.kind !== undefined) return false;
  const members = Object.entries(value);
  // A bare array is a list of objects only under a `<plural>.<group>`.
  return members.length > 0 &&
    members.every(([key, member]) =>
      Array.isArray(member)
        ? key.includes(".")
        : isObject(member) && (isObject(member.metadata) || Array.isArray(member.items))
    );
}

function isKubeObject(value: unknown): value is KubeObject & JsonObject {
  return isObject(value) && isObject(value.metadata);
}

/** Makes of YAML's dates and the like the JSON that kubectl makes of them. */
function toJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value ?? null)) as Json;
}
