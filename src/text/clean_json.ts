/** Makes JSON from anywhere safe to store: every string and key cleaned, secrets masked, size and depth bounded. */
import { clean, cleanUrl, cut, isActiveUrl } from "./clean.ts";
import type { Json, JsonObject } from "../model/json.ts";
import { mask } from "./mask.ts";

const MAX_DEPTH = 64;
const MAX_NODES = 10_000;
const MAX_KEY = 128;
/** UTF-16 units of all strings of an object; after so many each further one is cut to a few. */
const MAX_TOTAL = 512 * 1024;
const MAX_LATE_STRING = 64;
/** How much more than its limit of a text is masked, so that no half of a secret is left at the cut. */
const MASK_MARGIN = 256;

/** A cleaned object, and whether anything of it had to be left out. */
export interface CleanedObject {
  readonly value: JsonObject;
  readonly truncated: boolean;
}

/** One line of text: cleaned, masked, at most `limit` UTF-16 units. */
export function cleanText(text: string, limit: number): string {
  return cut(mask(clean(text, limit + MASK_MARGIN)), limit).trimEnd();
}

/** How far an object is cleaned. */
export interface CleanOptions {
  /** Longest string kept whole, in UTF-16 units. */
  readonly maxString: number;
  /** True where viewers may make links of its members: addresses that are not of the web are left out. */
  readonly links: boolean;
  /** UTF-16 units of all strings, after which each further one is cut to 64. */
  readonly maxTotal?: number;
}

/**
 * The object with every key and string cleaned and masked; depth 64, 10,000 values, half a million characters. Nulls and
 * `__proto__` are left out.
 */
export function cleanObject(
  value: unknown,
  { maxString, links, maxTotal = MAX_TOTAL }: CleanOptions,
): CleanedObject {
  const budget = { maxString, links, maxTotal, nodes: MAX_NODES, truncated: false };
  const cleaned = typeof value === "object" && value !== null && !Array.isArray(value)
    ? cleanMembers(value, budget, 1)
    : {};
  return { value: cleaned, truncated: budget.truncated };
}

interface Budget extends CleanOptions {
  maxTotal: number;
  nodes: number;
  truncated: boolean;
}

function cleanValue(value: unknown, budget: Budget, depth: number): Json | undefined {
  if (budget.nodes-- <= 0) return leaveOut(budget);
  if (typeof value === "string") {
    const limit = budget.maxTotal > 0 ? budget.maxString : Math.min(MAX_LATE_STRING, budget.maxString);
    const text = cleanText(value, limit);
    budget.maxTotal -= Math.min(value.length, limit);
    if (text.length >= limit - 1 && value.length > limit) budget.truncated = true;
    return budget.links && isActiveUrl(text) ? undefined : text;
  }
  if (typeof value === "number") {
    return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : undefined;
  }
  if (typeof value === "boolean") return value;
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= MAX_DEPTH) return leaveOut(budget);
  return Array.isArray(value) ? cleanItems(value, budget, depth + 1) : cleanMembers(value, budget, depth + 1);
}

function cleanItems(items: readonly unknown[], budget: Budget, depth: number): Json[] {
  const result: Json[] = [];
  for (const item of items) {
    const cleaned = cleanValue(item, budget, depth);
    if (cleaned !== undefined) result.push(cleaned);
    if (budget.nodes <= 0) break;
  }
  return result;
}

function cleanMembers(object: object, budget: Budget, depth: number): JsonObject {
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(object)) {
    const name = clean(key, MAX_KEY);
    if (name === "" || name === "__proto__" || Object.hasOwn(result, name)) continue;
    const cleaned = budget.links && typeof member === "string" && isLinkName(name)
      ? cleanLink(member)
      : cleanValue(member, budget, depth);
    if (cleaned !== undefined) result[name] = cleaned;
    if (budget.nodes <= 0) break;
  }
  return result;
}

function cleanLink(text: string): string | undefined {
  const url = cleanUrl(text);
  return url === undefined ? undefined : mask(url);
}

/** Last words of keys that hold addresses: `link`, `primaryLink`, `html_url`, `externalURL`; not those in `purl`, `symlink`. */
const LINK_NAME =
  /(?:^|[^a-zA-Z])(?:link|url|href)$|(?:^|[^A-Z])(?:LINK|URL|HREF)$|(?:Link|Url|Href)$|^guideline$/;

/** Members that viewers make links of. */
function isLinkName(name: string): boolean {
  return LINK_NAME.test(name);
}

function leaveOut(budget: Budget): undefined {
  budget.truncated = true;
}
