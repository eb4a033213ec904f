import { assertEquals } from "@std/assert";
import type { Json } from "../model/json.ts";
import { documentsIn, withoutLogLines } from "./results.ts";

function found(body: Json): unknown[] {
  const origin = { confined: false, name: "kube-bench-node-1", labels: { node: "n1" } };
  return [...documentsIn({ body, origin, receivedAt: 0 })].map((item) =>
    "error" in item ? item.error.reason : [item.document, item.path, item.holder.name]
  );
}

function configMap(text: Json): Json {
  return { kind: "ConfigMap", metadata: { name: "kube-bench-node-2" }, data: { "results.json": text } };
}

Deno.test("documentsIn() takes a parsed document as it is, held by the payload's object", () => {
  assertEquals(found({ Controls: [] }), [[{ Controls: [] }, "", "kube-bench-node-1"]]);
});

Deno.test("documentsIn() reads text, a ConfigMap and a list of ConfigMaps", () => {
  assertEquals(found('{"a":1}\n{"b":2}'), [
    [{ a: 1 }, "[0]", "kube-bench-node-1"],
    [{ b: 2 }, "[1]", "kube-bench-node-1"],
  ]);
  const path = 'data["results.json"]';
  assertEquals(found(configMap("[]")), [[[], path, "kube-bench-node-2"]]);
  assertEquals(found({ kind: "ConfigMapList", items: [configMap("{}"), configMap("[1]")] }), [
    [{}, `items[0].${path}`, "kube-bench-node-2"],
    [[1], `items[1].${path}`, "kube-bench-node-2"],
  ]);
});

Deno.test("documentsIn() says what cannot be read and keeps the rest", () => {
  assertEquals(found(configMap(null)), ["missing_field"]);
  assertEquals(found(configMap("")), ["unreadable"]);
  assertEquals(found(configMap('{"a":1}\n{"b":')), [
    [{ a: 1 }, 'data["results.json"]', "kube-bench-node-2"],
    "unreadable",
  ]);
});

Deno.test("withoutLogLines() drops lines before the first document and keeps the line numbers", () => {
  const log = "I0424 09:31:02.118245   21478 util.go:128] {not: json}\n[INFO] 1 Master\n";
  assertEquals(withoutLogLines(`${log}{"Controls":\n[]}`), '\n\n{"Controls":\n[]}');
  assertEquals(withoutLogLines('  [{"id":"1"}]\ntrailing'), '  [{"id":"1"}]\ntrailing');
  assertEquals(withoutLogLines("no document\nat all"), "no document\nat all");
});
