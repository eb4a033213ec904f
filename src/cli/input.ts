/** Files as people have them: JSON, YAML, NDJSON, values one after another, one object or a List. */
import { basename } from "node:path";
import { type Problem } from "../filters/problem.ts";
import {
  readDocuments as readTextDocuments,
  type TextDocument,
  type TextResult,
} from "../filters/config_text.ts";
import type { Payload } from "../model/event.ts";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { parseJsonDocuments } from "../text/parse_json.ts";
import type { KubeObject } from "../kube/api.ts";
import { objectPayload } from "../sources/active.ts";
import { type Documents, EMPTY_BODY, readDocuments, requestBodyOf } from "../text/documents.ts";
import { configMapPayload } from "../sources/feeds/configmap.ts";
import type { SourceDefinition } from "../sources/source.ts";

/** Longest file the commands take, in UTF-16 units. */
const MAX_FILE_LENGTH = 64 * 1024 * 1024;

/** A file as its source's driver would hand it to the pipeline. */
export interface Payloads {
  readonly payloads: readonly Payload[];
  readonly errors: readonly PayloadError[];
  /** Objects that watch frames tell as deleted: they report nothing any more. */
  readonly deleted: number;
}

/** The documents of a configuration file, each with its places. NDJSON and concatenated JSON too. */
export function readConfig(
  text: string,
): { readonly documents: readonly TextDocument[]; readonly problems: readonly Problem[] } {
  const whole = readTextDocuments(text);
  if (whole.ok) return { documents: whole.documents.filter(({ value }) => value !== null), problems: [] };
  const lines = isNdjson(text) ? text.split("\n") : [];
  const documents: TextDocument[] = [];
  for (const [index, line] of lines.entries()) {
    // Empty lines before keep the line numbers right.
    const read = line.trim() === "" ? undefined : readTextDocuments("\n".repeat(index) + line);
    if (read?.ok) documents.push(...read.documents);
    else if (read) return { documents: [], problems: read.problems };
  }
  return documents.length > 0 ? { documents, problems: [] } : { documents: [], problems: whole.problems };
}

/** A payload's file as the driver of `definition` would hand it in. */
export function readPayloads(
  { path, text }: { readonly path: string; readonly text: string },
  { definition, receivedAt }: { readonly definition: SourceDefinition; readonly receivedAt: number },
): Payloads {
  if (text.length > MAX_FILE_LENGTH) {
    return { payloads: [], errors: [unreadable(`more than ${MAX_FILE_LENGTH} characters`)], deleted: 0 };
  }
  const { input } = definition;
  const read = readValues(text);
  if (input.type === "configmap") {
    return configMapPayloads({ read, text, path }, { input, receivedAt });
  }
  return toPayloads(read, { definition, receivedAt });
}

/** A value that is at hand already, as a payload. */
export function valuePayloads(
  value: Json,
  { definition, receivedAt }: { readonly definition: SourceDefinition; readonly receivedAt: number },
): Payloads {
  const { input } = definition;
  if (input.type !== "configmap") {
    return toPayloads({ documents: [value], errors: [] }, { definition, receivedAt });
  }
  const text = JSON.stringify(value);
  return configMapPayloads({ read: { documents: [value], errors: [] }, text, path: "input" }, {
    input,
    receivedAt,
  });
}

