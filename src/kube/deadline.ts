/** A signal that aborts with its parent or after a while, and leaves nothing behind. */
import { NetworkError } from "./api.ts";

export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts now. */
  abort(reason: unknown): void;
  /** The time no longer counts; the parent still does. */
  clear(): void;
  /** Counts `ms` from now. */
  restart(): void;
}

/**
 * Aborts with `NetworkError` `timeout` after `ms`. Not `AbortSignal.any` and `.timeout`: those leave a listener on a
 * parent that lives as long as the process, and a timer that nobody clears.
 */
export function deadline(ms: number, what: string, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent?.reason);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let dueAt = 0;
  const clear = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  const ring = () => {
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) {
      timer = setTimeout(ring, Math.ceil(leftMs));
      return;
    }
    controller.abort(new NetworkError(`Cannot ${what}: nothing came for ${ms} ms`, { fault: "timeout" }));
  };
  const restart = () => {
    dueAt = performance.now() + ms;
    // Each frame of a watch restarts its guard: the timer under way looks again when it rings.
    timer ??= setTimeout(ring, ms);
  };
  if (parent?.aborted) follow();
  else {
    parent?.addEventListener("abort", follow, { once: true });
    restart();
  }
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    clear,
    restart,
    [Symbol.dispose]() {
      clear();
      parent?.removeEventListener("abort", follow);
    },
  };
}
