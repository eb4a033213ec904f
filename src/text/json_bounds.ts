/** Bounds of JSON texts, counted while they are scanned, and where their numbers, strings and words end. */

/** Bounds of what is read. A part is a document, or the item of a list that is split. */
export const JSON_LIMITS = {
  /** Levels of nesting in a part. */
  depth: 64,
  /** Values in a part. */
  values: 500_000,
  /** Keys of one object. */
  keys: 10_000,
  /** Parts of a text, and stretches of it that are not JSON. */
  parts: 10_000,
} as const;

/** What a part has too much of, and the byte where that shows. */
export interface Excess {
  readonly reason: "too_deep" | "too_large";
  readonly message: string;
  readonly at: number;
}

/** What was counted in a part. */
interface Counted {
  readonly values: number;
  readonly excess: Excess | undefined;
  /** Where the members begin and end in which all excess lies; undefined where the part itself has too much. */
  readonly members: readonly Range[] | undefined;
}

/** Bytes from `start` on and before `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * V8 makes a hidden class for each new order in which keys come, up to this many keys; larger objects are plain tables.
 * A class costs up to 2.4 µs and 400 bytes, a key of a table 0.3 µs: text of nothing but new keys took 200 ms per MiB.
 */
const MAX_CLASS_KEYS = 127;
/** New keys that a text may bring however short it is, and the bytes for which it may bring one more. */
const FREE_NEW_KEYS = 1024;
const BYTES_FOR_NEW_KEY = 128;
/** New keys of a part that fit where others brought too many before it: those of an audit event without its objects. */
const LEAST_NEW_KEYS = 48;
/** A sender cannot know it, and so cannot choose keys that count as seen. */
const SEED = Math.trunc(Math.random() * 2 ** 31);
/** Members that are left out of one part. */
const MAX_LEFT_OUT = 1_000;

const TOO_DEEP = { reason: "too_deep", message: `nested deeper than ${JSON_LIMITS.depth} levels` } as const;
const TOO_MANY_KEYS = {
  reason: "too_large",
  message: `more than ${JSON_LIMITS.keys} keys in one object`,
} as const;
const TOO_MANY_NEW_KEYS = { reason: "too_large", message: "too many different keys" } as const;

/** Counts one part after the other of a text. Levels are those of the part, which is level 0 itself. */
export class JsonBounds {
  readonly #bytes: Uint8Array;
  readonly #maxValues: number;
  readonly #tooManyValues: Omit<Excess, "at">;
  #values = 0;
  /** The first excess in the part, and the one in the member being read. */
  #excess: Excess | undefined;
  #memberExcess: Excess | undefined;
  #hasOwnExcess = false;
  #isInMember = false;
  #member = { start: 0, values: 0, newKeys: 0 };
  #leftOut: Range[] = [];

  /** New keys in the part, and of all parts so far. */
  #newKeys = 0;
  #newKeysOfText = 0;
  #maxNewKeys: number;
  readonly #maxNewKeysOfText: number;
  /** A bit for each order of keys seen in the text. */
  readonly #seen: Uint32Array;
  readonly #shift: number;
  /** Of the open object at each level: its keys, the new ones among them, and the hash of all of them in order. */
  readonly #keys = new Int32Array(JSON_LIMITS.depth);
  readonly #newKeysOf = new Int32Array(JSON_LIMITS.depth);
  readonly #order = new Int32Array(JSON_LIMITS.depth);