function toPayloads(
  { documents, errors }: Documents,
  { definition, receivedAt }: { readonly definition: SourceDefinition; readonly receivedAt: number },
): Payloads {
  if (definition.input.type === "webhook") {
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
  // Events alone may speak of any resource (SPEC section 13).
  const payloads = objects.map((object) =>
    objectPayload(object, { confined: object.kind !== "Event", receivedAt })
  );
  return { payloads, errors: all, deleted };
}

/** ConfigMaps by their key; anything else is what a ConfigMap of the file's name holds. */
function configMapPayloads(
  { read, text, path }: { readonly read: Documents; readonly text: string; readonly path: string },
  { input, receivedAt }: {
    readonly input: Extract<SourceDefinition["input"], { type: "configmap" }>;
    readonly receivedAt: number;
  },
): Payloads {
  const errors: PayloadError[] = [];
  const toPayload = configMapPayload({
    key: input.key,
    now: () => receivedAt,
    onError: (error) => errors.push(error),
  });
  const objects = read.documents.flatMap((document) => [...objectsIn(document)]);
  const deleted = objects.filter((object) => object === DELETED).length;
  const configMaps = objects.filter(isKubeObject).filter((object) => object.kind === "ConfigMap");
  const named: KubeObject = {
    metadata: { name: basename(path).replace(/\.[a-z]+$/, ""), namespace: input.namespace },
    data: { [input.key]: text },
  };
  const payloads = (configMaps.length + deleted > 0 ? configMaps : [named]).flatMap((object) => {
    const result = toPayload(object);
    return result ? [result.payload] : [];
  });
  return { payloads, errors, deleted };
}

/** JSON as the server reads it; what is none is tried as YAML. */
function readValues(text: string): Documents {
  const json = readDocuments(text);
  if (json.errors.length === 0 || isNdjson(text)) return json;
  const yaml = readYaml(text);
  // What is wrong with an object in YAML is not that it is no JSON.
  if (!yaml.ok) return text.includes("apiVersion:") ? { documents: [], errors: told(yaml.problems) } : json;
  const documents = yaml.documents.map(({ value }) => toJson(value)).filter((value) => value !== null);
  return documents.some(isObject) ? { documents, errors: [] } : json;
}

function told(problems: readonly Problem[]): PayloadError[] {
  return problems.map(({ position, message }) => ({
    reason: "unreadable",
    path: position ? `line ${position.line}, column ${position.column}` : "",
    message,
  }));
}

/** Rounds in which lines are moved: text folded over more lines than this is no tool's. */
const MAX_REPAIRS = 20;

/**
 * YAML as kubectl takes it: a quoted text may go on at its key's own indentation, where the letter of the standard
 * wants it deeper. White space before such a line is no part of the text.
 */
export function readYaml(text: string): TextResult {
  let read = readTextDocuments(text, MAX_FILE_LENGTH);
  const lines = text.split("\n");
  for (let round = 0; round < MAX_REPAIRS && !read.ok; round++) {
    const shallow = read.problems.filter(({ message }) => message.startsWith("missing closing"));
    if (shallow.length === 0) break;
    for (const { position } of shallow) {
      const next = position?.line ?? lines.length;
      if (next < lines.length) lines[next] = DEEPER + lines[next];
    }
    const again = readTextDocuments(lines.join("\n"), MAX_FILE_LENGTH);
    if (again.ok) return again;
    read = again;
  }
  return read;
}

/** Deeper than any object of Kubernetes is indented. */
const DEEPER = " ".repeat(120);

const DELETED = Symbol("deleted");

/** The objects of lists, arrays, maps of lists and watch frames, as a watch would tell them. */
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
  // The server's own complaint is no object of the watched kind.
  else if (type === "ERROR") yield null;
  else if (type !== "BOOKMARK") yield* objectsIn(object);
}

/** Items of a typed list lack their own kind. */
export function itemType({ kind, apiVersion }: JsonObject): JsonObject {
  if (typeof kind !== "string" || !kind.endsWith("List") || kind === "List") return {};
  return { kind: kind.slice(0, -"List".length), ...(typeof apiVersion === "string" && { apiVersion }) };
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

function isNdjson(text: string): boolean {
  const first = text.trimStart().split("\n", 1)[0] ?? "";
  const [parsed] = parseJsonDocuments(first);
  return parsed?.ok === true && typeof parsed.value === "object";
}

function unreadable(message: string): PayloadError {
  return { reason: "unreadable", path: "", message };
}

/** YAML's dates and the like become the JSON that kubectl makes of them. */
function toJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value ?? null)) as Json;
}
