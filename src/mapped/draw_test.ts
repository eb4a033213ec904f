import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Drawn, DrawnEvent, Origin } from "../model/event.ts";
import type { Json, JsonObject } from "../model/json.ts";
import { compileMapped } from "./compile.ts";
import { drawMapped, MAX_ITEMS } from "./draw.ts";

const PUSHED: Origin = { confined: false };

function drawn(mapping: JsonObject, body: Json, origin = PUSHED): Drawn[] {
  const spec = { source: "tool", type: "webhook", webhook: { path: "/x" }, mapping };
  const result = compileMapped({ kind: "Ingester", metadata: { name: "x", namespace: "n" }, spec });
  if (!result.ok || !result.value.mapping) throw new Error(JSON.stringify(result));
  const all = [...drawMapped(result.value.mapping, { body, origin, receivedAt: 0 })];
  return all.flatMap((item) => "note" in item ? [] : [item]);
}

function events(mapping: JsonObject, body: Json, origin = PUSHED): DrawnEvent[] {
  return drawn(mapping, body, origin).map((item) => {
    if ("error" in item) throw new Error(item.error.message);
    return item.event;
  });
}

const told = (mapping: JsonObject, body: Json) =>
  drawn(mapping, body).map((item) =>
    "error" in item ? `${item.error.reason} ${item.error.path}: ${item.error.message}` : "event"
  );

Deno.test("a mapping's fields come from literals and paths", () => {
  const [event] = events({
    severity: ".sev",
    category: ".cat",
    eventType: "my-type",
    message: "$.text",
    rule: ".id",
    detectedAt: ".at",
    resource: { kind: "deployment", name: ".name", namespace: ".ns" },
    details: { a: ".a", nothing: ".b", word: "literal", list: ".c" },
    identity: [".id"],
  }, { sev: "Bad", cat: "COST", text: "T", id: 7, at: 1_793_491_201, name: "web", ns: "shop", a: 1, c: [1] });
  assertEquals(event, {
    category: "cost",
    severity: "Bad",
    eventType: "my-type",
    message: "T",
    rules: ["7"],
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
    details: { a: 1, word: "literal", list: [1] },
    prose: ["word"],
    detectedAt: 1_793_491_201_000,
    identity: { ".id": 7 },
  });
});

Deno.test("what a mapping's author wrote is prose, a path that shares its name is not", () => {
  const proseOf = (mapping: JsonObject) => events(mapping, { a: 1 })[0]?.prose;
  assertEquals(
    proseOf({ message: "Ensure token: is set", details: { why: "a password: policy", a: ".a" } }),
    [
      "why",
      "message",
    ],
  );
  assertEquals(proseOf({ message: ".a", details: { message: "words" } }), []);
  assertEquals(proseOf({ message: "words", details: { message: ".a" } }), []);
  assertEquals(proseOf({ message: ".a", details: { a: ".a", b: ".a" }, prose: ["message", "b"] }), [
    "b",
    "message",
  ]);
});

Deno.test("an empty mapping is a security finding of the source's name", () => {
  const [event] = events({}, { a: 1 });
  assertEquals([event?.category, event?.eventType, event?.severity], ["security", "tool", null]);
});

Deno.test("when leaves items out, resolvedWhen ends a finding, over item, root and key", () => {
  const mapping = {
    forEach: ".items[*]",
    when: 'item.ok == false && root.on && key != "c" && size(item.list) > 0 && item.count > 2',
    resolvedWhen: "item.gone == true",
    message: "@key",
  };
  const item = { ok: false, gone: false, list: [1], count: 3 };
  const items = {
    a: item,
    b: { ...item, ok: true },
    c: item,
    d: { ...item, gone: true },
    e: { ...item, count: 2.5 },
    f: { ...item, list: [] },
  };
  assertEquals(
    events(mapping, { on: true, items }).map(({ message, resolved }) => [message, resolved ?? false]),
    [["a", false], ["d", true], ["e", false]],
  );
});

Deno.test("an item on which an expression fails is reported with its path, and the others are kept", () => {
  const lines = told({ forEach: ".a[*]", when: "item.ok == false" }, {
    a: [{ ok: false }, {}, 5, { ok: false }],
  });
  assertEquals(lines.map((line) => line.split(":")[0]), ["event", "mapping a[1]", "mapping a[2]", "event"]);
});

Deno.test("hostile keys of an item do not reach the expression's own objects", () => {
  const hostile = JSON.parse('{"__proto__": {"ok": false}, "constructor": {"ok": false}}') as Json;
  for (const when of ["item.ok == false", "item.toString == 1", "item.constructor.name == 'Object'"]) {
    assertEquals(told({ when }, hostile)[0]?.split(" ")[0], "mapping", when);
  }
});

Deno.test("matches in an expression is linear in hostile text, and refuses what is too long", () => {
  const when = "item.text.matches('^(a+)+$')";
  assertEquals(told({ when }, { text: `${"a".repeat(3_000)}!` }), []);
  assertEquals(told({ when }, { text: `${"a".repeat(50_000)}!` }), [
    'mapping : "matches" of this pattern takes at most 3333 characters, received 50001',
  ]);
});

