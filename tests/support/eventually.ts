const FIRST_DELAY_MS = 10;
const LONGEST_DELAY_MS = 250;

/**
 * Calls `check` again and again until it returns something other than undefined or false; if it throws, it is called again
 * too. For conditions of other processes, which this process cannot await. `found` tells, for the error, what is there instead.
 */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 30_000, found }: { timeoutMs?: number; found?: () => Promise<string> } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown = "it never came true";
  for (let delayMs = FIRST_DELAY_MS;; delayMs = Math.min(delayMs * 1.5, LONGEST_DELAY_MS)) {
    try {
      const result = await check();
      if (result !== undefined && result !== false) return result;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const instead = found
        ? `\n${await found().catch((error) => `Cannot tell what was found instead: ${error}`)}`
        : "";
      throw new Error(`Waited ${timeoutMs} ms for ${what}: ${last}${instead}`);
    }
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}
