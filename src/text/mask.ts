/**
 * Masks passwords, tokens and credential headers inside command lines and messages. One pass by hand, linear in
 * the text: what triggers a look is one character, and what is looked at is bounded or consumed.
 */
import {
  afterIdentifier,
  afterSpaces,
  afterWord,
  beforeSpaces,
  identifierBefore,
  isBoundary,
  isPath,
  isPlaceholder,
  isQuote,
  isReference,
  isSpace,
  looksLikePassword,
  looksRandom,
  quotedEnd,
} from "./mask_values.ts";
import { commandOf, passwordFlag } from "./mask_commands.ts";
import { credentialsAt, isSentence } from "./mask_headers.ts";
import { commandArguments, decoded } from "./mask_query.ts";
import {
  isFlagOfSecret,
  isHeaderOfSecret,
  isNameOfSecret,
  isPlainNameOfSecret,
  isValue,
  knownTokenEnd,
  mayNameKeyFile,
  secretPathStart,
  TOKEN_INITIALS,
  TOKEN_WORDS,
} from "./mask_words.ts";

/** What stands where a secret stood. */
export const MASK = "***";

/** As much of an unquoted value as is looked at. */
const MAX_ASSIGNED = 64;

/** The text with every value that looks like a secret replaced by `***`; masking again changes nothing. */
export function mask(text: string): string {
  return masked(text, false);
}

function masked(text: string, isArguments: boolean): string {
  if (!mayHoldSecret(text)) return text;
  const scan = new Scan(text, isArguments);
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
  /** Up to where no `user:password` is: words in a word are not looked through again. */
  withoutUser = 0;

  /** With `isArguments` it is those of an address: looked at once, however deep addresses are in one another. */
  constructor(readonly text: string, readonly isArguments: boolean) {}

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
  if (key.name === "") return hideAssigned(scan, { nameEnd: beforeSpaces(text, index), valueAt: index + 1 });
  if (
    key.name === "command" && !scan.isArguments && "?&".includes(text[index - "command".length - 1] ?? " ")
  ) {
    return hideArguments(scan, index + 1);
  }
  if (passwordFlag(scan.command, key.name) === "user") return hideAfterColon(scan, index + 1);
  if (!isNameOfSecret(key.name) || (mayNameKeyFile(key.name) && isPath(text, index + 1))) return;
  hideValue(scan, index + 1, key.startsWord ? "word" : "list");
}

/** The arguments of a command in an address, where they hold a secret when read as the command line they are. */
function hideArguments(scan: Scan, start: number): void {
  const ranges = commandArguments(scan.text, start);
  scan.index = ranges.at(-1)?.end ?? start;
  const line = ranges.map((range) => decoded(scan.text.slice(range.start, range.end))).join(" ");
  if (masked(line, true) === line) return;
  // What is typed first names the tool.
  for (const range of ranges.length === 1 ? ranges : ranges.slice(1)) scan.hide(range.start, range.end);
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
  if (isHeaderOfSecret(name)) {
    const start = afterSpaces(text, index + 1);
    if (isSentence(text, { name, nameAt: index - name.length, start })) return;
    const { from, to } = credentialsAt(text, start);
    return text.slice(from, to) === MASK || from === to ? undefined : scan.hide(from, to);
  }
  if (name === "pass" && text[index + 1] !== " ") return hideValue(scan, index + 1, "word"); // openssl -passin pass:x
  hideAssigned(scan, { nameEnd: beforeSpaces(text, index), valueAt: index + 1 });
}

/**
 * `password: x1`, `Token:x1`, `password = x1`, as headers, YAML and settings write it. So do sentences and images
 * (`repo/token:1.2`): an unquoted value has to look like one.
 */
function hideAssigned(scan: Scan, { nameEnd, valueAt }: { nameEnd: number; valueAt: number }): void {
  const { text } = scan;
  const { name } = identifierBefore(text, nameEnd, scan.copied);
  if (name === "" || "/@:%".includes(text[nameEnd - name.length - 1] ?? " ")) return;
  if (!isPlainNameOfSecret(name)) return;
  const start = afterSpaces(text, valueAt);
  const end = afterIdentifier(text, start, MAX_ASSIGNED);
  if (isPath(text, start)) return;
  if (isQuote(text[start]) || looksLikePassword(text.slice(start, end))) hideValue(scan, start, "list");
}

/** A word ended: does it ask for a secret in the next one? */
function afterSpace(scan: Scan, index: number): void {
  const { text } = scan;
  const word = text.slice(scan.wordStart, Math.min(index, scan.wordStart + 128));
  // What stood where the mask is names no command.
  const shown = scan.copied > scan.wordStart ? text.slice(scan.copied, index) : word;
  const next = afterSpaces(text, index);
  scan.wordStart = scan.index = next;
  if (word.startsWith("-")) {
    const flag = isFlagOfSecret(word) ? "next" : passwordFlag(scan.command, word);
    const value = text.slice(next, Math.min(afterWord(text, next), next + 16));
    const isGiven = flag === "next" || (flag === "cookie" && hasEquals(text, next));
    if (isGiven && (isValue(value) || isQuote(text[next]))) return hideValue(scan, next, "word");
    if (flag === "user") return hideAfterColon(scan, next);
  } else {
    scan.command = commandOf(scan.command, shown);
    // `aws configure set aws_secret_access_key x`
    if (isScheme(word) || (word.includes("_") && isFlagOfSecret(word))) {
      const end = afterWord(text, next);
      if (looksRandom(text.slice(next, Math.min(end, next + 256)))) return scan.hide(next, end);
    }
  }
  if (word.endsWith("-----BEGIN")) return hidePrivateKey(scan, next);
  hideAttached(scan, next);
}

