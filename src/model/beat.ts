/** Signs of life: how liveness tells a task that waits from one that is stuck. */

/** A task's sign of life: the task calls it in every round of its loop. */
export interface Beat {
  /** The task is alive, and its next call comes within `ms`. */
  within(ms: number): void;
  /** The task waits without a bound, for work or for other parts, or has ended: no call is due. */
  idle(): void;
  /** The beat of one of several loops of the task. */
  of(loop: string): Beat;
}

/** For tasks that nothing observes. */
export const NO_BEAT: Beat = { within() {}, idle() {}, of: () => NO_BEAT };
