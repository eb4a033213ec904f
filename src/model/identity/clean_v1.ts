/**
 * The cleaning of what identifies a finding, version 1. FROZEN: every stored name depends on it. A change here, or in
 * the fields that a source hashes, moves names: it needs a new version beside this one (IDENTITY_VERSION) and new golden
 * files. Display cleaning and masking (src/text) are no part of it and may change in any release.
 */
import { isObject, type Json, type JsonObject } from "../json.ts";

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
