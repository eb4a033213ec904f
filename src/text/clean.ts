/** Makes text from anywhere safe to store, to log and to print on a terminal, and short enough. Linear, without regular expressions. */
import { mask } from "./mask.ts";
import type { Json, JsonObject } from "../model/json.ts";

const ESC = 0x1b;
const CSI = 0x9b;
const REPLACEMENT = "\ufffd";
/** Longest ANSI sequence: what is longer is text. */
const MAX_SEQUENCE = 512;
/** So many times its limit of a text is looked at: one that is almost all invisible shows nothing. */
const LOOKED_AT = 16;

/**
 * Characters that show nothing and so can hide or reorder what is read: bidi marks, embeddings, overrides and
 * isolates, zero-width and other invisible format characters, variation selectors, tags. Inclusive ranges.
 */
const INVISIBLE: readonly (readonly [number, number])[] = [
  [0x00ad, 0x00ad],
  [0x034f, 0x034f],
  [0x061c, 0x061c],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200f],
  [0x202a, 0x202e],
  [0x2060, 0x206f],
  [0x3164, 0x3164],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb],
  [0x1bca0, 0x1bca3],
  [0x1d173, 0x1d17a],
  [0xe0000, 0xe0fff],
];

/**
 * The text on one line, at most `limit` UTF-16 units: ANSI sequences, control, bidi and zero-width characters
 * removed, lone surrogates replaced, white space made single spaces, cut between code points.
 */
export function clean(text: string, limit: number): string {
  if (text.length <= limit && isPlain(text)) return text;
  const end = Math.min(text.length, LOOKED_AT * (limit + 1));
  let result = "";
  let space = false; // a run of white space is due before the next character, if there is one
  let index = 0;
  while (index < end) {
    const code = text.codePointAt(index) ?? 0;
    const width = code > 0xffff ? 2 : 1;
    if (code === ESC || code === CSI) {
      index = afterEscape(text, index);
      continue;
    }
    if (isSpace(code)) {
      space = true;
    } else if (!isRemoved(code)) {
      const gap = space && result !== "" ? " " : "";
      if (result.length + gap.length + width > limit) break;
      result += gap + (isSurrogate(code) ? REPLACEMENT : text.slice(index, index + width));
      space = false;
    }
    index += width;
  }
  return result;
}

/**
 * The text with its lines and spacing as they are, safe to print on a terminal: ANSI sequences, control characters other
 * than line feeds and tabs, bidi and zero-width characters removed, lone surrogates replaced.
 */
export function cleanLines(text: string): string {
  let start = 0; // what lies before it is in `result`
  let result = "";
  for (let index = 0; index < text.length;) {
    const code = text.codePointAt(index) ?? 0;
    const width = code > 0xffff ? 2 : 1;
    if (isPrinted(code)) {
      index += width;
      continue;
    }
    result += text.slice(start, index) + (isSurrogate(code) ? REPLACEMENT : "");
    index = code === ESC || code === CSI ? afterEscape(text, index) : index + width;
    start = index;
  }
  return start === 0 ? text : result + text.slice(start);
}

/** JSON text with every character that `cleanLines` would remove written as an escape: it means the same and prints safely. */
export function escapeJson(json: string): string {
  let start = 0;
  let result = "";
  for (let index = 0; index < json.length;) {
    const code = json.codePointAt(index) ?? 0;
    const end = index + (code > 0xffff ? 2 : 1);
    if (!isPrinted(code)) {
      result += json.slice(start, index);
      for (; index < end; index++) result += `\\u${json.charCodeAt(index).toString(16).padStart(4, "0")}`;
      start = end;
    }
    index = end;
  }
  return start === 0 ? json : result + json.slice(start);
}

/** The first `limit` UTF-16 units, or one fewer where that would split a code point. */
export function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit);
}

/** As much of the text as fits into `limit` bytes of UTF-8, cut between code points. */
export function cutBytes(text: string, limit: number): string {
  if (text.length * 3 <= limit) return text;
  let bytes = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.codePointAt(index) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code <= 0xffff ? 3 : 4;
    if (bytes > limit) return text.slice(0, index);
    if (code > 0xffff) index++;
  }
  return text;
}

/** True where the text is at most `limit` bytes of UTF-8; most are so short that nothing has to be counted. */
export function fitsBytes(text: string, limit: number): boolean {
  return text.length * 3 <= limit || utf8Length(text) <= limit;
}

/** Bytes of the text in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x80) continue;
    // A surrogate is half of four bytes.
    bytes += code < 0x800 || (code >= 0xd800 && code <= 0xdfff) ? 1 : 2;
  }
  return bytes;
}

/** The address where it is one of the web (http or https, cleaned, at most `limit`), else undefined. */
export function cleanUrl(text: string, limit = 2048): string | undefined {
  const url = clean(text, limit + 1);
  const scheme = url.slice(0, 8).toLowerCase();
  const isWeb = (scheme.startsWith("http://") && url.length > 7) || (scheme === "https://" && url.length > 8);
  return isWeb && url.length <= limit && !url.includes(" ") ? url : undefined;
}

