import { assert, assertEquals } from "@std/assert";
import { configureLogging, type LogFields, logger } from "./logging.ts";

/** The lines that `fields` are logged as. */
function logged(fields: LogFields, format: "json" | "text" = "json"): string {
  let text = "";
  configureLogging({ level: "DEBUG", format, write: (line) => text += line });
  logger("test").error("It failed", fields);
  return text;
}

function fieldsOf(error: unknown): { error: string; stack?: string[]; causes?: string[] } {
  const { error: message, stack, causes } = JSON.parse(logged({ error }));
  return { error: message, ...(stack && { stack }), ...(causes && { causes }) };
}

Deno.test("an unexpected error is logged with its stack and causes", () => {
  for (const Defect of [TypeError, RangeError, Error]) {
    const { error, stack = [], causes } = fieldsOf(
      new Defect("x is not a function", { cause: new Error("inner", { cause: "innermost" }) }),
    );
    assertEquals([error, causes], ["x is not a function", ["inner", "innermost"]]);
    assert(stack.some((frame) => frame.includes("logging_test.ts")), stack.join());
  }
});

Deno.test("an expected error is logged without a stack, with the causes that its message does not name", () => {
  class ApiLikeError extends Error {}
  for (
    const error of [
      new Error('Cannot read "a": no'),
      new ApiLikeError("x"),
      new DOMException("x", "AbortError"),
    ]
  ) {
    assertEquals(fieldsOf(error), { error: error.message });
  }
  const cause = new Error("reset by peer");
  assertEquals(fieldsOf(new Error("Cannot read: reset by peer", { cause })), {
    error: "Cannot read: reset by peer",
  });
  assertEquals(fieldsOf(new Error("Cannot read", { cause })), {
    error: "Cannot read",
    causes: ["reset by peer"],
  });
});

Deno.test("a circle of causes ends", () => {
  const error = new Error("Cannot a");
  error.cause = error;
  assertEquals(fieldsOf(error), { error: "Cannot a" });
});

Deno.test("hostile text stays on its line and harmless, in both forms", () => {
  const hostile = "\u001b[2Ja\nb\u202e";
  for (const format of ["json", "text"] as const) {
    const text = logged(
      { name: hostile, error: new TypeError(hostile), [hostile]: { [hostile]: [hostile] } },
      format,
    );
    assertEquals(text.indexOf("\n"), text.length - 1);
    // deno-lint-ignore no-control-regex -- control characters are what must not be there
    assert(!/[\u0000-\u0009\u000b-\u001f\u202e]/.test(text), JSON.stringify(text));
  }
});
