import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import type { Json } from "../model/json.ts";
import { runStepsInSlices } from "../model/turns.ts";
import { documentsIn, logLinesEnd, logLineSteps } from "./config_maps.ts";

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

Deno.test("documentsIn() reports documents that cannot be read and keeps the rest", () => {
  assertEquals(found(configMap(null)), ["missing_field"]);
  assertEquals(found(configMap("")), ["unreadable"]);
  assertEquals(found(configMap('{"a":1}\n{"b":')), [
    [{ a: 1 }, 'data["results.json"]', "kube-bench-node-2"],
    "unreadable",
  ]);
});

Deno.test("logLinesEnd() finds the first line that begins a document", () => {
  const end = (text: string) => logLinesEnd(new TextEncoder().encode(text));
  const log = "I0424 09:31:02.118245   21478 util.go:128] {not: json}\n[INFO] 1 Master\n";
  assertEquals(end(`${log}{"Controls":\n[]}`), log.length);
  assertEquals(end('  [{"id":"1"}]\ntrailing'), 0);
  assertEquals(end("no document\nat all"), 0);
  assertEquals(end(""), 0);
});

Deno.test("logLineSteps() finds the same, and pauses on the way", async () => {
  let pauses = 0;
  const pause = () => {
    pauses++;
    return undefined;
  };
  const end = (text: string) => runStepsInSlices(logLineSteps(new TextEncoder().encode(text)), { pause });
  const log = "I0424 09:31:02.118245 util.go:128] {not: json}\n".repeat(20_000);
  assertEquals(await end(`${log}  {"Controls":[]}`), log.length);
  assert(pauses >= 3, `${pauses} pauses`);
  const slice = 256 * 1024;
  for (const before of [slice - 2, slice - 1, slice]) {
    assertEquals(await end(`${"x".repeat(before)}\n{}`), before + 1);
  }
  assertEquals(await end("x\n".repeat(slice)), 0);
});

Deno.test("documentsIn() counts the lines of a log before the results", () => {
  const log = "I0424 09:31:02.118245   21478 util.go:128] start\n[INFO] 1 Master\n";
  const body = `${log}{"a":1}\n{"b":`;
  const errors = [...documentsIn({ body, origin: { confined: false }, receivedAt: 0 })]
    .flatMap((item) => "error" in item ? [item.error.path] : []);
  assertEquals(errors, ["(line 4, column 6)"]);
});

Deno.test("documentsIn() reads binaryData: UTF-16 with a mark and gzip, up to the limit of pushed texts", () => {
  const binary = (bytes: Uint8Array) => ({
    kind: "ConfigMap",
    metadata: { name: "n" },
    binaryData: { "results.json": Buffer.from(bytes).toString("base64") },
  });
  const path = 'binaryData["results.json"]';
  const text = new TextEncoder().encode('{"a":"é"}');
  const utf16 = Buffer.from('\ufeff{"a":"é"}', "utf16le");
  for (const bytes of [text, utf16, gzipSync(text), gzipSync(utf16)]) {
    assertEquals(found(binary(bytes)), [[{ a: "é" }, path, "n"]]);
  }
  for (
    const bytes of [
      utf16.subarray(2),
      Buffer.from("PK\u0003\u0004\u0000"),
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
    ]
  ) {
    assertEquals(found(binary(bytes)), ["unreadable"]);
  }
  const bomb = gzipSync(new Uint8Array(100 * 2 ** 20).fill(32));
  assertEquals(found(binary(bomb)), ["too_large"]);
  assertEquals(found(binary(gzipSync(text).subarray(0, 12))), ["unreadable"]);
});
