/**
 * Masks passwords, tokens and credential headers inside command lines and messages. One pass by hand, linear in
 * the text: what triggers a look is one character, and what is looked at is bounded or consumed.
 */
import {
  afterIdentifier,
  afterSpaces,
  afterWord,
  identifierBefore,
  isBoundary,
  isQuote,
  isSpace,
  quotedEnd,
} from "./mask_scan.ts";
import {
  hasPasswordFlag,
  isFlagOfSecret,
  isHeaderOfSecret,
  isNameOfSecret,
  isValue,
  knownTokenEnd,
  looksRandom,
  passwordFlag,
  TOKEN_INITIALS,
} from "./mask_words.ts";

/** What stands where a secret stood. */
export const MASK = "***";

/** The text with every value that looks like a secret replaced by `***`; masking again changes nothing. */
export function mask(text: string): string {
  if (!mayHoldSecret(text)) return text;
  const scan = new Scan(text);
  while (scan.index < text.length) step(scan);
  return scan.finish();
}

/** The text being scanned: what is before `index` is decided, what is before `copied` is in `result`. */
class Scan {
  index = 0;
  copied = 0;
  result = "";
  /** The command whose options these are, where it is one with a password flag. */
  command = "";
  wordStart = 0;

  constructor(readonly text: string) {}

  /** Replaces `[start, end)` by the mask and goes on at `end`. */
  hide(start: number, end: number): void {
    this.result += this.text.slice(this.copied, start) + MASK;
    this.copied = this.index = end;
  }

  finish(): string {
    return this.result + this.text.slice(this.copied);
  }
}

/** What may begin at a character: most begin nothing, and this loop is run for every one of them. */
const EQUALS = 1, COLON = 2, SPACE = 3, TOKEN = 4;
const BEGINS = new Uint8Array(128);
for (const char of " \t\n\r") BEGINS[char.charCodeAt(0)] = SPACE;
for (const code of TOKEN_INITIALS) BEGINS[code] = TOKEN;
BEGINS[61] = EQUALS;
BEGINS[58] = COLON;

function step(scan: Scan): void {
  const { text } = scan;
  let { index } = scan;
  let begins = 0;
  for (; index < text.length; index++) {
    const code = text.charCodeAt(index);
    begins = code < 128 ? BEGINS[code] ?? 0 : 0;
    if (begins !== 0) break;
  }
  scan.index = index + 1;
  if (begins === EQUALS) afterEquals(scan, index);
  else if (begins === COLON) afterColon(scan, index);
  else if (begins === SPACE) afterSpace(scan, index);
  else if (begins === TOKEN && isBoundary(text, index)) {
    const end = knownTokenEnd(text, index);
    if (end > index) scan.hide(index, end);
  }
}

/** `password=x`, `--token=x`, `PGPASSWORD=x`, `?sig=x`, `-passin=…`. */
function afterEquals(scan: Scan, index: number): void {
  const { text } = scan;
  const key = identifierBefore(text, index, scan.copied);
  if (!isNameOfSecret(key.name)) return;
  hideValue(scan, index + 1, key.startsWord ? "word" : "list");
}

/** `https://user:x@host`, `"password": "x"`, `Authorization: Bearer x`, `pass:x`. */
function afterColon(scan: Scan, index: number): void {
  const { text } = scan;
  if (text.startsWith("//", index + 1)) return hideUserInfo(scan, index + 3);
  const quoted = index > 0 && isQuote(text[index - 1]);
  if (quoted) {
    const escape = text[index - 2] === "\\" ? 2 : 1;
    if (!isNameOfSecret(identifierBefore(text, index - escape, scan.copied).name)) return;
    return hideValue(scan, afterSpaces(text, index + 1), "list");
  }
  const { name } = identifierBefore(text, index, scan.copied);
  if (isHeaderOfSecret(name)) return hideHeader(scan, afterSpaces(text, index + 1));
  if (name === "pass" && text[index + 1] !== " ") hideValue(scan, index + 1, "word"); // openssl -passin pass:x
}

/** A word ended: does it ask for a secret in the next one? */
function afterSpace(scan: Scan, index: number): void {
  const { text } = scan;
  const word = text.slice(scan.wordStart, Math.min(index, scan.wordStart + 128));
  const next = afterSpaces(text, index);
  scan.wordStart = scan.index = next;
  if (word.startsWith("-")) {
    const flag = isFlagOfSecret(word) ? "next" : passwordFlag(scan.command, word);
    const value = text.slice(next, Math.min(afterWord(text, next), next + 16));
    if (flag === "next" && (isValue(value) || isQuote(text[next]))) return hideValue(scan, next, "word");
    if (flag === "user") return hideAfterColon(scan, next);
  } else {
    scan.command = commandOf(scan.command, word);
    if (isScheme(word)) {
      const end = afterWord(text, next);
      if (looksRandom(text.slice(next, Math.min(end, next + 256)))) return scan.hide(next, end);
    }
  }
  hideAttached(scan, next);
}

