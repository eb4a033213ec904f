/** Headers that carry credentials, and sentences that only use their names. */
import { afterIdentifier, isQuote } from "./mask_scan.ts";
import { looksLikePassword } from "./mask_words.ts";

/** Names of headers that are words of sentences too. */
const HEADER_WORDS = ["authorization", "cookie", "set-cookie"];

/** As much of a value as is looked at. */
const MAX_LOOK = 64;

/** True for `cookie: cookie accepts names …`, `set authorization: mode to Webhook`: no option, no quote, no such value. */
export function isSentence(
  text: string,
  { name, nameAt, start }: { name: string; nameAt: number; start: number },
): boolean {
  const header = name.toLowerCase();
  if (!HEADER_WORDS.includes(header) || isQuote(text[nameAt - 1])) return false;
  const before = text.slice(Math.max(0, nameAt - 9), nameAt).trimEnd();
  if (before.endsWith("-H") || before.endsWith("--header") || before.endsWith("--header=")) return false;
  const word = text.slice(start, afterIdentifier(text, start, MAX_LOOK));
  if (header !== "authorization") return !word.includes("=");
  return !isAuthScheme(word.toLowerCase()) && !looksLikePassword(word) && word.length < 20 && word !== "***";
}

/** How credentials in a header are to be read: a word that stays readable. */
export function isAuthScheme(word: string): boolean {
  return ["bearer", "basic", "digest", "token", "negotiate", "apikey", "ntlm", "aws4-hmac-sha256"].includes(
    word,
  );
}
