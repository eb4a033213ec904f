/** Who may read the page's data: one address with a token, good once, gives the secret that requests show. */
import { sameSecret } from "../http/request.ts";

/** How long an address that was printed is good. */
const TOKEN_MS = 300_000;
const SECRET_BYTES = 32;

/** The secret of this process, and the token that is exchanged for it. */
export class PageSession {
  readonly #secret = randomText();
  readonly #now: () => number;
  #token: { readonly text: string; readonly goodUntilMs: number } | undefined;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A new token; the one before is not good any more. */
  newToken(): string {
    const text = randomText();
    this.#token = { text, goodUntilMs: this.#now() + TOKEN_MS };
    return text;
  }

  /** The secret for a token that is good; the token is used up by it. */
  exchange(given: string): string | undefined {
    const token = this.#token;
    if (!token || this.#now() >= token.goodUntilMs || !sameSecret(given, token.text)) return undefined;
    this.#token = undefined;
    return this.#secret;
  }

  isSecret(given: string): boolean {
    return sameSecret(given, this.#secret);
  }
}

function randomText(): string {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });
}
