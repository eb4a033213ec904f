/** What makes two events the same. */
import { createHash } from "node:crypto";
import { isObject, type Json, type JsonObject } from "../json.ts";

/** SHA-256 of the text, 64 hex digits. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-256 over the canonical JSON of what identifies an event, 64 hex digits. */
export function fingerprintOf(identity: Json): string {
  return sha256(canonicalJson(identity));
}

/** The first 128 bits of a fingerprint, 32 hex digits: what the label carries. */
export function shortFingerprint(fingerprint: string): string {
  return fingerprint.slice(0, 32);
}

/** 32 bits of a hash of the text (FNV-1a over UTF-16 units): tells that content changed, proves nothing. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/**
 * One text for one JSON value, whatever its key order, escapes or number forms (after RFC 8785).
 * Keys in UTF-16 order, numbers and strings as ECMAScript prints them, no white space. Nesting is the
 * caller's to bound (`parseJson` and `cleanJson` both stop at 64).
 */
export function canonicalJson(value: Json): string {
  if (typeof value === "string") return quoted(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) {
    let text = "[";
    for (let index = 0; index < value.length; index++) {
      text += (index === 0 ? "" : ",") + canonicalJson(value[index] ?? null);
    }
    return text + "]";
  }
  let text = "{";
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member === undefined) continue;
    text += (text.length === 1 ? "" : ",") + quoted(key) + ":" + canonicalJson(member);
  }
  return text + "}";
}

/** As `JSON.stringify` does it, which for a short plain text is mostly the cost of calling it. */
function quoted(text: string): string {
  if (text.length > 40) return JSON.stringify(text);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126 || code === 34 || code === 92) return JSON.stringify(text);
  }
  return `"${text}"`;
}

/** Part of what is hashed. */
export const IDENTITY_VERSION = 1;

const MAX_DEPTH = 64;
const MAX_VALUES = 10_000;
/** UTF-16 units of a string, and of a key, that are hashed. */
const MAX_TEXT = 65_536;
/** UTF-16 units of all strings that are hashed: the texts after so many are left out. */
const MAX_TEXTS = 1_048_576;
/** Control characters, and what reads as white space: one space stands for a run of them. */
// deno-lint-ignore no-control-regex -- control characters are what it removes
const SPACES = /[\u0000-\u0020\u007f-\u00a0\u2028\u2029]+/g;

/**
 * The identity with every text trimmed and its white space and control characters folded, lone surrogates replaced, null
 * and non-finite members left out; the same value for the same words of a tool. Never throws.
 */
export function cleanIdentityV1(identity: unknown): JsonObject {
  const budget = { values: MAX_VALUES, texts: MAX_TEXTS };
  const cleaned = isObject(identity) ? cleanValue(identity, budget, 1) : undefined;
  return isObject(cleaned) ? cleaned : {};
}

interface Budget {
  values: number;
  texts: number;
}

function cleanValue(value: unknown, budget: Budget, depth: number): Json | undefined {
  if (budget.values-- <= 0) return undefined;
  if (typeof value === "string") {
    budget.texts -= Math.min(value.length, MAX_TEXT);
    return budget.texts < 0 ? undefined : cleanTextV1(value);
  }
  if (typeof value === "boolean") return value;
  if (typeof value === "number") {
    return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : undefined;
  }
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return undefined;
  if (Array.isArray(value)) {
    return value.slice(0, Math.max(0, budget.values)).flatMap((item) => {
      const cleaned = cleanValue(item, budget, depth + 1);
      return cleaned === undefined ? [] : [cleaned];
    });
  }
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(value)) {
    if (budget.values <= 0) break;
    const cleaned = key === "__proto__" ? undefined : cleanValue(member, budget, depth + 1);
    if (cleaned !== undefined) result[cleanTextV1(key)] = cleaned;
  }
  return result;
}

function cleanTextV1(text: string): string {
  return text.slice(0, MAX_TEXT).toWellFormed().replace(SPACES, " ").trim();
}
