/** Partial match: every expected value must be there, and others may be. */

/** Compares by partial match and returns each difference as `event 1: observation.spec.severity: expected "HIGH", received "LOW"`. Lists match whole. */
export function differences(expected: unknown, actual: unknown, where: string): string[] {
  return [...compare(expected, actual, "")].map((difference) => `${where}: ${difference}`);
}

function* compare(expected: unknown, actual: unknown, path: string): Generator<string> {
  if (Array.isArray(expected)) {
    const found = Array.isArray(actual) ? actual : undefined;
    if (found?.length !== expected.length) return yield mismatch(expected, actual, path);
    for (const [index, item] of expected.entries()) yield* compare(item, found[index], `${path}[${index}]`);
  } else if (typeof expected === "object" && expected !== null) {
    if (typeof actual !== "object" || actual === null) return yield mismatch(expected, actual, path);
    for (const [key, value] of Object.entries(expected)) {
      const member = Object.hasOwn(actual, key)
        ? (actual as Readonly<Record<string, unknown>>)[key]
        : undefined;
      yield* compare(value, member, path === "" ? key : `${path}.${key}`);
    }
  } else if (expected !== actual) yield mismatch(expected, actual, path);
}

function mismatch(expected: unknown, actual: unknown, path: string): string {
  return `${path === "" ? "" : `${path}: `}expected ${show(expected)}, received ${show(actual)}`;
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
