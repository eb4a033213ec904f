/** A file of a tool's output as the payloads that its source's feed would hand to the pipeline. */
import { MAX_CONFIG_MAP_TEXT_BYTES } from "../../sources/config_maps.ts";
import { basename } from "node:path";
import type { Problem } from "../../text/problem.ts";
import type { Payload } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { isKubeObject, type KubeObject } from "../../kube/api.ts";
import { createTextLimits, NO_LIMITS } from "../../pipeline/limits.ts";
import { type JsonLists, payloadErrorsOf, scanJson } from "../../text/json.ts";
import { configMapPayload, objectPayload } from "../../sources/feeds/pulled.ts";
import type { ConfigMapFeed, Feed } from "../../sources/source.ts";
import { beginsWithJsonLine, itemType, MAX_YAML_LENGTH, mayBeYaml, readYaml } from "./documents.ts";

/** What a file holds. */
export interface Payloads {
  readonly payloads: readonly Payload[];
  readonly errors: readonly PayloadError[];
  /** Objects that watch frames say are deleted: they report nothing any more. */
  readonly deleted: number;
}

interface ReadOptions {
  readonly feed: Feed;
  /** How lists in what is posted are split. */
  readonly lists: JsonLists;
  readonly receivedAt: number;
}

/** The values of a text, and what is wrong in it. */
interface Documents {
  readonly documents: readonly Json[];
  readonly errors: readonly PayloadError[];
}

const NEVER = new AbortController().signal;

/** The payloads of a file, as the source's own feed would make them. */
export async function readPayloads(
  { path, text }: { readonly path: string; readonly text: string },
  options: ReadOptions,
): Promise<Payloads> {
  const { feed } = options;
  if (feed.type === "post") {
    const payloads = bodyPayloads(text, options);
    const isJson = payloads.errors.every(({ reason }) => reason !== "unreadable");
    if (isJson || beginsWithJsonLine(text)) return payloads;
  }
  const read = readValues(text);
  if (feed.type === "configmap") return await configMapPayloads({ read, text, path }, { ...options, feed });
  return toPayloads(read, options);
}

/** The text as a request's body. */
function bodyPayloads(text: string, { lists, receivedAt }: ReadOptions): Payloads {
  const scanned = scanJson(text, { lists });
  const payloads = scanned.tooMany ? [] : scanned.parts.map((part) => ({
    body: part.read(),
    path: part.path,
    origin: { confined: false },
    receivedAt,
  }));
  return { payloads, errors: payloadErrorsOf(scanned), deleted: 0 };
}

/** A parsed value as a payload. */
export async function valuePayloads(value: Json, options: ReadOptions): Promise<Payloads> {
  const { feed } = options;
  const read = { documents: [value], errors: [] };
  if (feed.type !== "configmap") return toPayloads(read, options);
  return await configMapPayloads({ read, text: JSON.stringify(value), path: "input" }, { ...options, feed });
}

function toPayloads({ documents, errors }: Documents, options: ReadOptions): Payloads {
  const { feed, receivedAt } = options;
  if (feed.type === "post") {
    if (errors.length > 0) return { payloads: [], errors, deleted: 0 };
    return bodyPayloads(JSON.stringify(documents.length === 1 ? documents[0] : documents), options);
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
async function configMapPayloads(
  { read, text, path }: { readonly read: Documents; readonly text: string; readonly path: string },
  { feed: { key, namespace: from }, receivedAt }: ReadOptions & { readonly feed: ConfigMapFeed },
): Promise<Payloads> {
  const errors: PayloadError[] = [];
  const namespace = typeof from === "string" ? from : from.fallback;
  const objects = read.documents.flatMap((document) => [...objectsIn(document)]);
  const deleted = objects.filter((object) => object === DELETED).length;
  const configMaps = objects.filter(isKubeObject<KubeObject & JsonObject>).filter((object) =>
    object.kind === "ConfigMap"
  );
  const named: KubeObject = {
    metadata: { name: basename(path).replace(/\.[a-z]+$/, ""), namespace },
    data: { [key]: text },
  };
  const limits = createTextLimits({ maxBytes: MAX_CONFIG_MAP_TEXT_BYTES, memoryBytes: Infinity });
  const payloads: Payload[] = [];
  for (const object of configMaps.length + deleted > 0 ? configMaps : [named]) {
    const found = await configMapPayload(object, {
      key,
      receivedAt,
      limits,
      slices: NO_LIMITS.slices,
      signal: NEVER,
      onError: (error) => errors.push(error),
    });
    if (found) payloads.push(found.payload);
    found?.share?.[Symbol.dispose]();
  }
  return { payloads, errors, deleted };
}

/** JSON as the server reads it, else YAML. */
function readValues(text: string): Documents {
  const whole = scanJson(text);
  // A large list is parsed item by item. Items of a typed list name no kind then, and are refused as such.
  const isTooLarge = whole.errors.some(({ reason }) => reason === "too_large");
  const scanned = isTooLarge ? scanJson(text, { lists: "items" }) : whole;
  const json = { documents: scanned.parts.map((part) => part.read()), errors: payloadErrorsOf(scanned) };
  const isJson = json.errors.every(({ reason }) => reason !== "unreadable");
  if (isJson || beginsWithJsonLine(text) || !mayBeYaml(text)) return json;
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

/** Makes of YAML's dates and the like the JSON that kubectl makes of them. */
function toJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value ?? null)) as Json;
}