/** True where nothing has to be done: printable ASCII without leading, trailing or doubled spaces. */
function isPlain(text: string): boolean {
  let previous = 32;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126 || (code === 32 && previous === 32)) return false;
    previous = code;
  }
  return previous !== 32 || text === "";
}

/** The index after the ANSI sequence that starts at `start`; an unfinished one is removed as far as it goes. */
function afterEscape(text: string, start: number): number {
  const csi = text.charCodeAt(start) === CSI;
  const next = text[start + 1];
  if (csi || next === "[") return afterCsi(text, start + (csi ? 1 : 2));
  if (next !== undefined && "]PX^_".includes(next)) return afterString(text, start + 2);
  // Two-character sequences, with intermediates such as `ESC ( B`.
  let index = start + 1;
  while (index < text.length && inRange(text.charCodeAt(index), 0x20, 0x2f)) index++;
  return inRange(text.charCodeAt(index), 0x30, 0x7e) ? index + 1 : index;
}

/** Parameters, intermediates, one final byte. */
function afterCsi(text: string, start: number): number {
  const end = Math.min(text.length, start + MAX_SEQUENCE);
  let index = start;
  while (index < end && inRange(text.charCodeAt(index), 0x20, 0x3f)) index++;
  return inRange(text.charCodeAt(index), 0x40, 0x7e) ? index + 1 : index;
}

/** A title or device string, ended by BEL or ST; unended it is no string, only its opening goes. */
function afterString(text: string, start: number): number {
  const end = Math.min(text.length, start + MAX_SEQUENCE);
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x07 || code === 0x9c) return index + 1;
    if (code === ESC) return text[index + 1] === "\\" ? index + 2 : index;
  }
  return start;
}

function isRemoved(code: number): boolean {
  if (code < 0xad) return code < 32 || (code >= 0x7f && code <= 0x9f);
  for (const [first, last] of INVISIBLE) {
    if (code < first) return false;
    if (code <= last) return true;
  }
  return (code & 0xfffe) === 0xfffe; // noncharacters, which XML and some terminals choke on
}

function isPrinted(code: number): boolean {
  if (code < 0x7f) return code >= 32 || code === 10 || code === 9;
  return !isRemoved(code) && !isSurrogate(code) && code !== 0x2028 && code !== 0x2029;
}

function isSpace(code: number): boolean {
  if (code < 0x1680) return code === 32 || inRange(code, 9, 13) || code === 0x85 || code === 0xa0;
  return inRange(code, 0x2000, 0x200a) || inRange(code, 0x2028, 0x2029) ||
    code === 0x1680 || code === 0x202f || code === 0x205f || code === 0x3000;
}

function isSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdfff;
}

function inRange(code: number, first: number, last: number): boolean {
  return code >= first && code <= last;
}

const MAX_DEPTH = 64;
const MAX_NODES = 10_000;
const MAX_KEY = 128;
/** UTF-16 units of all strings of an object; after so many each further one is cut to a few. */
const MAX_TOTAL = 512 * 1024;
const MAX_LATE_STRING = 64;
/** Most strings that are cut to 64 once the total is used up, since each costs the mask a thousand characters more. Later ones are left out. */
const MAX_LATE_CUTS = 128;
/**
 * How much more than its limit of a text is masked, so that no half of a secret is left at the cut: the mask's rules look at
 * most so far to know a secret.
 */
const MASK_MARGIN = 1_024;
/** UTF-16 units that are masked, and kept, of a text. */
const MAX_MASKED = 32 * 1024;

/** A cleaned object, and whether anything of it had to be left out. */
export interface CleanedObject {
  readonly value: JsonObject;
  readonly truncated: boolean;
}

/** One line of text: cleaned, masked unless it is prose, at most `limit` UTF-16 units. `objectName`: see `mask`. */
export function cleanText(text: string, limit: number, { prose = false, objectName = "" } = {}): string {
  if (prose) return clean(text, limit).trimEnd();
  return cut(mask(clean(text, Math.min(limit + MASK_MARGIN, MAX_MASKED)), objectName), limit).trimEnd();
}

/** How far an object is cleaned. */
export interface CleanOptions {
  /** Its members that are sentences or names: cleaned and cut like all, not masked. */
  readonly prose?: readonly string[];
  /** Longest string kept whole, in UTF-16 units. */
  readonly maxString: number;
  /** True where viewers may make links of members by their names: what is no address of the web is left out of those. */
  readonly links: boolean;
  /** UTF-16 units of all strings, after which each further one is cut to 64; after 128 such cuts longer ones are left out. */
  readonly maxTotal?: number;
}

/**
 * The object with its keys cleaned and its strings cleaned and masked; depth 64, 10,000 values, half a million characters.
 * Nulls and `__proto__` are left out.
 */
