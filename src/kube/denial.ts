/** Tells missing permission from a starting API server, which answers 403 until its RBAC rules are loaded. */
import type { Clock } from "../model/time.ts";
import type { KubeObject } from "./api.ts";
import type { WatchEvent } from "./watch.ts";

/** If the API server answers 403 for longer than this, permission is missing. */
const GRACE_MS = 30_000;

/** Judges the 403 answers to one watch by how long they have come without a break. */
export class Denial {
  readonly #clock: Clock;
  #since: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns the event; an error of state `forbidden` becomes `failing` (temporary) until GRACE_MS have passed. */
  judge<T extends KubeObject>(event: WatchEvent<T>): WatchEvent<T> {
    // The beginning of a list is not an answer yet.
    if (event.type === "init") return event;
    if (event.type !== "error" || event.state !== "forbidden") {
      this.ended();
      return event;
    }
    const now = this.#clock.monotonic();
    this.#since ??= now;
    return now - this.#since >= GRACE_MS ? event : { ...event, state: "failing" };
  }

  /** Call when the watch reads again: resets the time. No event shows this. */
  ended(): void {
    this.#since = undefined;
  }
}
