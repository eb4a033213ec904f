/** Where tokens of JSON end, over bytes. A negative result -n-1 says that byte n cannot be there. */

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

/** The index after `true`, `false` or `null`; -start-1 where none of them begins there. */
export function wordEnd(bytes: Uint8Array, start: number): number {
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
