import { assert, assertEquals } from "@std/assert";
import { parseFilterDocuments, readFilterBlock, readFilterSpec } from "./document.ts";
import { MAX_TEXT_LENGTH } from "./config_text.ts";
import { didYouMean, formatPath } from "./problem.ts";

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
    [`{"sources": ${"[".repeat(100_000)}`, "nested too deeply"],
  ];
  for (const [text, message] of rows) {
    const result = parseFilterDocuments(text, "f");
    assert(!result.ok);
    assertEquals(result.problems.map((problem) => problem.message), [message]);
  }
});

Deno.test("parseFilterDocuments() refuses a ConfigMap full of keys, each with its place", () => {
  const keys = Array.from({ length: 45_000 }, (_, index) => `  s${index}:\n`);
  const block = Array.from({ length: 30_000 }, (_, index) => `"k${index}":1`);
  // Each key compared with all others, these two took more than half a minute.
  const many = parseFilterDocuments(`sources:\n${keys.join("")}`, "f");
  const unknown = parseFilterDocuments(`{"sources":{"trivy":{${block.join()}}}}`, "f");
  assert(!many.ok && !unknown.ok);
  assertEquals(many.problems.length, 1);
  assertEquals(unknown.problems.length, 30_000);
  assertEquals(unknown.problems.at(-1)?.path, "sources.trivy.k29999");
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

Deno.test("readFilterBlock() gives paths below where the block stands", () => {
  const result = readFilterBlock({ expression: "1" }, ["spec", "filters"]);
  assert(!result.ok);
  assertEquals(result.problems[0]?.path, ["spec", "filters", "expression"]);
});

Deno.test("didYouMean() guesses misspellings and swaps, and nothing far-fetched", () => {
  const keys = ["minSeverity", "mode", "enabled"];
  assertEquals(didYouMean("minSevertiy", keys), "minSeverity");
  assertEquals(didYouMean("MINSEVERITY", keys), "minSeverity");
  assertEquals(didYouMean("modes", keys), "mode");
  assertEquals(didYouMean("threshold", keys), undefined);
});
