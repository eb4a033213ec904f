/** Values that are no secrets (constants, references, paths, versions), and the scans that all parts of masking use. */

/** As much of a path, a reference or a placeholder as is looked at: longer ones are masked. */
const MAX_LOOK = 256;

/** How far a value goes: to the end of its quotes, of its word, or to the next separator of a list. */
export type Form = "quoted" | "word" | "list";

/** True where the value at `start` names what a shell or Kubernetes puts there: `${NAME}`, `$(NAME)`, `$(cat …`. */
export function isReference(text: string, start: number, form: Form): boolean {
  if (text[start] !== "$") return false;
  const isVariable = text[start + 1] === "{";
  if (!isVariable && text[start + 1] !== "(") return false;
  const from = start + 2;
  // `${NAME-default}` holds a value: no dash in a variable's name, unlike a command's.
  const end = after(text, from, isVariable ? isVariableCode : isNameCode);
  if (end === from) return false;
  if (!isVariable && (end === text.length || isSpace(text[end] ?? ""))) return true;
  return text[end] === (isVariable ? "}" : ")") && endsValue(text, end + 1, form);
}

/** True for `<path/to/key>`, as manuals write what is to be filled in. */
export function isPlaceholder(text: string, start: number): boolean {
  return text[start] === "<" && text[after(text, start + 1, isPathCode)] === ">";
}

/** True where the value at `start` is a file's path: base64 may begin with a slash too, so one alone is not enough. */
export function isPath(text: string, start: number): boolean {
  if (text[start] !== "/") return false;
  const end = after(text, start, isPathCode);
  if (!endsValue(text, end, "list")) return false;
  const path = text.slice(start, end);
  return path.includes("/", 1) || path.endsWith(".key") || path.endsWith(".pem");
}

/** True for the beginnings of a version, a vulnerability's id and a date: what `x-token: ` is followed by in reports. */
export function isVersionOrDate(value: string): boolean {
  if (value.startsWith("CVE")) return isDigit(value, 3) || (value[3] === "-" && isDigit(value, 4));
  const from = value.startsWith("v") ? 1 : 0;
  let end = from;
  while (isDigit(value, end)) end++;
  if (end === from) return false;
  return (value[end] === "." && isDigit(value, end + 1)) || (from === 0 && isDate(value));
}

/** `2026-01-01`, alone or with a time. */
function isDate(value: string): boolean {
  for (let index = 0; index < 10; index++) {
    if (index === 4 || index === 7 ? value[index] !== "-" : !isDigit(value, index)) return false;
  }
  return value.length === 10 || (value[10] === "T" && isDigit(value, 11));
}

/** True for what no word of a language looks like: long, with a digit. */
export function looksRandom(text: string): boolean {
  if (text.length < 12) return false;
  for (let index = 0; index < text.length; index++) {
    if (isDigit(text, index)) return true;
  }
  return false;
}

/** True for what may be a password and is no word of a sentence: letters and digits. */
export function looksLikePassword(text: string): boolean {
  if (text.length < 4 || isVersionOrDate(text)) return false;
  let digits = 0, letters = 0;
  for (let index = 0; index < text.length; index++) {
    if (isDigit(text, index)) digits++;
    else if (isAlphanumericCode(text.charCodeAt(index))) letters++;
  }
  return digits > 0 && letters > 0;
}

function after(text: string, start: number, isPart: (code: number) => boolean): number {
  let end = start;
  const last = Math.min(text.length, start + MAX_LOOK);
  while (end < last && isPart(text.charCodeAt(end))) end++;
  return end;
}

function endsValue(text: string, end: number, form: Form): boolean {
  const char = text[end];
  if (isQuote(char) || (char === "\\" && isQuote(text[end + 1]))) return true;
  if (form === "quoted") return false;
  return char === undefined || isSpace(char) || (form === "list" && "&;,)}]|<>".includes(char));
}

function isVariableCode(code: number): boolean {
  return isAlphanumericCode(code) || code === 95;
}

function isPathCode(code: number): boolean {
  return isNameCode(code) || code === 47;
}

function isDigit(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 48 && code <= 57;
}

const NAME_MAX = 64;

/** The name that ends just before `end`, and whether it is the start of a word (a flag, a variable). */
export function identifierBefore(
  text: string,
  end: number,
  floor: number,
): { readonly name: string; readonly startsWord: boolean } {
  let start = end;
  const lowest = Math.max(floor, end - NAME_MAX);
  while (start > lowest && isNameCode(text.charCodeAt(start - 1))) start--;
  const before = start === 0 ? " " : text[start - 1] ?? " ";
  return { name: text.slice(start, end), startsWord: isSpace(before) || isQuote(before) };
}

/** The index after the word at `start`: up to white space or a quote. */
export function afterWord(text: string, start: number): number {
  let end = start;
  while (end < text.length && !isSpace(text[end] ?? "") && !isQuote(text[end])) end++;
  return end;
}

/** The index after the list item at `start`: up to white space, a quote or what separates items. */
export function afterIdentifier(text: string, start: number, limit = Infinity): number {
  let end = start;
  const last = Math.min(text.length, start + limit);
  while (end < last && !" \t\n\r&;,\"'`)}]|<>\\".includes(text[end] ?? " ")) end++;
  return end;
}

/** The index of the quote that closes the one at `open`; where none does, the end of the word. */
export function quotedEnd(text: string, open: number, escaped: boolean): number {
  const quote = text[open] ?? '"';
  if (escaped) {
    const end = text.indexOf(`\\${quote}`, open + 1);
    return end < 0 ? afterWord(text, open + 1) : end;
  }
  for (let index = open + 1; index < text.length; index++) {
    if (text[index] === "\\") index++;
    else if (text[index] === quote) return index;
  }
  return afterWord(text, open + 1);
}

/** The index of the next character that is no space. */
export function afterSpaces(text: string, start: number): number {
  let index = start;
  while (index < text.length && isSpace(text[index] ?? "")) index++;
  return index;
}

/** The index after what is before `end` and its spaces; a few, as people align settings. */
export function beforeSpaces(text: string, end: number): number {
  let index = end;
  while (index > 0 && end - index < 16 && isSpace(text[index - 1] ?? "")) index--;
  return index;
}

/** True where a token may start: the character before is no letter, digit, dash or underscore. */
export function isBoundary(text: string, index: number): boolean {
  if (index === 0) return true;
  const code = text.charCodeAt(index - 1);
  return !isAlphanumericCode(code) && code !== 45 && code !== 95;
}

export function isSpace(char: string): boolean {
  return char === " " || char === "\t" || char === "\n" || char === "\r";
}

export function isQuote(char: string | undefined): boolean {
  return char === '"' || char === "'" || char === "`";
}

export function isAlphanumericCode(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
}

/** Letters, digits, `-`, `.`, `_`: what names of flags, variables, headers and keys are made of. */
export function isNameCode(code: number): boolean {
  return isAlphanumericCode(code) || code === 45 || code === 46 || code === 95;
}
