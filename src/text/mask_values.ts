/** What stands where a secret would: constants, references, paths, versions. Each look ends at what no such value has. */
import { isAlphanumericCode, isNameCode, isQuote, isSpace } from "./mask_scan.ts";

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
