import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { compileFilterExpression, expressionCompiler, ExpressionError } from "./expression.ts";
import { filterVariables } from "./checks.ts";

const EVENT = normalEvent({
  source: "falco",
  rule: "Terminal shell in container",
  resource: { kind: "Pod", name: "web-1", namespace: "prod" },
  details: { score: 7.5, count: 3, tags: ["a", "b"], nested: { user: "root" }, text: "a".repeat(50) },
});

Deno.test("expression evaluates over the event's fields", () => {
  const rows: [string, boolean][] = [
    ['source == "falco" && severity in ["HIGH", "CRITICAL"]', true],
    ['resource.kind == "Pod" && resource.name.startsWith("web-")', true],
    ['rule == "Terminal shell in container"', true],
    ['rule.startsWith("CVE-2024-")', false],
    ["details.score > 7 && details.count == 3", true],
    ['details.tags.exists(tag, tag == "b")', true],
    ['details.tags.filter(tag, tag != "a").exists(tag, tag == "a")', false],
    ['details.nested.user != "root"', false],
    ["has(details.missing)", false],
    ["details.?missing.orValue(0) == 0", true],
    ['category == "compliance" ? true : eventType == "vulnerability"', true],
    ['resource.name.matches("^web-[0-9]+$")', true],
    ['resource.name.matches("b-")', true],
    ['details.tags.exists(tag, tag.matches("^B$"))', false],
    ['details.tags.exists(tag, tag in ["b", "c"])', true],
    ["details.tags.exists(tag, details.count + 1.0 == 4.0)", true],
    ['duration("1h") > duration("30m")', true],
  ];
  for (const [text, expected] of rows) {
    assertEquals(compileFilterExpression(text).evaluate(filterVariables(EVENT)), expected, text);
  }
});

Deno.test("expression reads an empty rule where the tool names none", () => {
  assertEquals(
    compileFilterExpression('rule == ""').evaluate(filterVariables(normalEvent({ rule: "" }))),
    true,
  );
});

Deno.test("expression fails on a missing key, and on keys of the prototype", () => {
  for (const text of ["details.missing == 1", "details.__proto__ == 1", 'details["constructor"] == 1']) {
    const expression = compileFilterExpression(text);
    assertThrows(() => expression.evaluate(filterVariables(EVENT)), ExpressionError, "no such key");
  }
});

Deno.test("expression that cannot be true or false, or could cost too much, does not compile", () => {
  const rows: [string, string][] = [
    ["severity", "expected an expression of type bool, received string"],
    ["details.flag", "received dyn; compare it"],
    ["message == 'x'", "unknown variable: message"],
    ["severity ==", "unexpected token: EOF"],
    ["resource.namspace == 'x'", "no such key: namspace"],
    ["source.matches('(')", "missing closing )"],
    ["source.matches('(?<=a)\\\\1')", "error parsing regexp"],
    ["details.a.all(x, details.b.all(y, x == y))", '"all" cannot stand inside'],
    ["details.a.map(x, x + x).size() > 1", '"map" is not available'],
    ["cel.bind(x, source, x == 'a')", '"bind" is not available'],
    ["source.matches(details.pattern)", '"matches" takes a pattern that is written out'],
    [`source.matches("${"a".repeat(257)}")`, "at most 256 characters, received 257"],
    ['source.matches("[a-z]{0,190}[0-9]")', "at most 200 instructions, received 383"],
    ['source.matches("(a{0,90}){3}|b{0,200}")', "received 293 in its repetitions alone"],
    [Array(17).fill("source.matches('a')").join(" || "), "at most 16 patterns"],
    ["details.a.exists(x, [x, x].join() == 'aa')", '"join" cannot stand inside'],
    ["details.a.exists(x, x.split('a').size() > 1)", '"split" cannot stand inside'],
    ["details.a.exists(x, x in details.b)", '"in" cannot stand inside'],
    ["details.a.exists(x, x + x == 'aa')", '"+" cannot stand inside'],
    ["duration(details.d) > duration('1s')", '"duration" takes a literal'],
    [`source == '${"x".repeat(2048)}'`, "expected at most 2048 characters"],
    [`source in [${Array(300).fill("'a'").join(",")}]`, "exceeded"],
    [`${"(".repeat(200)}true${")".repeat(200)}`, "exceeded"],
  ];
  for (const [text, message] of rows) {
    const error = assertThrows(() => compileFilterExpression(text), ExpressionError);
    assertStringIncludes(error.message.toLowerCase(), message.toLowerCase(), text);
  }
});

Deno.test("expression says where in its text the mistake is", () => {
  const error = assertThrows(
    () => compileFilterExpression('source == "a" && sevrity == "b"'),
    ExpressionError,
  );
  assertEquals(error.offset, 17);
});

Deno.test("expression matches in linear time, and only texts that its pattern can afford", () => {
  const expression = compileFilterExpression('details.text.matches("^(a+)+$")');
  const on = (length: number) =>
    filterVariables(normalEvent({ details: { text: `${"a".repeat(length)}!` } }));
  assertEquals(expression.evaluate(on(3_000)), false);
  assertThrows(() => expression.evaluate(on(8_000)), ExpressionError, "takes at most 3333 characters");
});

Deno.test("expression takes the steps of its budget and no more", () => {
  const expression = compileFilterExpression("details.list.all(x, x == 1)");
  const variables = filterVariables(normalEvent({ details: { list: Array(100).fill(1) } }));
  const budget = { left: 500 };
  assertEquals(expression.evaluate(variables, budget), true);
  const taken = 500 - budget.left;
  assertEquals(taken > 300 && taken < 600, true, `${taken} steps`);
  assertThrows(() => expression.evaluate(variables, budget), ExpressionError, "are spent");
  assertEquals(budget.left, 0);
});

Deno.test("expressionCompiler() takes other variables", () => {
  const compile = expressionCompiler({ item: "dyn", root: "dyn", key: "string" });
  assertEquals(
    compile('item.status == "FAIL"').evaluate({ item: { status: "FAIL" }, root: {}, key: "" }),
    true,
  );
});

Deno.test("an expression whose steps are spent goes through no more of its list, however long that is", () => {
  const spent = (text: string, list: readonly unknown[]) => {
    let read = 0;
    const counting = new Proxy(list, {
      get: (
        target,
        key,
      ) => (typeof key === "string" && /^\d+$/.test(key) && read++, Reflect.get(target, key)),
    });
    assertThrows(
      () =>
        compileFilterExpression(text).evaluate({ ...filterVariables(EVENT), details: { list: counting } }),
      ExpressionError,
      "steps",
    );
    return read;
  };
  for (const text of ["details.list.all(x, x != 'b')", "details.list.exists(x, x == 'b')"]) {
    const [long, longer] = [60_000, 240_000].map((length) => spent(text, Array(length).fill("a")));
    assertEquals(long, longer, text);
  }
});

Deno.test("a join costs the separators that it copies", () => {
  const details = { text: ",".repeat(4_000) };
  assertThrows(
    () =>
      compileFilterExpression("details.text.split(',').join(details.text) == ''").evaluate({
        ...filterVariables(EVENT),
        details,
      }),
    ExpressionError,
    "steps",
  );
});
