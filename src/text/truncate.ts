/** Cuts details to what an Observation may carry. */
import { cut, fitsBytes, utf8Length } from "./clean.ts";
import type { Json, JsonObject } from "../model/json.ts";

interface Step {
  readonly maxString: number;
  readonly maxItems: number;
}

/** Longest string and most items kept, step by step until it fits: the longest things go first. */
const STEPS: readonly Step[] = [
  { maxString: 4096, maxItems: 512 },
  { maxString: 2048, maxItems: 256 },
  { maxString: 1024, maxItems: 128 },
  { maxString: 512, maxItems: 64 },
  { maxString: 256, maxItems: 32 },
  { maxString: 128, maxItems: 16 },
  { maxString: 64, maxItems: 8 },
];

/** Bytes of the value as JSON without white space. */
export function jsonBytes(value: Json): number {
  return utf8Length(JSON.stringify(value));
}

/**
 * The object where it is at most `maxBytes` of JSON, else one that is: longest strings and arrays cut first, then
 * the largest members left out. The same input gives the same output.
 */
export function truncateObject(
  object: JsonObject,
  maxBytes: number,
): { readonly value: JsonObject; readonly truncated: boolean } {
  if (fitsBytes(JSON.stringify(object), maxBytes)) return { value: object, truncated: false };
  let value = object;
  for (const step of STEPS) {
    // Which members of the object itself stay is decided last, by size.
    value = Object.fromEntries(Object.entries(value).map(([key, member]) => [key, cutValue(member, step)]));
    if (fitsBytes(JSON.stringify(value), maxBytes)) return { value, truncated: true };
  }
  return { value: withoutLargest(value, maxBytes), truncated: true };
}

function cutValue(value: Json, step: Step): Json {
  if (typeof value === "string") return cutString(value, step.maxString);
  if (Array.isArray(value)) return value.slice(0, step.maxItems).map((item) => cutValue(item, step));
  return value !== null && typeof value === "object" ? cutMembers(value, step) : value;
}

function cutMembers(object: JsonObject, step: Step): JsonObject {
  const result: JsonObject = {};
  for (const key of Object.keys(object).sort().slice(0, step.maxItems)) {
    result[key] = cutValue(object[key] ?? null, step);
  }
  return result;
}

/** `…` says that there was more; a string so marked is not marked again. */
function cutString(text: string, limit: number): string {
  return text.length <= limit ? text : `${cut(text, limit - 1).trimEnd()}…`;
}

function withoutLargest(object: JsonObject, maxBytes: number): JsonObject {
  const sizes = Object.keys(object).map((key) => ({
    key,
    bytes: jsonBytes(key) + 2 + jsonBytes(object[key] ?? null),
  }));
  sizes.sort((a, b) => a.bytes - b.bytes || (a.key < b.key ? -1 : 1));
  const result: JsonObject = {};
  let bytes = 2;
  for (const { key, bytes: added } of sizes) {
    if (bytes + added > maxBytes) break;
    bytes += added;
    result[key] = object[key] ?? null;
  }
  return result;
}
