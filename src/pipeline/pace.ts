/** Long loops share the thread: between two slices everything else (probes, other requests) gets its turn. */
import type { Clock } from "../core/clock.ts";

export interface Pace {
  /** Awaited inside a long loop; undefined, at no cost, while the slice lasts. */
  turn(): Promise<void> | undefined;
}

/** A pace for all loops of the process: however many run, one slice at most lies between two turns of the event loop. */
export function createPace(clock: Clock, sliceMs = 10): Pace {
  let queue: Promise<void> | undefined;
  let waiting = 0;
  let startedAt = clock.monotonic();

  async function next(before: Promise<void> | undefined): Promise<void> {
    await before;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    startedAt = clock.monotonic();
    if (--waiting === 0) queue = undefined;
  }

  return {
    turn() {
      if (!queue && clock.monotonic() - startedAt < sliceMs) return undefined;
      waiting++;
      return queue = next(queue);
    },
  };
}
