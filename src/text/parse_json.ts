/**
 * JSON from outside: bounded in depth before anything recursive sees it, errors with line and column, several
 * documents in one text. `__proto__` is an ordinary own key of what `JSON.parse` makes.
 */
import type { Json } from "../model/json.ts";
import { jsonErrorAt } from "./json_error.ts";
import type { PayloadErrorReason } from "../model/outcome.ts";

export const MAX_JSON_DEPTH = 64;

/** Why a text could not be read, and where (counted from 1). */
export interface JsonError {
  readonly reason: Extract<PayloadErrorReason, "unreadable" | "too_deep">;
  readonly message: string;
  readonly line: number;
  readonly column: number;
}

/** A document, or why there is none. */
export type ParsedJson =
  | { readonly ok: true; readonly value: Json }
  | { readonly ok: false; readonly error: JsonError };

/** Reads one JSON document. */
export function parseJson(text: string): ParsedJson {
  return parseSlice(text, bomLength(text), text.length);
}

/**
 * Reads what may be several documents: one, NDJSON, or values one after another. What is none is reported once
 * for each stretch of it, and reading goes on at the next line.
 */
export function* parseJsonDocuments(text: string): Generator<ParsedJson> {
  let index = afterSpace(text, bomLength(text));
  if (index === text.length) yield parseSlice(text, index, index);
  let inGarbage = false;
  // Text made to look like ever more unfinished documents would be read once for each of its lines.
  let budget = 8 * text.length + 1024;
  while (index < text.length) {
    const end = scanValue(text, index);
    budget -= end - index;
    const parsed = parseSlice(text, index, end);
    if (parsed.ok || parsed.error.reason === "too_deep") {
      yield parsed;
      inGarbage = false;
      index = afterSpace(text, end);
    } else {
      if (!inGarbage || budget <= 0) yield parsed;
      if (budget <= 0) return;
      inGarbage = true;
      index = afterSpace(text, afterLine(text, index));
    }
  }
}

function parseSlice(text: string, start: number, end: number): ParsedJson {
  const tooDeep = deepestAt(text, start, end);
  if (tooDeep >= 0) {
    const message = `nested deeper than ${MAX_JSON_DEPTH} levels`;
    return { ok: false, error: { reason: "too_deep", message, ...position(text, tooDeep) } };
  }
  try {
    return {
      ok: true,
      value: JSON.parse(start === 0 && end === text.length ? text : text.slice(start, end)),
    };
  } catch {
    const at = Math.min(end, jsonErrorAt(text, start, end));
    return {
      ok: false,
      error: { reason: "unreadable", message: problem(text, at, end), ...position(text, at) },
    };
  }
}

/** The index of the bracket that opens level 65, -1 where none does. */
function deepestAt(text: string, start: number, end: number): number {
  let depth = 0;
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code === 34) index = afterString(text, index, end) - 1;
    else if (code === 123 || code === 91) {
      if (++depth > MAX_JSON_DEPTH) return index;
    } else if (code === 125 || code === 93) depth--;
  }
  return -1;
}

/** Where the value that starts at `start` ends, as far as brackets and quotes tell. */
function scanValue(text: string, start: number): number {
  let depth = 0;
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 34) {
      index = afterString(text, index, text.length) - 1;
      if (depth === 0) return index + 1;
    } else if (code === 123 || code === 91) depth++;
    else if (code === 125 || code === 93) {
      if (--depth <= 0) return index + 1;
    } else if (depth === 0 && isSpace(code)) return index;
    else if (depth === 0 && index > start && code === 44) return index;
  }
  return text.length;
}

/** The index after the string that opens at `start`; `end` where it is not closed. */
function afterString(text: string, start: number, end: number): number {
  for (let index = start + 1; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code === 92) index++;
    else if (code === 34) return index + 1;
  }
  return end;
}

/** In our words: V8's do not always tell where, and quote the text, which may be anything. */
function problem(text: string, at: number, end: number): string {
  if (at >= end) return end === 0 ? "the text is empty" : "the text ends too early";
  const code = text.codePointAt(at) ?? 0;
  const shown = code > 32 && code < 127
    ? `"${String.fromCodePoint(code)}"`
    : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return `unexpected ${shown}`;
}

function position(text: string, at: number): { readonly line: number; readonly column: number } {
  let line = 1, lineStart = 0;
  for (let index = text.indexOf("\n"); index >= 0 && index < at; index = text.indexOf("\n", index + 1)) {
    line++;
    lineStart = index + 1;
  }
  return { line, column: at - lineStart + 1 };
}

function afterSpace(text: string, start: number): number {
  let index = start;
  while (index < text.length && isSpace(text.charCodeAt(index))) index++;
  return index;
}

function afterLine(text: string, start: number): number {
  const end = text.indexOf("\n", start);
  return end < 0 ? text.length : end + 1;
}

function isSpace(code: number): boolean {
  return code === 32 || code === 10 || code === 13 || code === 9 || code === 0x1e; // RFC 7464's separator
}

function bomLength(text: string): number {
  return text.charCodeAt(0) === 0xfeff ? 1 : 0;
}
