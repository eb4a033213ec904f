import { assertEquals, assertThrows } from "@std/assert";
import type { Json } from "../model/json.ts";
import { compileForEach, compileValue, NO_ITEM, PathError, rootLevel } from "./path.ts";

const value = (text: string, body: Json) => compileValue(text)(rootLevel(body));

/** Each item's `path key value`, and for each `ask` its value. */
function walk(forEach: string, body: Json, ask = "."): string[] {
  const read = compileValue(ask);
  const all = [...compileForEach(forEach).items(rootLevel(body))].flatMap((each) =>
    each === NO_ITEM ? [] : [each]
  );
  return all.map((each) =>
    "item" in each ? `${each.item.path} ${each.item.key} ${JSON.stringify(read(each.item))}` : `?${each.path}`
  );
}

Deno.test("a value that does not begin as a path is a literal", () => {
  assertEquals(value("a | b? [0]", {}), "a | b? [0]");
  assertEquals(value("", {}), undefined);
});

Deno.test('a path reads keys, indexes and quoted keys; null and "" count as absent', () => {
  const body = { a: { b: [{ c: 1 }, { "x.y]": "z" }], n: null, e: "" } };
  assertEquals(value(".a.b[0].c", body), 1);
  assertEquals(value('.a.b[1]["x.y]"]', body), "z");
  assertEquals(value("$.a.b[1]['x.y]']", body), "z");
  assertEquals(value(".a.n", body), undefined);
  assertEquals(value(".a.e", body), undefined);
  assertEquals(value(".a.b.c", body), undefined);
  assertEquals(value(".a.b[7]", body), undefined);
  assertEquals(value(".", 5), 5);
});

Deno.test("a path tries the literal dotted key first", () => {
  const labels = { "kubescape.io/workload-kind": "Pod", kubescape: { "io/workload-kind": "no" } };
  assertEquals(value(".labels.kubescape.io/workload-kind", { labels }), "Pod");
  assertEquals(value(".f.k8s.pod.name", { f: { "k8s.pod.name": "a", k8s: { pod: { name: "b" } } } }), "a");
  assertEquals(value(".f.k8s.pod.name", { f: { k8s: { "pod.name": "b" } } }), "b");
});

Deno.test("a path never reaches a prototype", () => {
  for (const key of ["__proto__", "constructor", "toString"]) assertEquals(value(`.${key}`, {}), undefined);
  const own = JSON.parse('{"__proto__": {"a": 1}}') as Json;
  assertEquals(value(".__proto__.a", own), 1);
});

Deno.test("alternatives take the first that has a value, and ? picks a value by another's presence", () => {
  const text = '.pod ? "Pod" | .node ? "Node" | .kind | "None"';
  assertEquals(value(text, { pod: "p", node: "n" }), "Pod");
  assertEquals(value(text, { node: "n" }), "Node");
  assertEquals(value(text, { kind: "Job" }), "Job");
  assertEquals(value(text, {}), "None");
  assertEquals(value(".a ? .b", { a: 1, b: 2 }), 2);
});

Deno.test("a value may depend on several others", () => {
  const text = '.condition ? .node ? "Node" | .pod ? "Pod"';
  assertEquals(value(text, { condition: "Ready", node: "n", pod: "p" }), "Node");
  assertEquals(value(text, { node: "n", pod: "p" }), "Pod");
  assertEquals(value(text, { condition: "Ready", pod: "p" }), "Pod");
  assertEquals(value(text, { condition: "Ready", node: "n" }), "Node");
});

