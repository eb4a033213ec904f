/**
 * Which of two disagreeing reports of one finding is heard. What a stored finding says may be replaced when its tool
 * says something else; but where two reports of the same finding differ, each evaluation would replace it twice, for
 * ever. The rule: whoever's words are stored holds the finding for as long as it keeps saying them; another origin
 * is heard only once the holder was silent for `silenceMs`.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../model/clock.ts";

/** Holders remembered; a forgotten one costs a write. */
const MAX_HOLDERS = 10_000;

interface Holder {
  readonly origin: string;
  readonly saidAt: number;
}

/** Holders of findings whose content was ever in dispute or replaced in this process. */
export class ContentHold {
  readonly #holders = new LRUCache<string, Holder>({ max: MAX_HOLDERS });
  readonly #clock: Clock;
  readonly #silenceMs: number;

  constructor(clock: Clock, silenceMs: number) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
  }

  /** True where `origin` may replace what is stored. */
  heard(fingerprint: string, origin: string): boolean {
    const holder = this.#holders.get(fingerprint);
    return !holder || holder.origin === origin || this.#clock.monotonic() - holder.saidAt > this.#silenceMs;
  }

  /** `origin` says what is stored, or what is about to be. */
  hold(fingerprint: string, origin: string): void {
    this.#holders.set(fingerprint, { origin, saidAt: this.#clock.monotonic() });
  }

  /** `origin` says what is stored: a holder stays one. */
  confirm(fingerprint: string, origin: string): void {
    if (this.#holders.size > 0 && this.#holders.peek(fingerprint)?.origin === origin) {
      this.hold(fingerprint, origin);
    }
  }
}
