import { assert, assertEquals } from "@std/assert";
import { jsonErrorAt } from "./json_error.ts";
import { parseJson, parseJsonDocuments } from "./parse_json.ts";

function errorOf(text: string) {
  const parsed = parseJson(text);
  assert(!parsed.ok, `expected an error in ${text}`);
  return parsed.error;
}

function documents(text: string) {
  return [...parseJsonDocuments(text)].map((parsed) => parsed.ok ? parsed.value : parsed.error.reason);
}

Deno.test("parseJson() reads one document, with or without a byte order mark", () => {
  assertEquals(parseJson(' {"a":[1,null,"é"]}\n'), { ok: true, value: { a: [1, null, "é"] } });
  assertEquals(parseJson("\ufeff7"), { ok: true, value: 7 });
});

Deno.test("parseJson() tells where the text stops being JSON", () => {
  const cases: [string, string, number, number][] = [
    ["", "the text is empty", 1, 1],
    ['{"a":1', "the text ends too early", 1, 7],
    ['{"a":\n }', 'unexpected "}"', 2, 2],
    ['{"a":1}\n{"b":2}', 'unexpected "{"', 2, 1],
    ["[1,2,,3]", 'unexpected ","', 1, 6],
    ["[1,]", 'unexpected "]"', 1, 4],
    ['{"a" 1}', 'unexpected "1"', 1, 6],
    ["NaN", 'unexpected "N"', 1, 1],
    ["nul", "the text ends too early", 1, 4],
    ["nulL", 'unexpected "L"', 1, 4],
    ["01", 'unexpected "1"', 1, 2],
    ["1.x", 'unexpected "x"', 1, 3],
    ['"\\x"', 'unexpected "x"', 1, 3],
    ['"\\u12g4"', 'unexpected "g"', 1, 6],
    ['"\u001b[31m"', "unexpected U+001B", 1, 2],
    ["<html>", 'unexpected "<"', 1, 1],
  ];
  for (const [text, message, line, column] of cases) {
    assertEquals(errorOf(text), { reason: "unreadable", message, line, column }, text);
  }
});

Deno.test("jsonErrorAt() finds no fault in what JSON.parse takes", () => {
  for (const text of ['{"a":[{},[],"\\u00e9\\n",-0.5e+3,true,false,null]}', "  0  ", '"x"', "1E5"]) {
    JSON.parse(text);
    assertEquals(jsonErrorAt(text, 0, text.length), text.length, text);
  }
});

Deno.test("parseJson() takes 64 levels and refuses 65, 10,000 and a million without recursing", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  assert(parseJson(nested(64)).ok);
  assert(parseJson(`"${"[".repeat(100)}"`).ok, "brackets in a string nest nothing");
  for (const levels of [65, 10_000, 1_000_000]) {
    assertEquals(errorOf(nested(levels)), {
      reason: "too_deep",
      message: "nested deeper than 64 levels",
      line: 1,
      column: 65,
    });
  }
  assertEquals(errorOf('{"a":'.repeat(10_000)).reason, "too_deep");
});

Deno.test("parseJson() keeps __proto__ an ordinary own key", () => {
  const parsed = parseJson('{"__proto__":{"polluted":true}}');
  assert(parsed.ok);
  assertEquals(Object.keys(parsed.value as object), ["__proto__"]);
  assertEquals(({} as Record<string, unknown>).polluted, undefined);
});

Deno.test("parseJsonDocuments() reads one document, NDJSON, and documents one after another", () => {
  assertEquals(documents('{"a":\n[1,\n2]}'), [{ a: [1, 2] }]);
  assertEquals(documents('{"a":1}\n{"a":2}\r\n\n{"a":3}\n'), [{ a: 1 }, { a: 2 }, { a: 3 }]);
  assertEquals(documents('{"a":"}{"}{"b":[1]}[2] 3 "x" null'), [{ a: "}{" }, { b: [1] }, [2], 3, "x", null]);
});

Deno.test("parseJsonDocuments() reports each stretch of garbage once and reads on after it", () => {
  assertEquals(documents('I0101 1 main.go:1] start\nI0101 2 main.go:2] go\n{"a":1}\noops\n[2]'), [
    "unreadable",
    { a: 1 },
    "unreadable",
    [2],
  ]);
  assertEquals(documents(`${"[".repeat(70)}${"]".repeat(70)}\n{"b":2}`), ["too_deep", { b: 2 }]);
  assertEquals(documents(" \n"), ["unreadable"]);
});

Deno.test("parseJsonDocuments() stays linear on text that opens a document on every line", () => {
  const text = "{\n".repeat(200_000);
  let yielded = 0;
  for (const parsed of parseJsonDocuments(text)) {
    assert(!parsed.ok);
    yielded++;
  }
  assert(yielded > 0 && yielded <= 20, `${yielded} errors`);
});
