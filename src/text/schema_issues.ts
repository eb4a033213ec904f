/** What a schema says of a document a user wrote, in words for that user. */
import type * as z from "zod";
import { didYouMean, formatReceived, type Issue, type Path } from "./problem.ts";

/** The issues of a failed parse in our words, one for each mistake. `keys` are what may stand at the root. */
export function toIssues(error: z.ZodError, value: unknown, keys: readonly string[]): Issue[] {
  return error.issues.flatMap((issue): Issue[] => {
    const path = issue.path.filter((step) => typeof step !== "symbol");
    if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey([...path, key], keys));
    const received = formatReceived(valueAt(value, path));
    switch (issue.code) {
      case "invalid_value":
        return [{ path, message: `expected one of ${issue.values.join("|")}, received ${received}` }];
      case "invalid_type": {
        const expected = issue.message.startsWith("expected ")
          ? issue.message
          : `expected ${typeName(issue.expected)}`;
        return [{ path, message: `${expected}, received ${received}${quotesHint(expected, received)}` }];
      }
      case "too_small":
        return [{ path, message: `${bound(issue, "at least", issue.minimum)}, received ${received}` }];
      case "too_big":
        return [{ path, message: `${bound(issue, "at most", issue.maximum)}, received ${received}` }];
      default:
        return [{ path, message: `${issue.message}, received ${received}` }];
    }
  });
}

/** The issue of a key that is not known, with what it was probably meant to be. */
export function unknownKey(path: Path, known: readonly string[]): Issue {
  const guess = didYouMean(String(path.at(-1)), known);
  return {
    path,
    at: "key",
    message: `unknown key${guess === undefined ? "" : `; did you mean "${guess}"?`}`,
  };
}

/** Our own words where the schema has some, else the bound itself. */
function bound(
  { message, origin, inclusive }: { message: string; origin: string; inclusive?: boolean },
  words: string,
  limit: number | bigint,
): string {
  if (message.startsWith("expected ")) return message;
  const unit = origin === "string" ? " characters" : origin === "array" ? " values" : "";
  return `expected ${inclusive === false ? `more than ${limit}` : `${words} ${limit}`}${unit}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
};

function typeName(expected: string): string {
  return TYPE_NAMES[expected] ?? expected;
}

/** YAML reads 4.10 as a number, so the test number 4.10 needs quotes; and "false" is no boolean. */
function quotesHint(expected: string, received: string): string {
  if (expected === "expected a string" && /^the (number|boolean) /.test(received)) {
    return "; put it in quotes";
  }
  return expected === "expected true or false" && /^"(true|false)"$/.test(received)
    ? "; take the quotes off"
    : "";
}

function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Readonly<Record<string | number, unknown>>)[step];
  }
  return current;
}
