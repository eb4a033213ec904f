/** Tells a missing right from an API server that starts: it answers 403 until its RBAC rules are loaded. */
import type { Clock } from "../model/time.ts";
import type { KubeObject } from "./api.ts";
import type { WatchEvent } from "./watch.ts";

/** A 403 that is answered for longer than this is a missing right. */
const GRACE_MS = 30_000;

/** The 403 answers to one watch. */
export class Denial {
  readonly #clock: Clock;
  #since: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The event; an error of state `forbidden` becomes `failing`, which passes, until it has lasted. */
  judge<T extends KubeObject>(event: WatchEvent<T>): WatchEvent<T> {
    // A list that begins is no answer yet.
    if (event.type === "init") return event;
    if (event.type !== "error" || event.state !== "forbidden") {
      this.ended();
      return event;
    }
    const now = this.#clock.monotonic();
    this.#since ??= now;
    return now - this.#since >= GRACE_MS ? event : { ...event, state: "failing" };
  }

  /** Ends the count: the watch reads on, which no event says. */
  ended(): void {
    this.#since = undefined;
  }
}
