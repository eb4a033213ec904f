/**
 * The one reader of JSON from outside. A pass over the bytes checks the grammar and counts depth, values and keys before
 * anything is parsed; its time and memory grow with the bytes alone. Lists are split by that pass, so that their items
 * are parsed one by one. `__proto__` is an ordinary own key of what `JSON.parse` makes.
 */
import type { Json } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import {
  type Excess,
  JSON_LIMITS,
  JsonBounds,
  literalEnd,
  numberEnd,
  type Range,
  stringEnd,
} from "./json_bounds.ts";

export { JSON_LIMITS } from "./json_bounds.ts";

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

/** Bytes between two pauses. */
export const JSON_SLICE_BYTES = 256 * 1024;
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

/** Finds the parts of a text; `pause` is awaited after every quarter of a MiB, so that other work goes on. */
export async function scanJsonInSlices(
  text: Uint8Array,
  { pause, ...options }: JsonOptions & { readonly pause: () => Promise<void> | undefined },
): Promise<JsonText> {
  const bytes = bytesOf(text);
  const pass = passOver(bytes, { several: true, ...options });
  while (!pass.advance(JSON_SLICE_BYTES)) await pause();
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
  if (first === 0xff && second === 0xfe) return utf8Of(text, "utf-16le");
  if (first === 0xfe && second === 0xff) return utf8Of(text, "utf-16be");
  return text;
}

/** Two bytes of UTF-16 are three of UTF-8 at the most. Piece by piece: as one string a text is three times in memory. */
function utf8Of(text: Uint8Array, encoding: "utf-16le" | "utf-16be"): Uint8Array {
  const pieces = new TextDecoder(encoding);
  const bytes = new Uint8Array(Math.ceil(text.length / 2) * 3);
  let length = 0;
  for (let at = 0; at < text.length; at += DECODED_BYTES) {
    const piece = pieces.decode(text.subarray(at, at + DECODED_BYTES), { stream: true });
    length += encoder.encodeInto(piece, bytes.subarray(length)).written;
  }
  length += encoder.encodeInto(pieces.decode(), bytes.subarray(length)).written;
  return bytes.subarray(0, length);
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
  const text = { bytes, several: documents > 1 };
  return {
    parts: parts.map((part) => new PartOfText(part, text)),
    errors: errors.map(({ place, ...error }) => ({
      ...error,
      path: place ? pathIn(place, text.several) : "",
    })),
    tooMany,
  };
}

/** A part that was found. Its path is made when it is asked for: a text may have 10,000 parts. */
class PartOfText implements JsonPart {
  readonly #found: FoundPart;
  readonly #text: { readonly bytes: Uint8Array; readonly several: boolean };

  constructor(found: FoundPart, text: { readonly bytes: Uint8Array; readonly several: boolean }) {
    this.#found = found;
    this.#text = text;
  }

