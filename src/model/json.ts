/** JSON values, and small readers for JSON of any shape: they never throw, and never look up a prototype's keys. */

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | JsonObject;

/** A JSON object. Objects built from hostile input have a null prototype or own keys only. */
export interface JsonObject {
  [key: string]: Json;
}

/** True for a JSON object: not null, not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at `keys`, own fields alone; undefined where a step is missing or no object. */
export function at(value: Json | undefined, ...keys: readonly string[]): Json | undefined {
  let found = value;
  for (const key of keys) {
    if (!isObject(found) || !Object.hasOwn(found, key)) return undefined;
    found = found[key];
  }
  return found;
}

/** A JSON value, or nothing. */
export type Field = Json | undefined;

/** A string as it is, a number or boolean in words, else "". */
export function text(value: unknown): string {
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
export function list(value: unknown): readonly Json[] {
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

/** How much a value holds. */
export interface Size {
  /** It and all values in it. */
  values: number;
  /** UTF-16 units of its strings and keys. */
  text: number;
}

/** Counts what a value holds, added to `size`. */
export function sizeOf(value: unknown, size: Size = { values: 0, text: 0 }): Size {
  size.values++;
  if (typeof value === "string") size.text += value.length;
  else if (Array.isArray(value)) { for (const item of value) sizeOf(item, size); }
  else if (typeof value === "object" && value !== null) {
    // Not `Object.keys`: half a million empty objects would be as many lists.
    for (const key in value) {
      size.text += key.length;
      sizeOf(value[key as keyof typeof value], size);
    }
  }
  return size;
}

/** The kind of a value in words, for messages: `null`, `array`, `object`, `string` … */
export function shapeOf(value: Field): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
