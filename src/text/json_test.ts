import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import type { Json } from "../model/json.ts";
import { type JsonLists, parseJson, payloadErrorsOf, scanJson, scanJsonInSlices, wholeOf } from "./json.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function errorOf(text: string | Uint8Array) {
  const parsed = parseJson(text);
  assert(!parsed.ok, `expected an error in ${text}`);
  const { reason, message, line, column } = parsed.error;
  return { reason, message, line, column };
}

/** The values of the parts, and the reasons of the errors after them. */
function found(text: string | Uint8Array, lists: JsonLists = "whole") {
  const { parts, errors } = scanJson(text, { lists });
  return [...parts.map((part) => part.read()), ...errors.map(({ reason }) => reason)];
}

function pathsOf(text: string, lists: JsonLists) {
  return scanJson(text, { lists }).parts.map((part) => [part.path, part.read()]);
}

Deno.test("parseJson() reads one document, with or without a byte order mark, in UTF-8 or UTF-16", () => {
  assertEquals(parseJson(' {"a":[1,null,"é"]}\n'), { ok: true, value: { a: [1, null, "é"] } });
  assertEquals(parseJson("\ufeff7"), { ok: true, value: 7 });
  const text = '{"é":"😀"}';
  for (const isLittle of [true, false]) {
    const view = new DataView(new ArrayBuffer(2 * (text.length + 1)));
    view.setUint16(0, 0xfeff, isLittle);
    for (let index = 0; index < text.length; index++) {
      view.setUint16(2 * index + 2, text.charCodeAt(index), isLittle);
    }
    assertEquals(parseJson(new Uint8Array(view.buffer)), { ok: true, value: { "é": "😀" } });
  }
});

Deno.test("parseJson() reads a long text in UTF-16, also where a character lies on both sides of a piece", () => {
  const text = `"${"x€😀".repeat(40_000)}\ud800"`;
  const units = new Uint16Array([
    0xfeff,
    ...[...text].flatMap((character) => character.split("").map((unit) => unit.charCodeAt(0))),
  ]);
  assertEquals(parseJson(new Uint8Array(units.buffer)), {
    ok: true,
    value: `${"x€😀".repeat(40_000)}\ufffd`,
  });
});

Deno.test("parseJson() replaces lone surrogates and bytes that are not UTF-8", () => {
  assertEquals(parseJson('"a\ud800b"'), { ok: true, value: "a\ufffdb" });
  assertEquals(parseJson(new Uint8Array([34, 0xff, 0xc3, 34])), { ok: true, value: "\ufffd\ufffd" });
});

