/** Result documents in ConfigMaps, as tools write them: one, several, after log lines, compressed, or the ConfigMap itself. */
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import { errorMessage } from "../model/error_message.ts";
import type { Payload } from "../model/event.ts";
import {
  at,
  type Field,
  isObject,
  type Json,
  type JsonObject,
  list,
  shapeOf,
  textAt,
} from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { runSteps } from "../model/turns.ts";
import { bytesOf, payloadErrorsOf, scanJson, wholeOf } from "../text/json.ts";
import { unread } from "./source.ts";
import { joined } from "./objects.ts";

/** The key of the ConfigMap that holds results. */
export const RESULTS_KEY = "results.json";

/** Longest text of a ConfigMap's key, decompressed: etcd holds a MiB of it as it is, gzip up to a thousand times that. */
export const MAX_CONFIG_MAP_TEXT_BYTES = 16 * 2 ** 20;
/** Longest text that is read from a pushed ConfigMap: etcd does not store a longer one. */
const MAX_PUSHED_BYTES = 2 ** 20;

/** The fields of the object that holds a document, as far as sources read them. */
export interface Holder {
  readonly name: string;
  readonly labels: Field;
  readonly annotations: Field;
}

/** A document and the object that holds it, or why it cannot be read. */
export type FoundDocument =
  | { readonly document: Json; readonly path: string; readonly holder: Holder }
  | { readonly error: PayloadError };

/** Documents in a payload: parsed ones, text, a ConfigMap, a list of ConfigMaps. */
export function* documentsIn({ body, origin }: Payload): Generator<FoundDocument> {
  const holder = {
    name: origin.name ?? "",
    labels: { ...origin.labels },
    annotations: { ...origin.annotations },
  };
  const objects = isListOfConfigMaps(body) ? list(at(body, "items")) : [body];
  for (const [index, object] of objects.entries()) {
    const path = object === body ? "" : `items[${index}]`;
    if (isConfigMap(object)) yield* inConfigMap(object, path);
    else if (typeof object === "string") yield* inText(object, { path, holder });
    else yield { document: object, path, holder };
  }
}

function isListOfConfigMaps(body: Json): boolean {
  const items = at(body, "items");
  return textAt(body, "kind").endsWith("List") && Array.isArray(items) && items.every(isConfigMapLike);
}

/** Items of a typed list have no kind. */
function isConfigMapLike(item: Json): boolean {
  return isConfigMap(item) || (isObject(at(item, "metadata")) && isObject(at(item, "data")));
}

function isConfigMap(object: Json): object is JsonObject {
  return isObject(object) && (textAt(object, "kind") === "ConfigMap" || isConfigMapData(object));
}

function isConfigMapData(object: JsonObject): boolean {
  return isObject(at(object, "metadata")) &&
    ["data", "binaryData"].some((part) => at(object, part, RESULTS_KEY) !== undefined);
}

function* inConfigMap(object: JsonObject, path: string): Generator<FoundDocument> {
  const read = keyBytes(object, { key: RESULTS_KEY, maxBytes: MAX_PUSHED_BYTES });
  const resultsPath = joined(path, `${read.field}["${RESULTS_KEY}"]`);
  if (!read.ok) {
    yield unread(read.reason, resultsPath, read.message);
    return;
  }
  const holder = {
    name: textAt(object, "metadata", "name"),
    labels: at(object, "metadata", "labels"),
    annotations: at(object, "metadata", "annotations"),
  };
  yield* inBytes(read.bytes, { path: resultsPath, holder });
}

/** The results of a ConfigMap that the API server holds, as long as its feed reads them; undefined where they cannot be read. */
export function storedResults(configMap: Json): Json | undefined {
  const read = keyBytes(configMap, { key: RESULTS_KEY, maxBytes: MAX_CONFIG_MAP_TEXT_BYTES });
  return read.ok ? wholeOf(scanJson(read.bytes, { from: logLinesEnd(read.bytes) })) : undefined;
}

interface TextContext {
  readonly path: string;
  readonly holder: Holder;
}

function* inText(text: string, context: TextContext): Generator<FoundDocument> {
  const bytes = bytesOf(text);
  if (bytes.length <= MAX_PUSHED_BYTES) yield* inBytes(bytes, context);
  else yield unread("too_large", context.path, `longer than ${MAX_PUSHED_BYTES} bytes`);
}

function* inBytes(bytes: Uint8Array, { path, holder }: TextContext): Generator<FoundDocument> {
  const scanned = scanJson(bytes, { from: logLinesEnd(bytes) });
  for (const [index, part] of scanned.parts.entries()) {
    yield { document: part.read(), path: scanned.parts.length === 1 ? path : `${path}[${index}]`, holder };
  }
  for (const error of payloadErrorsOf(scanned)) {
    yield unread(error.reason, `${path} (${error.path})`, error.message);
  }
}

