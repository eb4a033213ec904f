import { assert, assertEquals } from "@std/assert";
import type { JsonObject } from "../model/json.ts";
import { jsonBytes, truncateObject } from "./truncate.ts";

Deno.test("truncateObject() leaves alone what fits to the byte", () => {
  const object = { text: "é".repeat(10), list: [1, 2] };
  assertEquals(truncateObject(object, jsonBytes(object)), { value: object, truncated: false });
  assertEquals(truncateObject(object, jsonBytes(object) - 1).truncated, true);
});

Deno.test("truncateObject() cuts the longest strings and arrays first", () => {
  const object: JsonObject = {
    id: "CVE-2024-0001",
    output: "x".repeat(20_000),
    items: Array.from({ length: 5000 }, (_, index) => index),
    note: "y".repeat(900),
  };
  const { value, truncated } = truncateObject(object, 4000);
  assert(truncated && jsonBytes(value) <= 4000);
  assertEquals(value.id, object.id);
  assertEquals(value.note, object.note);
  assert(String(value.output).endsWith("x…"));
  assert(Array.isArray(value.items) && value.items.length < 5000 && value.items[0] === 0);
});

Deno.test("truncateObject() gives the same whatever the key order", () => {
  const entries = Array.from(
    { length: 300 },
    (_, index): [string, string] => [`key${index}`, "v".repeat(100)],
  );
  const one = truncateObject(Object.fromEntries(entries), 3000).value;
  const other = truncateObject(Object.fromEntries(entries.reverse()), 3000).value;
  assertEquals(Object.entries(one).sort(), Object.entries(other).sort());
  assert(Object.keys(one).length > 0);
});

Deno.test("truncateObject() leaves out the largest members where cutting inside them is not enough", () => {
  const wide = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`k${i}`, nested(4, `leaf${i}`)]));
  const { value } = truncateObject({ ...wide, small: 1 }, 600);
  assert(jsonBytes(value) <= 600);
  assertEquals(value.small, 1);
});

function nested(depth: number, leaf: string): JsonObject {
  if (depth === 0) return { leaf: leaf.repeat(20) };
  return Object.fromEntries(["a", "b", "c"].map((key) => [key, nested(depth - 1, leaf)]));
}