Deno.test("+ joins texts and numbers, and has no value where a part has none", () => {
  assertEquals(value('.a + " in " + .b', { a: "x", b: 7 }), "x in 7");
  assertEquals(value('.a + " | ? + " + .b | .a', { a: "x", b: "y" }), "x | ? + y");
  for (const b of [undefined, null, "", [1], { c: 1 }]) {
    assertEquals(value('.a + " in " + .b | .a', { a: "x", ...(b !== undefined && { b }) }), "x");
  }
  assertEquals(value(".n ? .a + .b", { a: "x", b: "y" }), undefined);
  assertEquals(value(`"in " + 'a ' + .a | "none"`, { a: "x" }), "in a x");
  assertEquals(value(`"in " + .a | "none"`, { b: "x" }), "none");
  for (const literal of ['"in"', '"in" .a', '"in" + words', "it's + .a"]) {
    assertEquals(value(literal, { a: "x" }), literal);
  }
  assertEquals(value('.["a+b"] + .c', { "a+b": "x", c: "y" }), "xy");
  assertEquals(String(value(".a + .a", { a: "x".repeat(5_000) })).length, 2_048);
});

Deno.test("forEach goes over arrays and maps, with the key at hand", () => {
  assertEquals(walk(".a[*]", { a: [5, 6] }), ["a[0] 0 5", "a[1] 1 6"]);
  assertEquals(walk(".a[*]", { a: { x: 5, y: 6 } }, "@key"), ['a.x x "x"', 'a.y y "y"']);
  assertEquals(walk("$[*]", [1]), ["[0] 0 1"]);
  assertEquals(walk(".a[*].b", { a: [{ b: 1 }, {}] }), ["a[0].b 0 1"]);
});

Deno.test("forEach goes through several levels, each with its parents in reach", () => {
  const body = {
    t: "T",
    Results: [{ Name: "w", Results: { hostPID: { ok: 1 } } }, { Name: "v", Results: {} }],
  };
  const each = ".Results[*].Results[*]";
  assertEquals(walk(each, body, ".ok"), ["Results[0].Results.hostPID hostPID 1"]);
  assertEquals(walk(each, body, "^.Name"), ['Results[0].Results.hostPID hostPID "w"']);
  assertEquals(walk(each, body, "^@key"), ['Results[0].Results.hostPID hostPID "0"']);
  assertEquals(walk(each, body, "^^.t"), ['Results[0].Results.hostPID hostPID "T"']);
  assertEquals(walk(each, body, "$.t"), ['Results[0].Results.hostPID hostPID "T"']);
  assertEquals(walk(each, body, "^^^.t"), ["Results[0].Results.hostPID hostPID undefined"]);
  assertEquals(walk(".a[*][*]", { a: [[1, 2], [3]] }), ["a[0][0] 0 1", "a[0][1] 1 2", "a[1][0] 0 3"]);
});

Deno.test("forEach takes several paths, yields nothing for absent ones, and reports a value that cannot hold items", () => {
  assertEquals(walk(".a[*] | .b.c[*]", { a: [1], b: { c: [2] } }), ["a[0] 0 1", "b.c[0] 0 2"]);
  assertEquals(walk(".a[*]", {}), []);
  assertEquals(walk(".a[*]", { a: null }), []);
  assertEquals(walk(".a[*]", { a: "x" }), ["?a"]);
});

Deno.test("a mistake in a value or forEach is reported with its position", () => {
  for (
    const [text, message] of [
      [".a..b", 'expected .key or [0] at "..b" in ".a..b"'],
      [".a[x]", 'expected [0], ["key"] or [*] at "[x]" in ".a[x]"'],
      [".a[*]", 'expected [*] in forEach alone, received ".a[*]"'],
      [".a | b", 'expected a path or a literal in quotes, received "b"'],
      [".a | ", "expected a path or a literal in quotes, received nothing"],
      ['.a["b', 'expected a closing " in ".a[\\"b"'],
      [".a + ", "expected a path or a literal in quotes, received nothing"],
      [".a + b", 'expected a path or a literal in quotes, received "b"'],
      [Array(9).fill(".a").join(" + "), "expected at most 8 joined texts"],
      [`.${"a.".repeat(17)}b`, "expected at most 16 steps"],
      ["x".repeat(1_025), "expected at most 1024 characters"],
      [".a b", 'expected .key or [0] at " b"'],
      ["$a", 'expected .key or [0] at "a" in "$a"'],
    ] as const
  ) assertThrows(() => compileValue(text), PathError, message);
  assertThrows(() => compileForEach(".a"), PathError, "expected a path with [*]");
});
