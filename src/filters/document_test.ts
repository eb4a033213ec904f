import { assert, assertEquals } from "@std/assert";
import { parseFilterDocuments, readFilterBlock, readFilterSpec } from "./document.ts";
import { MAX_TEXT_LENGTH } from "./config_text.ts";
import { didYouMean, formatPath } from "../text/problem.ts";

Deno.test("parseFilterDocuments() reads values and source keys in any case, from JSON and YAML alike", () => {
  const expected = {
    ok: true as const,
    value: [
      {
        name: "f sources.trivy",
        source: "trivy",
        block: {
          minSeverity: "HIGH" as const,
          mode: "Shadow" as const,
          includeCategories: ["security" as const],
          excludeKinds: ["pod", "replicaset"],
        },
      },
      { name: "f sources.*", source: "*", block: { excludeNamespaces: ["kube-*"] } },
    ],
  };
  const json = JSON.stringify({
    sources: {
      TRIVY: {
        minSeverity: "high",
        mode: "SHADOW",
        includeCategories: ["Security"],
        excludeKinds: ["Pod"],
        ignoreKinds: ["ReplicaSet"],
      },
      "*": { excludeNamespaces: ["Kube-*"] },
    },
  });
  const yaml = `
sources:
  Trivy: {minSeverity: High, mode: shadow, includeCategories: [SECURITY], excludeKinds: [Pod, ReplicaSet]}
  '*':
    excludeNamespaces: [kube-*]
`;
  assertEquals(parseFilterDocuments(json, "f"), expected);
  assertEquals(parseFilterDocuments(yaml, "f"), expected);
});

Deno.test("parseFilterDocuments() bounds text, sources, lists, values and expressions", () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => `v${index}`);
  const rows: [string, string][] = [
    [" ".repeat(MAX_TEXT_LENGTH + 1), `expected at most ${MAX_TEXT_LENGTH} characters, received 524289`],
    [
      JSON.stringify({ sources: Object.fromEntries(many(201).map((name) => [name, {}])) }),
      "expected at most 200 sources, received 201",
    ],
    [
      JSON.stringify({ sources: { trivy: { includeRules: many(1001) } } }),
      "expected at most 1000 values, received a list",
    ],
    [
      JSON.stringify({ sources: { trivy: { includeRules: ["x".repeat(257)] } } }),
      `expected at most 256 characters, received "${"x".repeat(80)}…"`,
    ],
    [`{"sources": ${"[".repeat(100_000)}`, "the text ends too early"],
    [`{"sources": ${"[".repeat(100)}${"]".repeat(100)}}`, "nested deeper than 64 levels"],
    [`sources: ${"[".repeat(7_900)}`, "nested too deeply"],
    [JSON.stringify({ sources: [many(50_000)] }), "more than 50000 values"],
    [
      "sources: {}\n".repeat(9_000),
      "expected at most 8000 lines, brackets, quotes and other marks in YAML, received 36000; write it as JSON",
    ],
    [
      many(101).map((name) => `${name}: &${name} x\n`).join(""),
      "expected at most 100 anchors and aliases, received 101",
    ],
    [
      `a: &a x\n${many(101).map((name) => `${name}: *a\n`).join("")}`,
      "expected at most 100 anchors and aliases, received 101",
    ],
  ];
  for (const [text, message] of rows) {
    const result = parseFilterDocuments(text, "f");
    assert(!result.ok);
    assertEquals(result.problems.map((problem) => problem.message), [message]);
  }
});

Deno.test("parseFilterDocuments() refuses a ConfigMap full of keys, the first 1,000 with their places", () => {
  const keys = Array.from({ length: 45_000 }, (_, index) => `  s${index}:\n`);
  const block = (count: number) => Array.from({ length: count }, (_, index) => `"k${index}":1`).join();
  // If each key were compared with all others, this would take more than half a minute.
  const many = parseFilterDocuments(`sources:\n${keys.join("")}`, "f");
  const unknown = parseFilterDocuments(`{"sources":{"trivy":{${block(9_000)}}}}`, "f");
  const crowded = parseFilterDocuments(`{"sources":{"trivy":{${block(30_000)}}}}`, "f");
  assert(!many.ok && !unknown.ok && !crowded.ok);
  assertEquals(many.problems.length, 1);
  assertEquals(unknown.problems.length, 1_001);
  assertEquals(unknown.problems[999]?.path, "sources.trivy.k999");
  assertEquals(unknown.problems[1_000]?.message, "and 8000 more mistakes");
  assertEquals(crowded.problems.map(({ message, position }) => [message, position?.line]), [
    ["more than 10000 keys in one object", 1],
  ]);
});

Deno.test("parseFilterDocuments() finds the places in JSON that it finds in the same text as YAML", () => {
  const texts = [
    '{\n  "sources": {\n    "trivy": {"minSeverity": "HIHG", "excludeKinds": ["Pod", 7]}\n  }\n}',
    '{"sources": {"é😀": {"expression": "severity == \\"HIGH\\" && nothing"}}}',
    '{"sources": {"a": {"expression": "severity == nothing", "mode": "Shadow"}, "b": [1, {"c": {}}]}}',
    '{"sources":{"a":{"enabled":true,"enabled":false},"A":{},"a":{}}}',
    '[{"sources":{}}]',
    '{"sources":{},"soures":{}}',
  ];
  for (const text of texts) {
    const json = parseFilterDocuments(text, "f");
    // A comment makes it YAML.
    const yaml = parseFilterDocuments(`${text} # YAML`, "f");
    assert(!json.ok);
    assertEquals(json, yaml, text);
  }
});

Deno.test("readFilterSpec() reads an ObservationFilter's spec and suggests its own keys too", () => {
  assertEquals(
    readFilterSpec({ targetSource: "Falco", excludeRules: ["Terminal shell"] }, {
      name: "ObservationFilter a/b",
      tenantNamespace: "a",
    }),
    {
      ok: true,
      value: {
        name: "ObservationFilter a/b",
        tenantNamespace: "a",
        source: "falco",
        block: { excludeRules: ["terminal shell"] },
      },
    },
  );
  const bad = readFilterSpec({ targetSorce: "falco", minSeverity: "HIGH" }, { name: "x" });
  assert(!bad.ok);
  assertEquals(bad.problems.map(({ path, message }) => [formatPath(path), message]), [
    ["spec.targetSource", "expected a string, received nothing"],
    ["spec.targetSorce", 'unknown key; did you mean "targetSource"?'],
  ]);
});

Deno.test("readFilterBlock() gives paths that begin with the block's path", () => {
  const result = readFilterBlock({ expression: "1" }, ["spec", "filters"]);
  assert(!result.ok);
  assertEquals(result.problems[0]?.path, ["spec", "filters", "expression"]);
});

Deno.test("didYouMean() guesses misspellings and swapped letters, and nothing else", () => {
  const keys = ["minSeverity", "mode", "enabled"];
  assertEquals(didYouMean("minSevertiy", keys), "minSeverity");
  assertEquals(didYouMean("MINSEVERITY", keys), "minSeverity");
  assertEquals(didYouMean("modes", keys), "mode");
  assertEquals(didYouMean("threshold", keys), undefined);
});
