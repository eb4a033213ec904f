/** Result documents in ConfigMaps, as tools write them: one, several, after log lines, or the ConfigMap itself. */
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import type { Payload } from "../model/event.ts";
import { readDocuments } from "../text/documents.ts";
import { at, type Field, list, shapeOf, textAt, unread } from "./read.ts";
import { joined } from "./reports.ts";

/** The key of the ConfigMap that holds results. */
export const RESULTS_KEY = "results.json";

/** The object a document came in, as far as sources read it. */
export interface Holder {
  readonly name: string;
  readonly labels: Field;
  readonly annotations: Field;
}

/** A document and the object it came in, or why there is none. */
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

/** Items of a typed list carry no kind. */
function isConfigMapLike(item: Json): boolean {
  return isConfigMap(item) || (isObject(at(item, "metadata")) && isObject(at(item, "data")));
}

function isConfigMap(object: Json): object is JsonObject {
  return isObject(object) && (textAt(object, "kind") === "ConfigMap" || isConfigMapData(object));
}

function isConfigMapData(object: JsonObject): boolean {
  return isObject(at(object, "metadata")) && at(object, "data", RESULTS_KEY) !== undefined;
}

function* inConfigMap(object: JsonObject, path: string): Generator<FoundDocument> {
  const results = at(object, "data", RESULTS_KEY);
  const resultsPath = joined(path, `data["${RESULTS_KEY}"]`);
  if (typeof results !== "string") {
    yield unread("missing_field", resultsPath, `expected JSON as a string, received ${shapeOf(results)}`);
    return;
  }
  const holder = {
    name: textAt(object, "metadata", "name"),
    labels: at(object, "metadata", "labels"),
    annotations: at(object, "metadata", "annotations"),
  };
  yield* inText(results, { path: resultsPath, holder });
}

interface TextContext {
  readonly path: string;
  readonly holder: Holder;
}

function* inText(text: string, { path, holder }: TextContext): Generator<FoundDocument> {
  const { documents, errors } = readDocuments(withoutLogLines(text));
  for (const [index, document] of documents.entries()) {
    yield { document, path: documents.length === 1 ? path : `${path}[${index}]`, holder };
  }
  for (const error of errors) yield unread(error.reason, `${path} (${error.path})`, error.message);
  if (documents.length + errors.length === 0) yield unread("unreadable", path, "the text is empty");
}

/** Results taken from a Pod's log begin with what klog wrote before them. Lines keep their numbers. */
export function withoutLogLines(text: string): string {
  let start = 0;
  let lines = 0;
  while (start < text.length) {
    const end = text.indexOf("\n", start);
    const lineEnd = end < 0 ? text.length : end;
    if (opensDocument(text, start, lineEnd)) return "\n".repeat(lines) + text.slice(start);
    start = lineEnd + 1;
    lines++;
  }
  return text;
}

/** True where the first character of the line is a bracket, and the line is no `[INFO] …` of a plain-text report. */
function opensDocument(text: string, start: number, end: number): boolean {
  const line = text.slice(start, Math.min(end, start + 200)).trimStart();
  if (line.startsWith("{")) return true;
  return line.startsWith("[") &&
    !["[INFO]", "[WARN]", "[PASS]", "[FAIL]"].some((word) => line.startsWith(word));
}
