/** Who may read the page's data: one address with a token, good once, gives the secret that requests show. */
import { sameSecret } from "../http/request.ts";

/** How long an address is good after it was last printed. */
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

  /** True while a token that was handed out is unused and not too old. */
  get hasGoodToken(): boolean {
    return this.#token !== undefined && this.#now() < this.#token.goodUntilMs;
  }

  /** The token of an address that is printed now: the last one while it is good, else a new one. */
  token(): string {
    const text = this.#token && this.hasGoodToken ? this.#token.text : randomText();
    this.#token = { text, goodUntilMs: this.#now() + TOKEN_MS };
    return text;
  }

  /** The secret for a token that is good; the token is used up by it. */
  exchange(given: string): string | undefined {
    if (!this.#token || !this.hasGoodToken || !sameSecret(given, this.#token.text)) return undefined;
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
