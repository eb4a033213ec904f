/** Headers that carry credentials, and sentences that only use their names. */
import { afterSpaces, afterWord, isQuote, isSpace } from "./mask_values.ts";

/** Names of headers that are words of sentences too. */
const HEADER_WORDS = ["authorization", "cookie", "set-cookie"];

/** As much as is looked at of a word. */
const MAX_LOOK = 32;

/**
 * True for `cookie: cookie accepts names …`, `set authorization: mode to Webhook`: no option, no quote, a name as no
 * tool prints it, and two words of a language. A cookie's first word ends with `=` or `;`, and so is none.
 */
export function isSentence(
  text: string,
  { name, nameAt, start }: { name: string; nameAt: number; start: number },
): boolean {
  if (!HEADER_WORDS.includes(name) || isQuote(text[nameAt - 1])) return false;
  if (!isSpace(text[nameAt + name.length + 1] ?? "") || isOption(text, nameAt)) return false;
  const end = afterLetters(text, start);
  const word = text.slice(start, end);
  if (end === start || word !== word.toLowerCase() || isAuthScheme(word)) return false;
  if (text[end] !== " ") return false;
  const next = afterLetters(text, end + 1);
  return next - end > 2 && " \t\r\n.,;:)".includes(text[next] ?? " ");
}

/** True where the word before is a flag that a header follows: `-H`, `--header=`, `-rpc-header`. */
function isOption(text: string, nameAt: number): boolean {
  const before = text.slice(Math.max(0, nameAt - MAX_LOOK), nameAt).trimEnd();
  const word = before.slice(Math.max(before.lastIndexOf(" "), before.lastIndexOf("\n")) + 1);
  return word.length > 1 && word.startsWith("-");
}

function afterLetters(text: string, start: number): number {
  let end = start;
  while (end < text.length && end - start < MAX_LOOK && isLetter(text.charCodeAt(end) | 32)) end++;
  return end;
}

function isLetter(lowerCode: number): boolean {
  return lowerCode >= 97 && lowerCode <= 122;
}

/** Where a header's credentials are: after a scheme, which stays readable; else up to the end of the word or quote. */
export function credentialsAt(text: string, value: number): { readonly from: number; readonly to: number } {
  const start = text[value] === "[" ? value + 1 : value; // map[Authorization:[Bearer x]], as Go prints headers
  const end = afterWord(text, start);
  const scheme = text.slice(start, Math.min(end, start + 20)).toLowerCase();
  const credentials = afterSpaces(text, end);
  const from = isAuthScheme(scheme) && credentials < text.length ? credentials : start;
  let to = afterWord(text, from);
  // Parameters go on after a comma or semicolon: `a=1; b=2`, `Credential=…, Signature=…`.
  while (to > from && ",;".includes(text[to - 1] ?? " ") && to < text.length) {
    const next = afterSpaces(text, to);
    const after = afterWord(text, next);
    if (after === next) break;
    to = after;
  }
  return { from, to };
}

/** How credentials in a header are to be read: a word that stays readable. */
function isAuthScheme(word: string): boolean {
  return ["bearer", "basic", "digest", "token", "negotiate", "apikey", "ntlm", "aws4-hmac-sha256"].includes(
    word,
  );
}
