/** Long loops share the thread: between two slices everything else (probes, other requests) gets its turn. */
import type { Clock } from "../model/clock.ts";

export interface Pace {
  /**
   * What came over the network comes at a turn of the event loop of its own: where nobody waits, it begins a slice. Time
   * that passed while nothing was to be done is no work.
   */
  arrived(): void;
  /** Awaited inside a long loop; undefined, at no cost, while the slice lasts. */
  turn(): Promise<void> | undefined;
}

/**
 * A pace for all loops of the process: however many run, about one slice lies between two turns of the event loop. Who
 * waited has the slice that begins then, not one step of it.
 */
export function createPace(clock: Clock, sliceMs = 10): Pace {
  let queue: Promise<void> | undefined;
  let waiting = 0;
  let startedAt = clock.monotonic();

  const isOver = () => clock.monotonic() - startedAt >= sliceMs;

  async function next(before: Promise<void> | undefined): Promise<void> {
    await before;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    startedAt = clock.monotonic();
    if (--waiting === 0) queue = undefined;
  }

  return {
    arrived() {
      if (!queue && isOver()) startedAt = clock.monotonic();
    },
    turn() {
      if (!isOver()) return undefined;
      waiting++;
      return queue = next(queue);
    },
  };
}
