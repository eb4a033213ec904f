/**
 * The one reader of JSON from outside. A pass over the bytes checks the grammar and counts depth, values and keys before
 * anything is parsed; its time and memory grow with the bytes alone. Lists are split by that pass, so that their items
 * are parsed one by one. `__proto__` is an ordinary own key of what `JSON.parse` makes.
 */
import type { Json } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { JSON_LIMITS } from "./json_bounds.ts";
import { type FoundError, type FoundPart, type JsonLists, JsonScan, type Place } from "./json_scan.ts";

export { JSON_LIMITS } from "./json_bounds.ts";
export type { JsonLists } from "./json_scan.ts";

/** How a text is read. */
export interface JsonOptions {
  /** "whole" by default. */
  readonly lists?: JsonLists;
  /** Bytes before this offset are not read; their lines are counted. */
  readonly from?: number;
  /** Most values of a part, where memory is short. */
  readonly maxValues?: number;
}

/** Why a part of a text cannot be read, or not all of it; line and column are counted from 1. */
export interface JsonError extends Omit<FoundError, "place"> {
  /** Where the item of a list stands: `items[3]`; "" for a document. */
  readonly path: string;
}

/** A part of a text: a document, or the item of a list that is split. It is found, not parsed yet. */
export interface JsonPart {
  /** `items[3]`; "" where the text is one document. */
  readonly path: string;
  readonly bytes: number;
  readonly values: number;
  /** Parses it. Members of an item that are too deep or too large are null. */
  read(): Json;
}

/** What a text holds. */
export interface JsonText {
  readonly parts: readonly JsonPart[];
  readonly errors: readonly JsonError[];
  /** There are more parts and errors than 10,000: the rest was not looked at. */
  readonly tooMany: boolean;
}

/** A document, or why there is none. */
export type ParsedJson =
  | { readonly ok: true; readonly value: Json }
  | { readonly ok: false; readonly error: JsonError };

/** Bytes between two turns. */
const SLICE_BYTES = 256 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Reads a text that is one JSON document. */
export function parseJson(text: string | Uint8Array): ParsedJson {
  const { parts: [part], errors: [error] } = scan(text, { several: false });
  if (error) return { ok: false, error };
  if (!part) throw new Error("Cannot read JSON: the pass found neither a document nor an error");
  return { ok: true, value: part.read() };
}

/** Finds the parts of a text, which may hold several documents: NDJSON, or one after the other. */
export function scanJson(text: string | Uint8Array, options: JsonOptions = {}): JsonText {
  return scan(text, { several: true, ...options });
}

/** Finds the parts of a text; `turn` is awaited after every quarter of a MiB, so that others get theirs. */
export async function scanJsonInTurns(
  text: Uint8Array,
  { turn, ...options }: JsonOptions & { readonly turn: () => Promise<void> | undefined },
): Promise<JsonText> {
  const bytes = bytesOf(text);
  const pass = passOver(bytes, { several: true, ...options });
  while (!pass.advance(SLICE_BYTES)) await turn();
  return resultOf(pass, bytes);
}

/** The one value of a text: its document, or an array of several. */
export function wholeOf({ parts }: JsonText): Json | undefined {
  return parts.length > 1 ? parts.map((part) => part.read()) : parts[0]?.read();
}

/** What is wrong in a text, as errors of a payload. */
export function payloadErrorsOf({ errors, tooMany }: JsonText): PayloadError[] {
  const found = errors.map(({ reason, message, line, column, path }): PayloadError => {
    const position = `line ${line}, column ${column}`;
    return { reason, path: path === "" ? position : `${path} (${position})`, message };
  });
  if (!tooMany) return found;
  const message = `more than ${JSON_LIMITS.parts} documents, items and parts that cannot be read`;
  return [...found, { reason: "too_many_events", path: "", message }];
}

/** UTF-8, also of a text in UTF-16 that begins with a byte order mark; lone surrogates are replaced. */
export function bytesOf(text: string | Uint8Array): Uint8Array {
  if (typeof text === "string") return encoder.encode(text);
  const [first, second] = text;
  if (first === 0xff && second === 0xfe) return encoder.encode(new TextDecoder("utf-16le").decode(text));
  if (first === 0xfe && second === 0xff) return encoder.encode(new TextDecoder("utf-16be").decode(text));
  return text;
}

function scan(text: string | Uint8Array, options: JsonOptions & { readonly several: boolean }): JsonText {
  const bytes = bytesOf(text);
  const pass = passOver(bytes, options);
  pass.advance(Infinity);
  return resultOf(pass, bytes);
}

function passOver(
  bytes: Uint8Array,
  { lists = "whole", from = 0, maxValues = JSON_LIMITS.values, several }: JsonOptions & { several: boolean },
): JsonScan {
  return new JsonScan(bytes, { lists, from, maxValues: Math.min(maxValues, JSON_LIMITS.values), several });
}

function resultOf({ parts, errors, documents, tooMany }: JsonScan, bytes: Uint8Array): JsonText {
  const pathOf = (place: Place | undefined) => place ? pathIn(place, documents > 1) : "";
  return {
    parts: parts.map((part) => ({
      path: pathOf(part.place),
      bytes: part.end - part.start,
      values: part.values,
      read: () => read(bytes, part),
    })),
    errors: errors.map(({ place, ...error }) => ({ ...error, path: pathOf(place) })),
    tooMany,
  };
}

/** `[2].items[3]`: the third document, or the third element of the one document. */
function pathIn({ document, element, item }: Place, several: boolean): string {
  const unit = [several ? document : -1, element].filter((index) => index >= 0).map((index) => `[${index}]`);
  if (item < 0) return unit.join("");
  return `${unit.join("")}${unit.length > 0 ? "." : ""}items[${item}]`;
}

function read(bytes: Uint8Array, { start, end, leftOut }: FoundPart): Json {
  let text = "";
  let from = start;
  for (const member of leftOut) {
    text += `${decoder.decode(bytes.subarray(from, member.start))}null`;
    from = member.end;
  }
  return JSON.parse(text + decoder.decode(bytes.subarray(from, end)));
}