/** `mysql -psecret`, `sshpass -psecret`: the value is part of the flag's own word. */
function hideAttached(scan: Scan, start: number): void {
  if (scan.command === "" || scan.text[start] !== "-") return;
  const flag = scan.text.slice(start, start + 3);
  if (flag.length < 3 || isSpace(flag[2] ?? "") || passwordFlag(scan.command, flag) !== "attached") return;
  scan.hide(start + 2, afterWord(scan.text, start));
  scan.wordStart = start;
}

/** What is masked after a key: a quoted string, a word, or up to the next separator of a list. */
function hideValue(scan: Scan, start: number, form: "word" | "list"): void {
  const { text } = scan;
  const escaped = text[start] === "\\" && isQuote(text[start + 1]) ? 1 : 0;
  if (isQuote(text[start + escaped])) {
    const open = start + escaped;
    const end = quotedEnd(text, open, escaped === 1);
    if (end > open + 1) scan.hide(open + 1, end);
    return;
  }
  const end = form === "word" ? afterWord(text, start) : afterIdentifier(text, start);
  const value = text.slice(start, Math.min(end, start + 8));
  if (end === start || ["true", "false", "null", "none", "nil", MASK].includes(value.toLowerCase())) return;
  scan.hide(start, end);
}

/** A header's value: a scheme stays readable, its credentials go; else up to the end of the word or quote. */
function hideHeader(scan: Scan, start: number): void {
  const { text } = scan;
  const end = afterWord(text, start);
  const scheme = text.slice(start, Math.min(end, start + 20)).toLowerCase();
  const credentials = afterSpaces(text, end);
  const hasScheme = ["bearer", "basic", "digest", "token", "negotiate", "apikey", "ntlm", "aws4-hmac-sha256"]
    .includes(scheme) && credentials < text.length;
  let from = hasScheme ? credentials : start;
  let to = afterWord(text, from);
  // Parameters go on after a comma or semicolon: `a=1; b=2`, `Credential=…, Signature=…`.
  while (to > from && ",;".includes(text[to - 1] ?? " ") && to < text.length) {
    const next = afterSpaces(text, to);
    const after = afterWord(text, next);
    if (after === next) break;
    to = after;
  }
  if (text.slice(from, to) === MASK) from = to;
  if (to > from) scan.hide(from, to);
}

/** The password of `user:password@` in an address's authority. */
function hideUserInfo(scan: Scan, start: number): void {
  const { text } = scan;
  let end = start, at = -1, colon = -1;
  for (; end < text.length; end++) {
    const char = text[end] ?? "";
    if (isSpace(char) || isQuote(char) || "/?#<>".includes(char)) break;
    if (char === "@") at = end;
    if (char === ":" && colon < 0) colon = end;
  }
  scan.index = start;
  if (colon >= 0 && colon + 1 < at) scan.hide(colon + 1, at);
  else if (at > start && colon < 0 && looksRandom(text.slice(start, Math.min(at, start + 256)))) {
    scan.hide(start, at); // https://<token>@github.com/…
  }
}

/** `-u user:password`. */
function hideAfterColon(scan: Scan, start: number): void {
  const quote = isQuote(scan.text[start]) ? 1 : 0;
  const end = afterWord(scan.text, start + quote);
  let colon = start + quote;
  while (colon < end && scan.text[colon] !== ":") colon++;
  if (colon + 1 < end) scan.hide(colon + 1, end);
}

function isScheme(word: string): boolean {
  if (word.length !== 6 && word.length !== 5) return false;
  const lower = word.toLowerCase();
  return lower === "bearer" || lower === "basic";
}

/** The command in force after this word: a known tool's, or none after a separator. */
function commandOf(current: string, word: string): string {
  if (word.length <= 2 && ["|", "||", "&&", ";", "&"].includes(word)) return "";
  if (current !== "" && word === "login") return `${current} login`;
  const name = word.slice(word.lastIndexOf("/") + 1);
  return hasPasswordFlag(name) ? name : current;
}

/** A cheap first look: no text without one of these characters can match, few others need the scan. */
function mayHoldSecret(text: string): boolean {
  if (text.length < 5) return false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 61 || code === 58 || code === 45 || code === 95) return true; // = : - _
  }
  // Such a word and the shortest token that may follow or be it.
  return text.length >= 18 && knownWords.some((word) => text.includes(word));
}

const knownWords = ["AKIA", "ASIA", "AIza", "eyJ", "earer ", "asic "];
