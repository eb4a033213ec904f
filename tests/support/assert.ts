/**
 * The subset of `@std/assert` the tests use, over `node:assert/strict`.
 * With JSR at hand, the line in deno.json becomes `jsr:@std/assert@1` and this file goes away.
 */
import nodeAssert from "node:assert/strict";

/** Fails unless `condition` is truthy. */
export function assert(condition: unknown, message?: string): asserts condition {
  // Two calls: the types of `node:assert` differ on whether the message may be given as undefined.
  if (message === undefined) nodeAssert.ok(condition);
  else nodeAssert.ok(condition, message);
}

/** Fails unless `actual` deeply and strictly equals `expected`. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (message === undefined) nodeAssert.deepStrictEqual(actual, expected);
  else nodeAssert.deepStrictEqual(actual, expected, message);
}

/** Fails if `actual` deeply equals `expected`. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  if (message === undefined) nodeAssert.notDeepStrictEqual(actual, expected);
  else nodeAssert.notDeepStrictEqual(actual, expected, message);
}

/** Fails unless `actual` and `expected` are the same value by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T {
  if (message === undefined) nodeAssert.strictEqual(actual, expected);
  else nodeAssert.strictEqual(actual, expected, message);
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  nodeAssert.ok(
    actual.includes(expected),
    message ?? `expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`,
  );
}

/** Fails unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (message === undefined) nodeAssert.match(actual, expected);
  else nodeAssert.match(actual, expected, message);
}

// deno-lint-ignore no-explicit-any -- a constructor of any arguments is what the standard library takes too
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Fails unless `fn` throws (an `errorClass`, with a message that includes `includes`); returns what it threw. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass?: ErrorClass<E>,
  includes?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, errorClass, includes);
  }
  throw new nodeAssert.AssertionError({ message: "expected the function to throw" });
}

/** Fails unless `fn` rejects (with an `errorClass`, with a message that includes `includes`); returns the reason. */
export async function assertRejects<E extends Error = Error>(
  fn: () => Promise<unknown>,
  errorClass?: ErrorClass<E>,
  includes?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, errorClass, includes);
  }
  throw new nodeAssert.AssertionError({ message: "expected the promise to reject" });
}

/** Fails unless every property of `expected` is in `actual` with a matching value. */
export function assertObjectMatch(actual: unknown, expected: object, path = "$"): void {
  for (const [key, value] of Object.entries(expected)) {
    const found = (actual as Record<string, unknown> | null | undefined)?.[key];
    if (value !== null && typeof value === "object") assertObjectMatch(found, value, `${path}.${key}`);
    else {nodeAssert.deepStrictEqual(
        found,
        value,
        `at ${path}.${key}: ${String(found)} is not ${String(value)}`,
      );}
  }
}

/** Fails always, with `message`. */
export function fail(message: string): never {
  throw new nodeAssert.AssertionError({ message });
}

function checkError<E extends Error>(error: unknown, errorClass?: ErrorClass<E>, includes?: string): E {
  if (errorClass) {
    nodeAssert.ok(error instanceof errorClass, `expected ${errorClass.name}, received ${String(error)}`);
  }
  if (includes !== undefined) assertStringIncludes((error as Error).message, includes);
  return error as E;
}
