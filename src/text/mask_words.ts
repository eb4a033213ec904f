/** The words that give a secret away: names of keys and headers, flags of known tools, shapes of tokens. */
import { isAlphanumericCode, isNameCode, looksRandom } from "./mask_values.ts";

/** A part of a name that makes its value a secret, wherever it ends one. */
const SECRET_ENDINGS = ["password", "passwd", "passphrase", "passcode", "secret", "token", "apikey"];
const SECRET_WORDS = new Set([
  ...[
    "pass",
    "pwd",
    "psw",
    "pw",
    "creds",
    "cred",
    "credential",
    "credentials",
    "passwords",
    "secrets",
    "tokens",
  ],
  ...["auth", "authorization", "cookie", "sig", "signature", "sessionid", "bearer", "jwt", "accesskey"],
  ...["privatekey", "secretkey"],
]);
/** `key` alone names many things; after one of these it names a secret. */
const KEY_QUALIFIERS = new Set([
  ...["api", "access", "private", "secret", "auth", "signing", "encryption", "master", "account", "shared"],
  ...["storage", "client", "license", "ssh"],
]);
/** What a name that ends so holds is about the secret, not the secret. */
const HARMLESS_ENDINGS = new Set([
  ...[
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "url",
    "uri",
    "endpoint",
    "name",
    "namespace",
    "type",
    "ttl",
  ],
  ...["count", "length", "size", "expiry", "expires", "expiration", "lifetime", "policy", "mode", "enabled"],
  ...["version", "rotation", "interval", "timeout", "ref", "refs", "class", "review", "webhook", "config"],
  ...[
    "field",
    "header",
    "algorithm",
    "provider",
    "seconds",
    "days",
    "max",
    "min",
    "attempts",
    "format",
    "prompt",
    "stdin",
  ],
]);
const SECRET_HEADERS = new Set([
  ...[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "private-token",
    "deploy-token",
    "job-token",
  ],
  ...["api-key", "auth-token", "access-token", "ocp-apim-subscription-key"],
]);
/** The shell's working directories, not passwords. */
const WORKING_DIRECTORIES = new Set(["PWD", "OLDPWD"]);

/** Words after a flag in a sentence about it. */
const PROSE = new Set([
  ...["argument", "parameter", "flag", "option", "setting", "value"],
  ...["arguments", "parameters", "flags", "options", "settings", "values"],
  ...["is", "are", "was", "were", "and", "or", "to", "must", "should", "can", "as", "if", "with"],
]);

/** True where the word after a flag is its value, not the rest of a sentence about the flag. */
export function isValue(word: string): boolean {
  return word !== "" && !word.startsWith("-") && !PROSE.has(word.toLowerCase());
}

/** True for a flag that a secret follows: `--password`, `-token`, not `--password=x`. */
export function isFlagOfSecret(word: string): boolean {
  for (let index = 0; index < word.length; index++) {
    if (!isNameCode(word.charCodeAt(index))) return false;
  }
  return isNameOfSecret(word);
}

/** Every secret's name has one of these in it; most names have none, and are not looked at closer. */
const HINTS = [
  "pass",
  "pw",
  "secret",
  "token",
  "key",
  "cred",
  "auth",
  "cookie",
  "sig",
  "session",
  "jwt",
  "bearer",
  "psw",
];

/** True for the name of a flag, variable or key whose value is a secret: `--db-password`, `GITHUB_TOKEN`, `apiKey`. */
export function isNameOfSecret(name: string): boolean {
  if (name.length < 2 || name.length > 128) return false;
  const lower = name.toLowerCase();
  return HINTS.some((hint) => lower.includes(hint)) && judgeName(name);
}

function judgeName(name: string): boolean {
  if (WORKING_DIRECTORIES.has(name)) return false;
  const words = wordsOf(name);
  const last = words.at(-1);
  if (last === undefined || HARMLESS_ENDINGS.has(last)) return false;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (SECRET_ENDINGS.some((ending) => word.endsWith(ending))) return true;
    if (word === "key" && KEY_QUALIFIERS.has(words[index - 1] ?? "")) return true;
    if (index === words.length - 1 && SECRET_WORDS.has(word)) return true;
  }
  return last.endsWith("pass") && last.length > 4 && name === name.toUpperCase(); // DBPASS
}

/** True for `--kubelet-client-key`, which the API server and kubelet give a file: `/etc/…`. */
export function mayNameKeyFile(name: string): boolean {
  return name.toLowerCase().endsWith("client-key");
}

/** Last words of names that stand for a secret even before a colon, where sentences put other words. */
const PLAIN_NAMES = new Set(["password", "passwd", "passphrase", "passcode", "token", "apikey"]);

