/** Says a repeated thing now and then, and how often it was not said: neither silence nor a flood. */

export interface ThrottleOptions {
  /** Of one key at most this many in a window. */
  readonly lines: number;
  readonly windowMs: number;
  readonly now: () => number;
}

/** Keys remembered; the one known longest is forgotten. */
const MAX_KEYS = 1_000;

/** Answers how many of this key were left out before this one, or undefined where this one is left out too. */
export function throttle({ lines, windowMs, now }: ThrottleOptions): (key: string) => number | undefined {
  const windows = new Map<string, { startedAt: number; lines: number; suppressed: number }>();
  return (key) => {
    const at = now();
    const window = windows.get(key);
    // A clock set back must not keep a key silent until it has caught up.
    if (!window || at < window.startedAt || at - window.startedAt >= windowMs) {
      if (!window && windows.size >= MAX_KEYS) windows.delete(windows.keys().next().value ?? "");
      windows.set(key, { startedAt: at, lines: 1, suppressed: 0 });
      return window?.suppressed ?? 0;
    }
    if (window.lines >= lines) {
      window.suppressed++;
      return undefined;
    }
    window.lines++;
    return 0;
  };
}