Deno.test("parseJson() tells where the text stops being JSON", () => {
  const cases: [string, string, number, number][] = [
    ["", "the text is empty", 1, 1],
    [" \n", "the text is empty", 2, 1],
    ['{"a":1', "the text ends too early", 1, 7],
    ['{"a":\n }', 'unexpected "}"', 2, 2],
    ['{"a":1}\n{"b":2}', 'unexpected "{"', 2, 1],
    ["[1,2,,3]", 'unexpected ","', 1, 6],
    ["[1,]", 'unexpected "]"', 1, 4],
    ["[1 2]", 'unexpected "2"', 1, 4],
    ["[1}", 'unexpected "}"', 1, 3],
    ['{"a" 1}', 'unexpected "1"', 1, 6],
    ['{"a":1,}', 'unexpected "}"', 1, 8],
    ["{1:2}", 'unexpected "1"', 1, 2],
    ["NaN", 'unexpected "N"', 1, 1],
    ["nul", "the text ends too early", 1, 4],
    ["nulL", 'unexpected "L"', 1, 4],
    ["-", "the text ends too early", 1, 2],
    ["01", 'unexpected "1"', 1, 2],
    ["1.x", 'unexpected "x"', 1, 3],
    ["1e+", "the text ends too early", 1, 4],
    ['"\\x"', 'unexpected "x"', 1, 3],
    ['"\\u12g4"', 'unexpected "g"', 1, 6],
    ['"a\nb"', "unexpected U+000A", 1, 3],
    ['"\u001b[31m"', "unexpected U+001B", 1, 2],
    ["<html>", 'unexpected "<"', 1, 1],
    ['["é😀" é]', "unexpected U+00E9", 1, 8],
    ["\0", "unexpected U+0000", 1, 1],
  ];
  for (const [text, message, line, column] of cases) {
    assertEquals(errorOf(text), { reason: "unreadable", message, line, column }, text);
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
  assertEquals(errorOf(`{"a":\n${nested(64)}}`), {
    reason: "too_deep",
    message: "nested deeper than 64 levels",
    line: 2,
    column: 64,
  });
});

Deno.test("parseJson() takes 500,000 values and 10,000 keys of an object, and no more", () => {
  const numbers = (count: number) => `[${Array(count).fill(1).join(",")}]`;
  const keys = (count: number) => `{${Array.from({ length: count }, (_, key) => `"${key}":1`).join(",")}}`;
  assert(parseJson(numbers(499_999)).ok);
  assertEquals(errorOf(numbers(500_000)).message, "more than 500000 values");
  assert(parseJson(keys(10_000)).ok);
  assertEquals(errorOf(keys(10_001)).message, "more than 10000 keys in one object");
});

Deno.test("parseJson() refuses text made of different keys, and takes as many as real documents bring", () => {
  let key = 0;
  const objects = (count: number, perObject: number) =>
    JSON.stringify(
      Array.from({ length: count }, () =>
        Object.fromEntries(Array.from({ length: perObject }, () => [`key${key++}`, 1]))),
    );
  assertEquals(errorOf(objects(1_000, 100)).reason, "too_large");
  // Tables of a few hundred keys cost little: they have no hidden classes.
  assert(parseJson(objects(100, 1_000)).ok);
  const report = { CVE: "CVE-2026-1", package: { name: "openssl", version: "3" }, links: ["https://x"] };
  assert(parseJson(JSON.stringify(Array(10_000).fill(report))).ok);
});

Deno.test("parseJson() keeps __proto__ an ordinary own key", () => {
  const parsed = parseJson('{"__proto__":{"polluted":true}}');
  assert(parsed.ok);
  assertEquals(Object.keys(parsed.value as object), ["__proto__"]);
  assertEquals(({} as Record<string, unknown>).polluted, undefined);
});

Deno.test("scanJson() finds one document, NDJSON, and documents one after another", () => {
  assertEquals(found('{"a":\n[1,\n2]}'), [{ a: [1, 2] }]);
  assertEquals(found('{"a":1}\n{"a":2}\r\n\n{"a":3}\n'), [{ a: 1 }, { a: 2 }, { a: 3 }]);
  assertEquals(found('{"a":"}{"}{"b":[1]}[2] 3 "x" null'), [{ a: "}{" }, { b: [1] }, [2], 3, "x", null]);
  assertEquals(found('\x1e{"a":1}\n\x1e{"a":2}\n'), [{ a: 1 }, { a: 2 }], "RFC 7464");
  assertEquals(found("[]"), [[]]);
});

Deno.test("scanJson() reports each stretch that is not JSON once and reads on after it", () => {
  const log = 'I0101 1 main.go:1] start\nI0101 2 main.go:2] go\n{"a":1}\noops\n[2]';
  assertEquals(found(log), [{ a: 1 }, [2], "unreadable", "unreadable"]);
  assertEquals(scanJson(log).errors.map(({ line }) => line), [1, 4]);
  assertEquals(found(`${"[".repeat(70)}${"]".repeat(70)}\n{"b":2}`), [{ b: 2 }, "too_deep"]);
  assertEquals(found('{"a":1\n{"b":2}\n{"c":3}'), [{ b: 2 }, { c: 3 }, "unreadable"], "a line cut off");
  assertEquals(found('{"a":\n{"b":1}\n'), ["unreadable"], "a document cut off is not what it held");
  assertEquals(found("01\n"), ["unreadable"]);
});

Deno.test("scanJson() splits top-level lists, and lists of items, and says where each part stands", () => {
  assertEquals(pathsOf("[1,{}]", "whole"), [["", [1, {}]]]);
  assertEquals(pathsOf("[1,{}]", "elements"), [["[0]", 1], ["[1]", {}]]);
  assertEquals(pathsOf("[1]\n[2]", "elements"), [["[0][0]", 1], ["[1][0]", 2]]);
  assertEquals(pathsOf('{"items":[1]}', "elements"), [["", { items: [1] }]]);
  assertEquals(pathsOf('{"kind":"EventList","items":[1,{"items":[2]}],"x":[3]}', "items"), [
    ["items[0]", 1],
    ["items[1]", { items: [2] }],
  ]);
  assertEquals(pathsOf('[{"items":[1]},{"items":[]},{"items":3},{"a":{"items":[4]}}]', "items"), [
    ["[0].items[0]", 1],
    ["[1]", { items: [] }],
    ["[2]", { items: 3 }],
    ["[3]", { a: { items: [4] } }],
  ]);
});

Deno.test("scanJson() gives nothing of a list that is broken or ambiguous", () => {
  assertEquals(found('[{"a":1},{"b":2}', "elements"), ["unreadable"]);
  assertEquals(found('{"items":[1,2],"items":[3]}', "items"), ["unreadable"]);
  const empty = scanJson("[ ]", { lists: "elements" });
  assertEquals([empty.parts.length, empty.errors[0]?.message], [0, "the list is empty"]);
});

Deno.test("scanJson() leaves out the members of an item that are too deep or too large, and says so", () => {
  const deep = "[".repeat(70) + "]".repeat(70);
  const many = `[${Array(500_000).fill(0).join(",")}]`;
  const crowd = `{${Array.from({ length: 10_001 }, (_, key) => `"${key}":0`).join(",")}}`;
  const text = `{"items":[{"verb":"get","junk":${deep}},{"verb":"list","junk":${many},"user":{"name":"eve"}},
    {"verb":"patch","user":{"name":"eve"},"junk":${crowd}}, {"verb":"create"}]}`;
  const { parts, errors } = scanJson(text, { lists: "items" });
  assertEquals(parts.map((part) => part.read()), [
    { verb: "get", junk: null },
    { verb: "list", junk: null, user: { name: "eve" } },
    { verb: "patch", user: { name: "eve" }, junk: null },
    { verb: "create" },
  ]);
  assertEquals(errors.map(({ reason, path, line }) => [reason, path, line]), [
    ["too_deep", "items[0]", 1],
    ["too_large", "items[1]", 1],
    ["too_large", "items[2]", 2],
  ]);
  assertStringIncludes(
    payloadErrorsOf(scanJson(text, { lists: "items" }))[0]?.path ?? "",
    "items[0] (line 1,",
  );
});

Deno.test("scanJson() reads what names an item where others brought too many different keys before it", () => {
  let key = 0;
  const junk = () => Object.fromEntries(Array.from({ length: 100 }, () => [`junk${key++}`, 1]));
  const event = { verb: "create", user: { username: "eve" }, objectRef: { name: "x" } };
  const items = [...Array.from({ length: 500 }, () => ({ ...event, patch: [junk(), junk()] })), event];
  const read = scanJson(JSON.stringify({ items }), { lists: "items" }).parts.map((part) => part.read());
  assertEquals(read.length, items.length);
  for (const item of read as (typeof event)[]) {
    assertEquals([item.verb, item.user.username], ["create", "eve"]);
  }
  assert(JSON.stringify(read).length < JSON.stringify(items).length / 2, "most of the junk is left out");
});

Deno.test("scanJson() ends after 10,000 parts and errors", () => {
  for (const text of ["1\n".repeat(20_000), `[${"1,".repeat(20_000)}1]`, "{}x\n{}".repeat(20_000)]) {
    const scanned = scanJson(text, { lists: "elements" });
    assert(scanned.tooMany);
    assertEquals(scanned.parts.length + scanned.errors.length, 10_001);
    assertEquals(payloadErrorsOf(scanned).at(-1)?.reason, "too_many_events");
  }
  assertEquals(scanJson(`[${"1,".repeat(9_999)}1]`, { lists: "elements" }).tooMany, false);
});

Deno.test("scanJson() counts the values of all documents where all are in memory at once", () => {
  const line = `[${Array(200_000).fill(1).join(",")}]\n`;
  assertEquals(scanJson(line.repeat(3)).errors.map(({ message, line }) => [message, line]), [
    ["more than 500000 values", 3],
  ]);
  assertEquals(
    scanJson(line.replaceAll("[", "[[").replaceAll("]", "]]").repeat(3), { lists: "elements" }).errors,
    [],
  );
});

Deno.test("scanJson() begins at the given offset and counts the lines before it", () => {
  const text = "log\nlog\n{}\n}";
  const { parts, errors } = scanJson(text, { from: 8 });
  assertEquals(parts.map((part) => part.read()), [{}]);
  assertEquals(errors.map(({ line, column }) => [line, column]), [[4, 1]]);
});

Deno.test("scanJsonInSlices() finds what scanJson() does, and lets others run in between", async () => {
  const text = `[${Array(9_000).fill(JSON.stringify({ a: "x".repeat(100), b: [1, {}] })).join(",\n")}]`;
  let pauses = 0;
  const scanned = await scanJsonInSlices(bytes(text), { lists: "elements", pause: () => void pauses++ });
  assertEquals(scanned.parts.length, 9_000);
  assertEquals(scanned.parts.map((part) => part.read()), JSON.parse(text));
  assertEquals(pauses, Math.ceil(text.length / (256 * 1024)) - 1);
});

/** JSON with what JavaScript treats specially, and with any white space. */
const json = fc.oneof(
  fc.json({ maxDepth: 5 }),
  fc.json({ maxDepth: 3, stringUnit: "binary" }),
  fc.constantFrom(
    '{"__proto__":[{}]}',
    '"\\ud800"',
    "-0",
    "1e400",
    '{"a":1,"a":2}',
    '{"items":[[],{"items":[1]}]}',
  ),
).chain((text) => fc.constantFrom("", " ", "\n", "\r\n\t").map((space) => `${space}${text}${space}`));

const LISTS: readonly JsonLists[] = ["whole", "elements", "items"];

function valueOf(text: string): { readonly value: Json } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

/** The value that the parts of one document make together. */
function together(text: string, lists: JsonLists): Json | undefined {
  const { parts } = scanJson(text, { lists });
  const value = JSON.parse(text);
  const [first] = parts;
  if (parts.length === 1 && first?.path === "") return first.read();
  const put = (path: string, part: Json) => {
    const keys = path.split(/[.[\]]/).filter((key) => key !== "");
    const last = keys.pop() ?? "";
    const holder = keys.reduce((inner, key) => inner[key], value);
    assert(last in holder);
    holder[last] = part;
  };
  for (const part of parts) put(part.path, part.read());
  return value;
}

Deno.test("whatever JSON.parse takes is read as JSON.parse reads it, whole or in parts", () => {
  fc.assert(
    fc.property(json, fc.constantFrom(...LISTS), (text, lists) => {
      const parsed = parseJson(text);
      assert(parsed.ok, parsed.ok ? "" : parsed.error.message);
      assertEquals(parsed.value, JSON.parse(text));
      if (!/^\s*\[\s*\]\s*$/.test(text)) assertEquals(together(text, lists), JSON.parse(text));
      assertEquals(wholeOf(scanJson(text)), JSON.parse(text));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("whatever JSON.parse refuses is an error with a line and a column in the text", () => {
  const broken = fc.tuple(json, fc.nat(), fc.string({ unit: "binary", maxLength: 3 }), fc.nat({ max: 3 }))
    .map(
      ([text, at, put, drop]) => {
        const index = at % (text.length + 1);
        return (text.slice(0, index) + put + text.slice(index + drop)).replace(/^\ufeff/, "");
      },
    );
  fc.assert(
    fc.property(fc.oneof(broken, fc.string({ unit: "binary" })), fc.constantFrom(...LISTS), (text, lists) => {
      const wellFormed = text.toWellFormed();
      const expected = valueOf(wellFormed);
      const parsed = parseJson(text);
      assertEquals(parsed.ok, expected !== undefined, wellFormed);
      if (parsed.ok) assertEquals(parsed.value, expected?.value);
      const lines = wellFormed.split("\n");
      const { errors } = scanJson(text, { lists });
      for (const { line, column } of parsed.ok ? errors : [parsed.error, ...errors]) {
        const shown = lines[line - 1];
        assert(shown !== undefined && column >= 1 && column <= shown.length + 1, `${line}:${column}`);
      }
    }),
    { numRuns: 5_000 },
  );
});

Deno.test("documents written one after another are read back, however they are parted", () => {
  const document = fc.oneof(fc.object(), fc.array(fc.jsonValue())).map((value) => JSON.stringify(value));
  fc.assert(
    fc.property(
      fc.array(document, { minLength: 1 }),
      fc.constantFrom("", " ", "\n", "\r\n\n"),
      (texts, space) => {
        assertEquals(found(texts.join(space)), texts.map((text) => JSON.parse(text)));
      },
    ),
  );
});

Deno.test("scanJson() counts the columns of a long line in UTF-16 units, however characters lie in it", () => {
  for (const character of ["a", "é", "€", "😀"]) {
    for (const shift of ["", "x", "xx", "xxx"]) {
      const text = `"${shift}${character.repeat(100_000)}" x`;
      assertEquals(scanJson(text).errors.map(({ column }) => column), [text.length]);
    }
  }
});
