/**
 * Decides which of two reports of one finding may set its content. Normally the content follows the newest report. If two
 * reports differ, each evaluation would replace the content twice. So the content of one report stays while that report is
 * read again, and another report replaces it only when the first was not read for `silenceMs`.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../model/time.ts";

/** Most findings remembered; forgetting one costs a write. */
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

  /** True if the report `origin` may replace the stored content. */
  mayReplace(fingerprint: string, origin: string): boolean {
    const known = this.#origins.get(fingerprint);
    return !known || known.name === origin || this.#clock.monotonic() - known.saidAt > this.#silenceMs;
  }

  /** Notes that the stored content, or the content about to be stored, is that of `origin`. */
  set(fingerprint: string, origin: string): void {
    this.#origins.set(fingerprint, { name: origin, saidAt: this.#clock.monotonic() });
  }

  /** Notes that `origin` has just reported the stored content: if the content is its own, its silence counts from now. */
  confirm(fingerprint: string, origin: string): void {
    if (this.#origins.size > 0 && this.#origins.peek(fingerprint)?.name === origin) {
      this.set(fingerprint, origin);
    }
  }
}