  constructor(bytes: Uint8Array, maxValues: number) {
    this.#bytes = bytes;
    this.#maxValues = maxValues;
    this.#tooManyValues = { reason: "too_large", message: `more than ${maxValues} values` };
    this.#maxNewKeysOfText = FREE_NEW_KEYS + Math.floor(bytes.length / BYTES_FOR_NEW_KEY);
    this.#maxNewKeys = this.#maxNewKeysOfText;
    const bits = Math.ceil(Math.log2(this.#maxNewKeysOfText * 8));
    this.#seen = new Uint32Array(2 ** (bits - 5));
    this.#shift = 32 - bits;
  }

  /** A part begins; `values` are counted with its own. */
  begin(values = 0): void {
    this.#values = values;
    this.#newKeys = 0;
    this.#maxNewKeys = Math.max(this.#maxNewKeysOfText - this.#newKeysOfText, LEAST_NEW_KEYS);
    this.#isInMember = this.#hasOwnExcess = false;
    this.#excess = this.#memberExcess = undefined;
    if (this.#leftOut.length > 0) this.#leftOut = [];
  }

  /** A value begins. */
  value(at: number): void {
    if (++this.#values > this.#maxValues) this.#exceed(this.#tooManyValues, at);
  }

  /** A container begins. */
  open(level: number, at: number): void {
    if (level >= JSON_LIMITS.depth) return this.#exceed(TOO_DEEP, at);
    this.#keys[level] = this.#newKeysOf[level] = 0;
    this.#order[level] = SEED;
    if (level !== 1) return;
    this.#isInMember = true;
    this.#member = { start: at, values: this.#values, newKeys: this.#newKeys };
  }

  /** A key, at `start` and before `end`, of the open object at `level`. */
  key(level: number, start: number, end: number): void {
    if (level >= JSON_LIMITS.depth || this.#memberExcess) return;
    const keys = this.#keys[level] = (this.#keys[level] ?? 0) + 1;
    if (keys > JSON_LIMITS.keys) this.#exceed(TOO_MANY_KEYS, start);
    if (keys <= MAX_CLASS_KEYS && this.#isNewKey(level, start, end)) {
      this.#newKeysOf[level] = (this.#newKeysOf[level] ?? 0) + 1;
      if (++this.#newKeys > this.#maxNewKeys) this.#exceed(TOO_MANY_NEW_KEYS, start);
    }
  }

  /** The container at `level` ends before `end`. */
  close(level: number, end: number): void {
    if (level >= JSON_LIMITS.depth) return;
    if ((this.#keys[level] ?? 0) > MAX_CLASS_KEYS) this.#newKeys -= this.#newKeysOf[level] ?? 0;
    if (level !== 1) return;
    this.#isInMember = false;
    if (!this.#memberExcess) return;
    const { start, values, newKeys } = this.#member;
    this.#memberExcess = undefined;
    this.#leftOut.push({ start, end });
    if (this.#leftOut.length > MAX_LEFT_OUT) this.#hasOwnExcess = true;
    // Keys of it that count as seen now are paid for.
    this.#newKeysOfText += this.#newKeys - newKeys;
    this.#newKeys = newKeys;
    this.#values = values;
  }

  /** The part ends: what it holds. */
  end(): Counted {
    this.#newKeysOfText += this.#newKeys;
    const members = this.#hasOwnExcess ? undefined : this.#leftOut;
    return { values: this.#values, excess: this.#excess, members };
  }

  #exceed(excess: Omit<Excess, "at">, at: number): void {
    if (!this.#isInMember) this.#hasOwnExcess = true;
    else if (this.#memberExcess) return;
    else this.#memberExcess = { ...excess, at };
    this.#excess ??= { ...excess, at };
  }

  #isNewKey(level: number, start: number, end: number): boolean {
    let order = this.#order[level] ?? 0;
    for (let index = start; index < end; index++) {
      order = Math.imul(order ^ (this.#bytes[index] ?? 0), 0x01000193);
    }
    this.#order[level] = order;
    const bit = Math.imul(order, 0x9e3779b1) >>> this.#shift;
    const seen = this.#seen[bit >>> 5] ?? 0;
    this.#seen[bit >>> 5] = seen | (1 << (bit & 31));
    return (seen & (1 << (bit & 31))) === 0;
  }
}

const QUOTE = 34, BACKSLASH = 92, MINUS = 45, PLUS = 43, DOT = 46, ZERO = 48, NINE = 57;
const UPPER_E = 69, LOWER_E = 101, LOWER_U = 117;

/** What may follow a backslash, beside `u`. */
const ESCAPED = flags('"\\/bfnrt');
const HEX = flags("0123456789abcdefABCDEF");
const WORDS: Readonly<Record<string, Uint8Array>> = Object.fromEntries(
  ["true", "false", "null"].map((word) => [word[0], new TextEncoder().encode(word)]),
);

/** The index after the string whose quote opens at `start`. */
export function stringEnd(bytes: Uint8Array, start: number): number {
  const end = bytes.length;
  let index = start + 1;
  while (index < end) {
    const byte = bytes[index] ?? 0;
    if (byte === QUOTE) return index + 1;
    if (byte === BACKSLASH) {
      index = escapeEnd(bytes, index);
      if (index < 0) return index;
    } else if (byte < 32) return -index - 1;
    else index++;
  }
  return -end - 1;
}

function escapeEnd(bytes: Uint8Array, start: number): number {
  const escaped = bytes[start + 1] ?? 0;
  if (escaped !== LOWER_U) return ESCAPED[escaped] === 1 ? start + 2 : -start - 2;
  for (let index = start + 2; index < start + 6; index++) {
    if (HEX[bytes[index] ?? 0] !== 1) return -Math.min(index, bytes.length) - 1;
  }
  return start + 6;
}

/** The index after the number that begins at `start`. */
export function numberEnd(bytes: Uint8Array, start: number): number {
  let index = bytes[start] === MINUS ? start + 1 : start;
  if (bytes[index] === ZERO) index++;
  else {
    const after = digitsEnd(bytes, index);
    if (after === index) return -index - 1;
    index = after;
  }
  if (bytes[index] === DOT) {
    const after = digitsEnd(bytes, index + 1);
    if (after === index + 1) return -after - 1;
    index = after;
  }
  if (bytes[index] === LOWER_E || bytes[index] === UPPER_E) {
    const sign = bytes[index + 1] === PLUS || bytes[index + 1] === MINUS ? 2 : 1;
    const after = digitsEnd(bytes, index + sign);
    if (after === index + sign) return -after - 1;
    index = after;
  }
  return index;
}

/** The index after `true`, `false` or `null`; where none of them is there, -index-1 of the first byte that differs. */
export function literalEnd(bytes: Uint8Array, start: number): number {
  const word = WORDS[String.fromCharCode(bytes[start] ?? 0)] ?? NO_WORD;
  for (let index = 0; index < word.length; index++) {
    if (bytes[start + index] !== word[index]) return -(start + index) - 1;
  }
  return word.length === 0 ? -start - 1 : start + word.length;
}

const NO_WORD = new Uint8Array();

function digitsEnd(bytes: Uint8Array, start: number): number {
  let index = start;
  for (;;) {
    const byte = bytes[index] ?? 0;
    if (byte < ZERO || byte > NINE) return index;
    index++;
  }
}

function flags(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