/** `-----BEGIN RSA PRIVATE KEY----- … -----END`: all between the lines, or what there is of it. */
function hidePrivateKey(scan: Scan, start: number): void {
  const line = "PRIVATE KEY-----";
  const at = scan.text.slice(start, start + 40).indexOf(line);
  if (at < 0) return;
  const from = start + at + line.length;
  const end = scan.text.indexOf("-----END", from);
  scan.hide(from, end < 0 ? scan.text.length : end);
}

/** `mysql -psecret`, `sshpass -psecret`, `curl -uuser:secret`: the value is part of the flag's own word. */
function hideAttached(scan: Scan, next: number): void {
  const { text } = scan;
  const start = isQuote(text[next]) ? next + 1 : next;
  if (scan.command === "" || text[start] !== "-") return;
  const flag = text.slice(start, start + 3);
  if (flag.length < 3 || isSpace(flag[2] ?? "")) return;
  const isAttached = passwordFlag(scan.command, flag) === "attached";
  if (isAttached && isQuote(flag[2])) return hideValue(scan, start + 2, "word");
  if (isAttached) scan.hide(start + 2, afterWord(text, start));
  else if (passwordFlag(scan.command, flag.slice(0, 2)) === "user") hideAfterColon(scan, start + 2);
  scan.wordStart = next;
}

/** What is masked after a key: a quoted string, a word, or up to the next separator of a list. */
function hideValue(scan: Scan, start: number, form: "word" | "list"): void {
  const { text } = scan;
  const escaped = text[start] === "\\" && isQuote(text[start + 1]) ? 1 : 0;
  if (isQuote(text[start + escaped])) {
    const open = start + escaped;
    if (isReference(text, open + 1, "quoted")) return;
    const end = quotedEnd(text, open, escaped === 1);
    if (end > open + 1 && !isNoSecret(text.slice(open + 1, Math.min(end, open + 9)))) {
      scan.hide(open + 1, end);
    }
    return;
  }
  // Before the value's end is looked for: what is left alone is not consumed, and would be looked through again.
  if (isReference(text, start, form) || isPlaceholder(text, start)) return;
  let end = form === "word" ? afterWord(text, start) : afterIdentifier(text, start);
  if (form === "list" && text.startsWith("${", start) && text[end] === "}") {
    end = afterIdentifier(text, end + 1);
  }
  if (end === start || isNoSecret(text.slice(start, Math.min(end, start + 8)))) return;
  scan.hide(start, end);
}

/** Constants, the mask itself, and what only opens: JSON's brackets. */
function isNoSecret(value: string): boolean {
  return ["true", "false", "null", "none", "nil", "{", "[", MASK].includes(value.toLowerCase());
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
  const path = secretPathStart(text, start);
  if (path > start) return scan.hide(path, afterWord(text, path));
  if (colon >= 0 && colon + 1 < at) scan.hide(colon + 1, at);
  else if (at > start && colon < 0 && looksRandom(text.slice(start, Math.min(at, start + 256)))) {
    scan.hide(start, at); // https://<token>@github.com/…
  }
}

/** `-u user:password`. */
function hideAfterColon(scan: Scan, start: number): void {
  if (start < scan.withoutUser) return;
  const quote = isQuote(scan.text[start]) ? 1 : 0;
  const end = afterWord(scan.text, start + quote);
  let colon = start + quote;
  while (colon < end && scan.text[colon] !== ":") colon++;
  if (colon + 1 < end) scan.hide(colon + 1, end);
  else scan.withoutUser = end;
}

/** True for `a=b` and `"a=b"`: without, what `curl -b` takes is the name of a file. */
function hasEquals(text: string, start: number): boolean {
  const end = isQuote(text[start]) ? quotedEnd(text, start, false) : afterWord(text, start);
  return text.slice(start, end).includes("=");
}

function isScheme(word: string): boolean {
  if (word.length !== 6 && word.length !== 5) return false;
  const lower = word.toLowerCase();
  return lower === "bearer" || lower === "basic";
}

/** A cheap first look: no text without one of these characters can match, few others need the scan. */
function mayHoldSecret(text: string): boolean {
  if (text.length < 5) return false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 61 || code === 58 || code === 45 || code === 95) return true; // = : - _
  }
  // Such a word and the shortest token that may follow or be it.
  return text.length >= 18 && KNOWN_WORDS.some((word) => text.includes(word));
}

const KNOWN_WORDS = [...TOKEN_WORDS, "earer ", "asic "];