export function cleanObject(
  value: unknown,
  { maxString, links, maxTotal = MAX_TOTAL, prose = [] }: CleanOptions,
): CleanedObject {
  const budget = {
    maxString,
    links,
    maxTotal,
    prose,
    inProse: false,
    nodes: MAX_NODES,
    lateCuts: MAX_LATE_CUTS,
    truncated: false,
  };
  const cleaned = typeof value === "object" && value !== null && !Array.isArray(value)
    ? cleanMembers(value, budget, { depth: 1 })
    : {};
  return { value: cleaned, truncated: budget.truncated };
}

interface Budget extends Required<CleanOptions> {
  maxTotal: number;
  /** True within a member that is prose. */
  inProse: boolean;
  nodes: number;
  lateCuts: number;
  truncated: boolean;
}

/** Where a value stands. */
interface Place {
  readonly depth: number;
  /** True in a member whose name says that it holds an address. */
  readonly inLink?: boolean;
}

function cleanValue(value: unknown, budget: Budget, { depth, inLink = false }: Place): Json | undefined {
  budget.nodes--;
  if (typeof value === "string") return inLink ? cleanLink(value, budget) : cleanString(value, budget);
  if (typeof value === "number") {
    return Number.isFinite(value) ? (Object.is(value, -0) ? 0 : value) : undefined;
  }
  if (typeof value === "boolean") return value;
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= MAX_DEPTH) return leaveOut(budget);
  const place = { depth: depth + 1, inLink };
  return Array.isArray(value) ? cleanItems(value, budget, place) : cleanMembers(value, budget, place);
}

function cleanString(value: string, budget: Budget): string | undefined {
  if (isPastLateCuts(value, budget)) return leaveOut(budget);
  const isLate = budget.maxTotal <= 0;
  const limit = isLate ? Math.min(MAX_LATE_STRING, budget.maxString) : budget.maxString;
  const text = cleanText(value, limit, { prose: budget.inProse });
  budget.maxTotal -= Math.min(value.length, limit);
  if (text.length >= limit - 1 && value.length > limit) budget.truncated = true;
  return text;
}

/** True for a string over 64 units once the total is used up and 128 such strings were taken. Each call counts one. */
function isPastLateCuts(value: string, budget: Budget): boolean {
  return budget.maxTotal <= 0 && value.length > MAX_LATE_STRING && budget.lateCuts-- <= 0;
}

function cleanItems(items: readonly unknown[], budget: Budget, place: Place): Json[] {
  const result: Json[] = [];
  for (const item of items) {
    if (budget.nodes <= 0) {
      leaveOut(budget);
      break;
    }
    const cleaned = cleanValue(item, budget, place);
    if (cleaned !== undefined) result.push(cleaned);
  }
  return result;
}

function cleanMembers(object: object, budget: Budget, { depth }: Place): JsonObject {
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(object)) {
    if (budget.nodes <= 0) {
      leaveOut(budget);
      break;
    }
    const name = clean(key, MAX_KEY);
    if (name === "__proto__") continue;
    if (name === "" || Object.hasOwn(result, name)) {
      leaveOut(budget);
      continue;
    }
    if (key.length > MAX_KEY && name.length >= MAX_KEY - 1) budget.truncated = true;
    if (depth === 1) budget.inProse = budget.prose.includes(name);
    const cleaned = cleanValue(member, budget, { depth, inLink: budget.links && isLinkName(name) });
    if (cleaned !== undefined) result[name] = cleaned;
  }
  return result;
}

function cleanLink(text: string, budget: Budget): string | undefined {
  if (text === "") return undefined;
  const url = isPastLateCuts(text, budget) ? undefined : cleanUrl(text);
  if (url === undefined) return leaveOut(budget);
  budget.maxTotal -= url.length;
  return mask(url);
}

/** Last words of keys that hold addresses: `link`, `primaryLink`, `html_url`, `externalURL`; not those in `purl`, `symlink`. */
const LINK_NAME =
  /(?:^|[^a-zA-Z])(?:link|url|href)$|(?:^|[^A-Z])(?:LINK|URL|HREF)$|(?:Link|Url|Href)$|^guideline$/;

/** True for the name of a member that viewers may make a link of. */
function isLinkName(name: string): boolean {
  return LINK_NAME.test(name);
}

function leaveOut(budget: Budget): undefined {
  budget.truncated = true;
}

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

/** True where the value is at most `maxBytes` of JSON without white space; no more of it is looked at. */
export function fitsJson(value: Json, maxBytes: number): boolean {
  return roomBeside(value, maxBytes) >= 0 && jsonBytes(value) <= maxBytes;
}

/** The room that the value leaves if it takes as few bytes as it can; below 0 as soon as it does not fit. */
function roomBeside(value: Json, room: number): number {
  if (typeof value === "string") return room - value.length - 2;
  if (value === null || typeof value !== "object") return room - 1;
  let left = room - 1; // a bracket; and a comma or a bracket after each member
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length && left >= 0; index++) {
      left = roomBeside(value[index] ?? null, left - 1);
    }
    return left;
  }
  for (const key in value) {
    if (left < 0) break;
    left = roomBeside(value[key] ?? null, left - key.length - 4);
  }
  return left;
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
    if (key === "__proto__") continue;
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