  get path(): string {
    return pathIn(this.#found.place, this.#text.several);
  }

  get bytes(): number {
    return this.#found.end - this.#found.start;
  }

  get values(): number {
    return this.#found.values;
  }

  read(): Json {
    return read(this.#text.bytes, this.#found);
  }
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

/**
 * How lists are given: `whole` splits nothing; `elements` gives the elements of a top-level array one by one, as several
 * documents are; `items` also those of the array `items` of a document or an element.
 */
export type JsonLists = "whole" | "elements" | "items";

/** What is to be found in a text. */
export interface ScanOptions {
  /** False: a second document is an error. */
  readonly several: boolean;
  readonly lists: JsonLists;
  /** Bytes before this offset are not read; their lines are counted. */
  readonly from: number;
  /** Most values of a part. */
  readonly maxValues: number;
}

/** Where a part stands. */
interface Place {
  readonly document: number;
  /** Index in a top-level array; -1 outside of one. */
  readonly element: number;
  /** Index in `items`; -1 outside. */
  readonly item: number;
}

/** A part of a text. */
export interface FoundPart {
  readonly place: Place;
  readonly start: number;
  readonly end: number;
  readonly values: number;
  /** Members of it that are not to be parsed. */
  readonly leftOut: readonly Range[];
}

/** What is wrong in a text; line and column are counted from 1. */
export interface FoundError {
  readonly reason: "unreadable" | Excess["reason"];
  readonly message: string;
  readonly line: number;
  readonly column: number;
  /** Of the part that has too much of something. */
  readonly place?: Place;
}

/** States of the scanner: the tokens that may come next. */
const DOCUMENT = 0;
/** A document that is a number or a word has ended: `01` is not `0` and `1`. */
const SEPARATOR = 1;
/** The line is not JSON: the next one that begins a document. */
const NEXT_LINE = 2;
const VALUE = 3;
const FIRST_VALUE = 4;
const FIRST_KEY = 5;
const KEY = 6;
const COLON = 7;
const NEXT = 8;

const TAB = 9, LINE_FEED = 10, CARRIAGE_RETURN = 13, RECORD_SEPARATOR = 30, SPACE = 32, QUOTE = 34;
const COMMA = 44, MINUS = 45, NINE = 57, COLON_SIGN = 58, OPEN_ARRAY = 91, CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123, CLOSE_OBJECT = 125;
const ITEMS = new TextEncoder().encode("items");
const fragmentDecoder = new TextDecoder("utf-8", { ignoreBOM: true });

const NOTHING: readonly Range[] = [];

/** Bytes that are decoded at a time where the text is not needed whole. */
const DECODED_BYTES = 64 * 1024;

/** UTF-16 units of a text. It is decoded piece by piece: as one string a line of 16 MiB takes 32 more. */
function charactersIn(bytes: Uint8Array): number {
  if (bytes.length <= DECODED_BYTES) return fragmentDecoder.decode(bytes).length;
  const pieces = new TextDecoder("utf-8", { ignoreBOM: true });
  let count = 0;
  for (let at = 0; at < bytes.length; at += DECODED_BYTES) {
    count += pieces.decode(bytes.subarray(at, at + DECODED_BYTES), { stream: true }).length;
  }
  return count + pieces.decode().length;
}

/** Where something begins, and the line there. */
interface Mark {
  readonly start: number;
  readonly line: number;
  readonly lineStart: number;
}

/** One pass over a text. */
class JsonScan {
  readonly parts: FoundPart[] = [];
  readonly errors: FoundError[] = [];
  /** Documents without an error. */
  documents = 0;
  /** More parts and errors than a text may have: the pass ended there. */
  tooMany = false;

  readonly #bytes: Uint8Array;
  readonly #options: ScanOptions;
  readonly #bounds: JsonBounds;
  #at: number;
  #isOver = false;
  #expected = DOCUMENT;
  #line = 1;
  #lineStart: number;
  /** Where a column was counted last: the next one of that line is counted from here. */
  #counted: { readonly at: number; readonly column: number };

  /** Open containers; for each whether it is an array. */
  #depth = 0;
  #isArray = new Uint8Array(256);

  /** Where the document begins. */
  #start = 0;
  /** Something before was not JSON, and no document came since: one error for all of it. */
  #isInGarbage = false;
  /** Parts and errors before the document: what a broken one held does not count. */
  #partsBefore = 0;
  #errorsBefore = 0;
  /** A unit is a document, or an element of one: how many containers are around it. */
  #unitDepth = 0;
  #unit: Mark = { start: 0, line: 1, lineStart: 0 };
  #element = -1;
  /** Containers around an item; -1 outside of `items`. */
  #itemDepth = -1;
  #itemMark = this.#unit;
  #item = -1;
  #hasItemsKey = false;
  #isItemsValue = false;
  /** Containers around the part that is being counted. */
  #base = 0;

  constructor(bytes: Uint8Array, options: ScanOptions) {
    this.#bytes = bytes;
    this.#options = options;
    this.#bounds = new JsonBounds(bytes, options.maxValues);
    this.#at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
    this.#lineStart = this.#at;
    this.#counted = { at: this.#at, column: 1 };
    while (this.#at < options.from) this.#passSpace(bytes[this.#at] ?? 0);
  }

  /** Reads on for `count` bytes and to the end of the token there. True when the text is read. */
  advance(count: number): boolean {
    const bytes = this.#bytes;
    const until = Math.min(bytes.length, this.#at + count);
    while (this.#at < until && !this.#isOver) {
      const byte = bytes[this.#at] ?? 0;
      if (this.#expected === NEXT_LINE) this.#passGarbage(byte);
      else if (byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB) {
        this.#passSpace(byte);
      } else this.#token(byte);
    }
    if (this.#at >= bytes.length && !this.#isOver) {
      this.#isOver = true;
      const isEmpty = this.parts.length + this.errors.length === 0 && this.documents === 0;
      if (this.#expected > NEXT_LINE || isEmpty) this.#fail(bytes.length);
    }
    return this.#isOver;
  }

  #passSpace(byte: number): void {
    this.#at++;
    if (byte === LINE_FEED) {
      this.#line++;
      this.#lineStart = this.#at;
    }
    if (this.#expected === SEPARATOR) this.#expected = DOCUMENT;
  }

  /** A line that begins with a bracket may be a document again. */
  #passGarbage(byte: number): void {
    this.#passSpace(byte);
    const next = this.#bytes[this.#at];
    if (byte === LINE_FEED && (next === OPEN_OBJECT || next === OPEN_ARRAY)) this.#expected = DOCUMENT;
  }

  #token(byte: number): void {
    switch (this.#expected) {
      case DOCUMENT:
        if (byte === RECORD_SEPARATOR) this.#at++; // RFC 7464
        else this.#beginDocument(byte);
        return;
      case VALUE:
        return this.#value(byte);
      case FIRST_VALUE:
        return byte === CLOSE_ARRAY ? this.#close() : this.#value(byte);
      case FIRST_KEY:
        return byte === CLOSE_OBJECT ? this.#close() : this.#key(byte);
      case KEY:
        return this.#key(byte);
      case COLON:
        if (byte !== COLON_SIGN) return this.#fail(this.#at);
        this.#expected = VALUE;
        this.#at++;
        return;
      case NEXT: {
        const isArray = this.#isArray[this.#depth - 1] === 1;
        if (byte === (isArray ? CLOSE_ARRAY : CLOSE_OBJECT)) return this.#close();
        if (byte !== COMMA) return this.#fail(this.#at);
        this.#expected = isArray ? VALUE : KEY;
        this.#at++;
        return;
      }
      default:
        return this.#fail(this.#at);
    }
  }

  #beginDocument(byte: number): void {
    if (!this.#options.several && this.documents > 0) return this.#fail(this.#at);
    this.#start = this.#at;
    this.#partsBefore = this.parts.length;
    this.#errorsBefore = this.errors.length;
    this.#unitDepth = byte === OPEN_ARRAY && this.#options.lists !== "whole" ? 1 : 0;
    this.#element = -1;
    this.#expected = VALUE;
    this.#value(byte);
  }

  #value(byte: number): void {
    const depth = this.#depth;
    if (depth === this.#unitDepth) this.#beginUnit();
    else if (depth === this.#itemDepth) this.#beginItem();
    this.#bounds.value(this.#at);
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) return this.#open(byte);
    this.#isItemsValue = false;
    const end = byte === QUOTE
      ? stringEnd(this.#bytes, this.#at)
      : byte === MINUS || byte <= NINE
      ? numberEnd(this.#bytes, this.#at)
      : literalEnd(this.#bytes, this.#at);
    if (end < 0) return this.#fail(-end - 1);
    this.#at = end;
    this.#endValue();
    if (depth === 0 && byte !== QUOTE) this.#expected = SEPARATOR;
  }

  #open(byte: number): void {
    const isArray = byte === OPEN_ARRAY;
    if (this.#isItemsValue && isArray) this.#itemDepth = this.#depth + 1;
    this.#isItemsValue = false;
    this.#bounds.open(this.#depth - this.#base, this.#at);
    if (this.#depth === this.#isArray.length) {
      const larger = new Uint8Array(2 * this.#depth);
      larger.set(this.#isArray);
      this.#isArray = larger;
    }
    this.#isArray[this.#depth++] = isArray ? 1 : 0;
    this.#expected = isArray ? FIRST_VALUE : FIRST_KEY;
    this.#at++;
  }

  #close(): void {
    this.#at++;
    const depth = --this.#depth;
    if (depth < this.#itemDepth) {
      this.#itemDepth = -1;
      this.#base = this.#unitDepth;
    }
    this.#bounds.close(depth - this.#base, this.#at);
    this.#endValue();
  }

  #key(byte: number): void {
    const start = this.#at;
    const end = byte === QUOTE ? stringEnd(this.#bytes, start) : -start - 1;
    if (end < 0) return this.#fail(-end - 1);
    const depth = this.#depth;
    if (depth === this.#unitDepth + 1 && this.#options.lists === "items" && this.#isItemsKey(start, end)) {
      if (this.#hasItemsKey) return this.#fail(start, 'a second key "items"');
      this.#hasItemsKey = this.#isItemsValue = true;
    }
    this.#bounds.key(depth - 1 - this.#base, start, end);
    this.#expected = COLON;
    this.#at = end;
  }

  #isItemsKey(start: number, end: number): boolean {
    return end - start === ITEMS.length + 2 &&
      ITEMS.every((byte, index) => this.#bytes[start + 1 + index] === byte);
  }

  #beginUnit(): void {
    if (this.#unitDepth > 0) this.#element++;
    this.#unit = this.#mark();
    this.#hasItemsKey = false;
    this.#item = -1;
    this.#base = this.#unitDepth;
    // Where nothing is split, all documents are in memory at once.
    this.#bounds.begin(this.#options.lists === "whole" ? this.parts.at(-1)?.values : 0);
  }

  #beginItem(): void {
    this.#item++;
    this.#itemMark = this.#mark();
    this.#base = this.#itemDepth;
    this.#bounds.begin();
  }

  #mark(): Mark {
    return { start: this.#at, line: this.#line, lineStart: this.#lineStart };
  }

  #endValue(): void {
    const depth = this.#depth;
    this.#expected = NEXT;
    if (depth === this.#itemDepth) this.#endPart(this.#itemMark);
    // The object around a list that was split has been given by its items.
    else if (depth === this.#unitDepth && this.#item < 0) this.#endPart(this.#unit);
    if (depth > 0) return;
    if (this.#unitDepth > 0 && this.#element < 0) {
      this.#addError({ reason: "unreadable", message: "the list is empty", ...this.#place(this.#at - 1) });
    }
    this.#expected = DOCUMENT;
    this.#isInGarbage = false;
    this.documents++;
  }

  #endPart(mark: Mark): void {
    const { lists } = this.#options;
    const place = { document: this.documents, element: this.#element, item: this.#item };
    const { values, excess, members } = this.#bounds.end();
    const leftOut = place.element >= 0 || place.item >= 0 ? members : undefined;
    if (!excess) this.parts.push({ place, start: mark.start, end: this.#at, values, leftOut: NOTHING });
    else {
      const { reason, message, at } = excess;
      const shown = leftOut ? `${message}, left out` : message;
      this.#addError({ reason, message: shown, place, ...this.#position(at, mark) });
      if (leftOut) this.parts.push({ place, start: mark.start, end: this.#at, values, leftOut });
      if (lists === "whole" && reason === "too_large") this.#isOver = true;
    }
    if (this.parts.length + this.errors.length > JSON_LIMITS.parts) this.#isOver = this.tooMany = true;
  }

  /** The document being read is broken at a byte: reading continues at a line that may begin the next one. */
  #fail(at: number, message?: string): void {
    const isFirst = !this.#isInGarbage;
    const problem = isFirst ? message ?? this.#problem(at) : "";
    if (this.#expected !== DOCUMENT) {
      if (this.parts.length > this.#partsBefore) this.parts.length = this.#partsBefore;
      if (this.errors.length > this.#errorsBefore) this.errors.length = this.#errorsBefore;
      if (this.#expected === SEPARATOR) this.documents--;
    }
    if (isFirst) {
      this.#addError({ reason: "unreadable", message: problem, ...this.#place(at) });
    }
    if (!this.#options.several) this.#isOver = true;
    this.#isInGarbage = true;
    this.#depth = 0;
    this.#itemDepth = -1;
    this.#isItemsValue = false;
    const first = this.#bytes[this.#lineStart];
    const isNewDocument = this.#lineStart > this.#start && (first === OPEN_OBJECT || first === OPEN_ARRAY);
    this.#expected = isNewDocument ? DOCUMENT : NEXT_LINE;
    this.#at = isNewDocument ? this.#lineStart : at;
  }

  /** Line and column of a byte on the line being read. */
  #place(at: number): Pick<FoundError, "line" | "column"> {
    return this.#position(at, { start: this.#lineStart, line: this.#line, lineStart: this.#lineStart });
  }

  #addError(error: FoundError): void {
    this.errors.push(error);
    if (this.parts.length + this.errors.length > JSON_LIMITS.parts) this.#isOver = this.tooMany = true;
  }

  /** Line and column of a byte that is on a line after `mark`'s, or on it. */
  #position(at: number, mark: Mark): Pick<FoundError, "line" | "column"> {
    const bytes = this.#bytes;
    let { line, lineStart } = mark;
    const before = bytes.subarray(0, at);
    for (let index = before.indexOf(LINE_FEED, mark.start); index >= 0;) {
      line++;
      lineStart = index + 1;
      index = before.indexOf(LINE_FEED, lineStart);
    }
    const isBehind = this.#counted.at >= lineStart && this.#counted.at <= at;
    const { at: from, column: counted } = isBehind ? this.#counted : { at: lineStart, column: 1 };
    const column = counted + charactersIn(bytes.subarray(from, at));
    this.#counted = { at, column };
    return { line, column };
  }

  /** In our words: V8's do not always tell where, and quote the text, which may be anything. */
  #problem(at: number): string {
    if (at >= this.#bytes.length) {
      return this.#expected === DOCUMENT ? "the text is empty" : "the text ends too early";
    }
    const code = fragmentDecoder.decode(this.#bytes.subarray(at, at + 4)).codePointAt(0) ?? 0;
    const shown = code > SPACE && code < 127
      ? `"${String.fromCodePoint(code)}"`
      : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    return `unexpected ${shown}`;
  }
}
