/** Small readers for JSON of any shape: never throw, never look up a prototype's keys. */
import { cleanText } from "../text/clean.ts";
import { at, type Json, type JsonObject } from "../model/json.ts";
import type { PayloadError, PayloadErrorReason } from "../model/outcome.ts";

/** A JSON value, or nothing. */
export type Field = Json | undefined;

export { at };

/** A string as it is, a number or boolean in words, else "". */
export function text(value: Field): string {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** `text(at(value, ...keys))`. */
export function textAt(value: Field, ...keys: readonly string[]): string {
  return text(at(value, ...keys));
}

/** The first of `values` that is not "". */
export function firstText(...values: readonly string[]): string {
  return values.find((value) => value !== "") ?? "";
}

/** A finite number, also one written as a string; else undefined. */
export function number(value: Field): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (typeof value !== "string" || value.trim() === "") return undefined;
  const parsed = Number(value);
  return Number.isFinite(parsed) ? parsed : undefined;
}

/** An array's items, else none. */
export function list(value: Field): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

const MAX_TEXTS = 1_000;

/** An array's texts that are not empty, of its first 1,000 items; one text counts as a list of one. */
export function texts(value: Field): string[] {
  const values = Array.isArray(value) ? value.slice(0, MAX_TEXTS) : [value];
  return values.map(text).filter((word) => word !== "");
}

/** An object without its empty fields: undefined, null, "", empty lists. */
export function withoutEmpty(fields: Readonly<Record<string, Field>>): JsonObject {
  const kept: JsonObject = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === "") continue;
    if (Array.isArray(value) && value.length === 0) continue;
    kept[key] = value;
  }
  return kept;
}

/** Longest path and message of a payload's error: both may hold words of the payload. */
const MAX_TOLD = 256;

/** The error that `draw` yields for a part it cannot read. Path and message are cleaned for logs and terminals. */
export function unread(
  reason: PayloadErrorReason,
  path: string,
  message: string,
): { readonly error: PayloadError } {
  return { error: { reason, path: cleanText(path, MAX_TOLD), message: cleanText(message, MAX_TOLD) } };
}

/** The kind of a value in words, for messages: `null`, `array`, `object`, `string` … */
export function shapeOf(value: Field): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
