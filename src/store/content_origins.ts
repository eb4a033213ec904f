/**
 * Which of two disagreeing reports of one finding may set its content. A stored finding takes on what its tool says now;
 * but where two reports of one finding differ, each evaluation would replace it twice, for ever. So the report whose
 * content is stored keeps it as long as it repeats it; another one replaces it only after `silenceMs` without that.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../model/time.ts";

/** Findings remembered; a forgotten one costs a write. */
const MAX_FINDINGS = 10_000;

interface Origin {
  readonly name: string;
  readonly saidAt: number;
}

/** Origins of the content of findings that this process stored or replaced. */
export class ContentOrigins {
  readonly #origins = new LRUCache<string, Origin>({ max: MAX_FINDINGS });
  readonly #clock: Clock;
  readonly #silenceMs: number;

  constructor(clock: Clock, silenceMs: number) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
  }

  /** True where `origin` may replace what is stored. */
  mayReplace(fingerprint: string, origin: string): boolean {
    const known = this.#origins.get(fingerprint);
    return !known || known.name === origin || this.#clock.monotonic() - known.saidAt > this.#silenceMs;
  }

  /** `origin` says what is stored, or what is about to be. */
  set(fingerprint: string, origin: string): void {
    this.#origins.set(fingerprint, { name: origin, saidAt: this.#clock.monotonic() });
  }

  /** `origin` says what is stored: if the content is known to be its own, it is so from now on. */
  confirm(fingerprint: string, origin: string): void {
    if (this.#origins.size > 0 && this.#origins.peek(fingerprint)?.name === origin) {
      this.set(fingerprint, origin);
    }
  }
}