/** True for a name that is the secret's own: `password`, `db_password`, `api-key`; not `jsonwebtoken`, a package. */
export function isPlainNameOfSecret(name: string): boolean {
  if (!isNameOfSecret(name)) return false;
  const words = wordsOf(name);
  const last = words.at(-1) ?? "";
  return PLAIN_NAMES.has(last) || (words.length > 1 && (last === "secret" || last === "key"));
}

/** True for the name of a header that carries credentials: `Authorization`, `X-Api-Key`, `PRIVATE-TOKEN`. */
export function isHeaderOfSecret(name: string): boolean {
  const header = name.toLowerCase();
  return SECRET_HEADERS.has(header) || (header.startsWith("x-") && isNameOfSecret(name));
}

/** Addresses whose path is the credential. */
const SECRET_PATHS = [
  "hooks.slack.com/services/",
  "discord.com/api/webhooks/",
  "discordapp.com/api/webhooks/",
  "api.telegram.org/bot",
];

/** Where the secret of an address begins whose host is at `start`; `start` where it has none. */
export function secretPathStart(text: string, start: number): number {
  const path = SECRET_PATHS.find((known) => text.startsWith(known, start));
  return start + (path?.length ?? 0);
}

interface TokenShape {
  readonly prefix: string;
  /** Fewest characters after the prefix. */
  readonly min: number;
  readonly upper?: true;
}

/** Tokens known by their first letters. */
const TOKENS: readonly TokenShape[] = [
  { prefix: "AKIA", min: 16, upper: true },
  { prefix: "ASIA", min: 16, upper: true },
  { prefix: "AIza", min: 30 },
  { prefix: "ghp_", min: 20 },
  { prefix: "gho_", min: 20 },
  { prefix: "ghu_", min: 20 },
  { prefix: "ghs_", min: 20 },
  { prefix: "ghr_", min: 20 },
  { prefix: "github_pat_", min: 20 },
  { prefix: "glpat-", min: 16 },
  { prefix: "npm_", min: 30 },
  { prefix: "hvs.", min: 20 },
  { prefix: "dckr_pat_", min: 16 },
  { prefix: "xoxb-", min: 10 },
  { prefix: "xoxp-", min: 10 },
  { prefix: "xoxa-", min: 10 },
  { prefix: "xoxs-", min: 10 },
  { prefix: "sk_live_", min: 16 },
  { prefix: "rk_live_", min: 16 },
  { prefix: "sk-", min: 32 },
  { prefix: "eyJ", min: 30 },
];
const TOKENS_BY_INITIAL = Map.groupBy(TOKENS, ({ prefix }) => prefix.charCodeAt(0));
/** Codes of the characters such tokens begin with. */
export const TOKEN_INITIALS: readonly number[] = [...TOKENS_BY_INITIAL.keys()];

/** Beginnings of tokens that need no character which secrets are told by elsewhere. */
export const TOKEN_WORDS: readonly string[] = TOKENS.map(({ prefix }) => prefix).filter((prefix) =>
  !prefix.includes("-") && !prefix.includes("_")
);

/** The index after the well-known token (AWS, GitHub, GitLab, Slack, a JWT …) at `start`; `start` where there is none. */
export function knownTokenEnd(text: string, start: number): number {
  for (const { prefix, min, upper } of TOKENS_BY_INITIAL.get(text.charCodeAt(start)) ?? []) {
    if (!text.startsWith(prefix, start)) continue;
    let end = start + prefix.length;
    while (end < text.length && isTokenCode(text.charCodeAt(end), upper)) end++;
    // A token has a digit; a long lower-case word with dashes may be a name.
    if (end - start - prefix.length >= min && looksRandom(text.slice(start, Math.min(end, start + 512)))) {
      return end;
    }
  }
  return start;
}

function isTokenCode(code: number, upper = false): boolean {
  return upper ? isAlphanumericCode(code) && !(code >= 97 && code <= 122) : isNameCode(code);
}

/** The words of a name in any convention, lower-case: `--dbPassword-file` is db, password, file. */
function wordsOf(name: string): string[] {
  const words: string[] = [];
  let word = "";
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    const previous = name.charCodeAt(index - 1);
    const upper = code >= 65 && code <= 90;
    const starts = upper && previous >= 97 && previous <= 122;
    if (!isAlphanumericCode(code) || starts) {
      if (word !== "") words.push(word);
      word = "";
    }
    if (isAlphanumericCode(code)) word += name.charAt(index).toLowerCase();
  }
  if (word !== "") words.push(word);
  return words;
}