Deno.test("completeWhen tells a partial list from a complete one, and its failure is an error", () => {
  const spec = {
    source: "tool",
    type: "informer",
    informer: { group: "x.io", version: "v1", resource: "things" },
    mapping: { forEach: ".list[*]", message: ".m", completeWhen: "root.total <= size(root.list)" },
  };
  const result = compileMapped({ kind: "Ingester", metadata: { name: "x", namespace: "n" }, spec });
  if (!result.ok || !result.value.mapping) throw new Error(JSON.stringify(result));
  const { mapping } = result.value;
  const kinds = (body: Json) =>
    [...drawMapped(mapping, { body, origin: PUSHED, receivedAt: 0 })].map((drawn) =>
      "note" in drawn ? drawn.note : "error" in drawn ? drawn.error.reason : "event"
    );
  assertEquals(kinds({ total: 2, list: [{ m: "a" }, { m: "b" }] }), ["event", "event"]);
  assertEquals(kinds({ total: 25, list: [{ m: "a" }, { m: "b" }] }), ["partial", "event", "event"]);
  assertEquals(kinds({ list: [{ m: "a" }] }), ["mapping", "event"]);
});

Deno.test("the expressions of one payload share their steps, and items beyond them are reported", () => {
  const ignored = Array.from({ length: 5_000 }, (_, id) => id);
  const items = Array.from({ length: 2_000 }, () => ({ id: "none" }));
  const lines = told(
    { forEach: ".items[*]", when: "!root.ignored.exists(i, i == item.id)" },
    { ignored, items },
  );
  assertEquals(lines.length, 2_000);
  assertEquals(lines[0], "event");
  assertEquals(
    lines.at(-1),
    "mapping items[1999]: the steps that all expressions together may take here are spent",
  );
});

Deno.test("an unknown category, an identity without values and a path without items are reported", () => {
  assertEquals(told({ category: ".c" }, { c: "nonsense" }), [
    'invalid_value : expected a category of security|compliance|operations|performance|cost, received "nonsense"',
  ]);
  assertEquals(told({ forEach: ".a[*]", identity: [".id"] }, { a: [{}] }), [
    "missing_field a[0]: none of the identity's values is there",
  ]);
  assertEquals(told({ forEach: ".a[*].b[*]" }, { a: [{ b: "x" }, { b: [1] }] }), [
    "wrong_shape a[0].b: expected a list or a map, received string",
    "event",
  ]);
});

Deno.test("items are bounded, also those that when leaves out", () => {
  const body = { a: Array.from({ length: MAX_ITEMS + 2 }, () => 0) };
  assertEquals(drawn({ forEach: ".a[*]", when: "item == 1" }, body), [{
    error: {
      reason: "too_many_events",
      path: "",
      message: `more than ${MAX_ITEMS} items, the rest is not taken`,
    },
  }]);
});

Deno.test("documents one after another are read one by one, unless the mapping takes the list itself", () => {
  assertEquals(events({ message: ".m" }, [{ m: "a" }, { m: "b" }]).map(({ message }) => message), ["a", "b"]);
  assertEquals(events({ forEach: ".x[*]", message: "$.m" }, [{ m: "a", x: [1, 2] }]).length, 2);
  assertEquals(events({ forEach: "$[*]", message: ".m" }, [{ m: "a" }, { m: "b" }]).length, 2);
});

Deno.test("the default identity is event type, resource, message and a map's key, never a list's index", () => {
  const mapping = { forEach: ".a[*]", message: ".m", resource: { name: ".n" } };
  const identities = (body: Json) => events(mapping, body).map(({ identity }) => identity);
  assertEquals(identities({ a: [{ m: "x", n: "r" }] }), [{
    eventType: "tool",
    message: "x",
    resource: { name: "r" },
  }]);
  assertEquals(
    identities({ a: [{ m: "y" }, { m: "x", n: "r" }] })[1],
    identities({ a: [{ m: "x", n: "r" }] })[0],
  );
  assertEquals(identities({ a: { k: { m: "x", n: "r" } } }), [{
    eventType: "tool",
    message: "x",
    key: "k",
    resource: { name: "r" },
  }]);
});

Deno.test("a finding without a resource gets the object as its resource", () => {
  const of = (name: string) =>
    events({ message: "m" }, {}, { confined: true, namespace: "n", name })[0]?.identity;
  assertEquals(of("a"), { eventType: "tool", message: "m", object: "n/a" });
});

Deno.test("an error shows no part of a secret where the value that it received is cut", () => {
  const token = ["ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"].join("");
  for (let before = 1; before < 100; before++) {
    const [message = ""] = told({ category: ".kind" }, { kind: `${"x".repeat(before)} ${token}` });
    assertStringIncludes(message, "expected a category");
    assertEquals(message.includes("ghp_a"), false, `after ${before} characters`);
  }
});
