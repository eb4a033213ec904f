/** Finds where a text stops being JSON: `JSON.parse` tells only sometimes. */

const WORDS: Readonly<Record<string, string>> = { t: "true", f: "false", n: "null" };

/** The index of the first character that no JSON document could have there; `end` where it ends too early. */
export function jsonErrorAt(text: string, start: number, end: number): number {
  const open: string[] = []; // brackets not closed yet
  let expected: "value" | "first" | "key" | "colon" | "next" = "value";
  let index = start;
  while (index < end) {
    const char = text[index] ?? "";
    if (char === " " || char === "\n" || char === "\r" || char === "\t") {
      index++;
      continue;
    }
    if (expected === "next") {
      if (open.length === 0) return index;
      if (char === ",") expected = open.at(-1) === "{" ? "key" : "value";
      else if (char === (open.at(-1) === "{" ? "}" : "]")) open.pop();
      else return index;
      index++;
    } else if (expected === "colon") {
      if (char !== ":") return index;
      expected = "value";
      index++;
    } else if (expected === "first" && char === (open.at(-1) === "{" ? "}" : "]")) {
      open.pop();
      expected = "next";
      index++;
    } else if (expected === "key" || (expected === "first" && open.at(-1) === "{")) {
      if (char !== '"') return index;
      const string = stringAt(text, index, end);
      if (!string.ok) return string.at;
      expected = "colon";
      index = string.at;
    } else if (char === "{" || char === "[") {
      open.push(char);
      expected = "first";
      index++;
    } else {
      const scalar = scalarAt(text, index, end);
      if (!scalar.ok) return scalar.at;
      expected = "next";
      index = scalar.at;
    }
  }
  return end;
}

/** `at`: the index after it, or the index of what is wrong in it. */
interface Scanned {
  readonly ok: boolean;
  readonly at: number;
}

function scalarAt(text: string, start: number, end: number): Scanned {
  const char = text[start] ?? "";
  if (char === '"') return stringAt(text, start, end);
  const word = Object.hasOwn(WORDS, char) ? WORDS[char] : undefined;
  if (word === undefined) return numberAt(text, start, end);
  for (let index = 0; index < word.length; index++) {
    if (text[start + index] !== word[index] || start + index >= end) return { ok: false, at: start + index };
  }
  return { ok: true, at: start + word.length };
}

function stringAt(text: string, start: number, end: number): Scanned {
  for (let index = start + 1; index < end; index++) {
    const char = text[index] ?? "";
    if (char === '"') return { ok: true, at: index + 1 };
    if (char < " ") return { ok: false, at: index };
    if (char !== "\\") continue;
    const escaped = text[++index] ?? "";
    if (escaped !== "u") {
      if (!'"\\/bfnrt'.includes(escaped) || escaped === "") return { ok: false, at: index };
      continue;
    }
    for (let digit = 0; digit < 4; digit++) {
      if (!"0123456789abcdefABCDEF".includes(text[++index] ?? "?")) return { ok: false, at: index };
    }
  }
  return { ok: false, at: end };
}

function numberAt(text: string, start: number, end: number): Scanned {
  let index = text[start] === "-" ? start + 1 : start;
  if (text[index] === "0") index++;
  else {
    const after = afterDigits(text, index, end);
    if (after === index) return { ok: false, at: index };
    index = after;
  }
  if (text[index] === ".") {
    const after = afterDigits(text, index + 1, end);
    if (after === index + 1) return { ok: false, at: after };
    index = after;
  }
  if (text[index] === "e" || text[index] === "E") {
    const sign = text[index + 1] === "+" || text[index + 1] === "-" ? 2 : 1;
    const after = afterDigits(text, index + sign, end);
    if (after === index + sign) return { ok: false, at: after };
    index = after;
  }
  return { ok: true, at: index };
}

function afterDigits(text: string, start: number, end: number): number {
  let index = start;
  while (index < end && text.charCodeAt(index) >= 48 && text.charCodeAt(index) <= 57) index++;
  return index;
}