const LINE_FEED = 10, OPEN_ARRAY = 91, OPEN_OBJECT = 123;
/** A line that begins with one of these is plain text, not JSON. */
const PLAIN_WORDS = ["[INFO]", "[WARN]", "[PASS]", "[FAIL]"].map((word) => new TextEncoder().encode(word));

/** Bytes that are searched in one step. */
const SLICE_BYTES = 256 * 1024;

/** Offset at which the results begin: in a Pod's log, lines of klog come first. 0 if no line begins a document. */
export function logLinesEnd(bytes: Uint8Array): number {
  return runSteps(logLineSteps(bytes));
}

/** The same, a slice of a quarter of a MiB at each step. */
export function* logLineSteps(bytes: Uint8Array): Generator<undefined, number> {
  const position: LinePosition = { index: 0, lineStart: 0, isIndent: true };
  while (position.index < bytes.length) {
    if (isFound(bytes, position)) return position.lineStart;
    yield;
  }
  return 0;
}

interface LinePosition {
  index: number;
  lineStart: number;
  isIndent: boolean;
}

/** Searches one slice. True if the line at `lineStart` begins a document. */
function isFound(bytes: Uint8Array, position: LinePosition): boolean {
  const end = Math.min(position.index + SLICE_BYTES, bytes.length);
  let { lineStart, isIndent } = position;
  let found = false;
  let index = position.index;
  for (; index < end && !found; index++) {
    const byte = bytes[index] ?? 0;
    if (byte === LINE_FEED) {
      lineStart = index + 1;
      isIndent = true;
    } else if (isIndent && byte > 32) {
      const isPlain = byte === OPEN_ARRAY &&
        PLAIN_WORDS.some((word) => word.every((letter, at) => bytes[index + at] === letter));
      found = byte === OPEN_OBJECT || (byte === OPEN_ARRAY && !isPlain);
      isIndent = false;
    }
  }
  position.index = index;
  position.lineStart = lineStart;
  position.isIndent = isIndent;
  return found;
}

/** The bytes under a key of a ConfigMap, or why they cannot be read. */
export type KeyBytes =
  & { readonly field: "data" | "binaryData" }
  & (
    | { readonly ok: true; readonly bytes: Uint8Array }
    | ({ readonly ok: false } & Pick<PayloadError, "reason" | "message">)
  );

/** The bytes of a key: of `data`, else of `binaryData`, which may be compressed by gzip. */
export function keyBytes(
  object: Json,
  { key, maxBytes }: { readonly key: string; readonly maxBytes: number },
): KeyBytes {
  const text = at(object, "data", key);
  const binary = text === undefined ? at(object, "binaryData", key) : undefined;
  const field = binary === undefined ? "data" : "binaryData";
  const given = binary ?? text;
  if (given === undefined) {
    return { ok: false, field, reason: "missing_field", message: `the ConfigMap has no key "${key}"` };
  }
  if (typeof given !== "string") {
    const message = `expected JSON as a string, received ${shapeOf(given)}`;
    return { ok: false, field, reason: "missing_field", message };
  }
  try {
    const bytes = binary === undefined
      ? bytesOf(given)
      : bytesOf(decompressed(Buffer.from(given, "base64"), maxBytes));
    if (binary !== undefined && !isText(bytes)) {
      return { ok: false, field, reason: "unreadable", message: NO_TEXT };
    }
    if (bytes.length <= maxBytes) return { ok: true, field, bytes };
  } catch (error) {
    if (!(error instanceof RangeError)) {
      return { ok: false, field, reason: "unreadable", message: `gzip: ${errorMessage(error)}` };
    }
  }
  return { ok: false, field, reason: "too_large", message: `longer than ${maxBytes} bytes` };
}

const NO_TEXT =
  "no text: neither UTF-8, UTF-16 with a byte order mark, nor one of these in gzip. Save it as UTF-8";
/** Bytes of a text that are looked at. */
const START = 64;

/** False for another compression, and for UTF-16 without a mark, by how they begin. */
function isText(bytes: Uint8Array): boolean {
  const start = bytes.subarray(0, START);
  if (start.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Throws a RangeError if the result is longer than `maxBytes`. */
function decompressed(bytes: Uint8Array, maxBytes: number): Uint8Array {
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return isGzip ? gunzipSync(bytes, { maxOutputLength: maxBytes }) : bytes;
}
