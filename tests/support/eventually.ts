const FIRST_DELAY_MS = 10;
const LONGEST_DELAY_MS = 250;

/**
 * Asks again until `check` gives something else than undefined or false; what it throws counts as "not yet".
 * For conditions of other processes, which nothing in this one can await.
 */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 30_000 }: { timeoutMs?: number } = {},
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
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms for ${what}: ${last}`);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}
