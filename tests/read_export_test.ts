/** What `export` writes: complete, the same in every run, inert in a spreadsheet, valid by the official schemas. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
// The peer of both.
import "ajv";
import Ajv from "ajv-draft-04";
import addFormats from "ajv-formats";
import { createHash } from "node:crypto";
import { csvRecord } from "../src/cli/output/csv.ts";
import { at, startWorld, STORED, zen } from "./support/readers.ts";

interface Validate {
  (value: unknown): boolean;
  readonly errors: readonly unknown[] | null;
}

/** Their types do not resolve here: both extend those of ajv by a path inside it. */
function compileSchema(schema: unknown): Validate {
  const ajv = new Ajv.default({ strict: false }) as unknown as { compile(schema: unknown): Validate };
  (addFormats as unknown as (ajv: unknown) => void)(ajv);
  return ajv.compile(schema);
}

/** The records of CSV text, without its comments. */
function recordsOf(csv: string): string[][] {
  const lines = csv.trimEnd().split("\n").filter((line) => !line.startsWith("#"));
  return lines.map((line) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) =>
      quoted?.replaceAll('""', '"') ?? plain ?? ""
    )
  );
}

Deno.test("export -o csv holds every Observation with its dates, the command and a digest of its records", async () => {
  await using world = await startWorld();
  const { code, out } = await zen(["export", "-o", "csv", "-l", "app.kubernetes.io/managed-by"], world);
  assertEquals(code, 0);
  const [head = [], ...records] = recordsOf(out);
  assertEquals(records.length, STORED.length);
  const column = (name: string) => records.map((record) => record[head.indexOf(name)]);
  assertEquals(new Set(column("id")).size, STORED.length);
  assertEquals(column("id").every((id) => /^[0-9a-f]{64}$/.test(id ?? "")), true);
  const resolved = records.find((record) => record[head.indexOf("phase")] === "Resolved") ?? [];
  assertEquals(resolved[head.indexOf("resolved_at")], at(3));
  assertEquals(resolved[head.indexOf("days_open")], "2.88");
  const lines = out.trimEnd().split("\n");
  assertStringIncludes(
    lines[0] ?? "",
    `# zen-watcher export -o csv -l app.kubernetes.io/managed-by --kubeconfig ${world.kubeconfig}`,
  );
  const body = lines.filter((line) => !line.startsWith("#")).map((line) => `${line}\n`).join("");
  const sha256 = createHash("sha256").update(body).digest("hex");
  assertEquals(lines.at(-1), `# ${STORED.length} records, sha256 ${sha256}`);
});

Deno.test("export -o csv makes formulas inert, and csvRecord() keeps a cell in its cell", async () => {
  await using world = await startWorld();
  const { out } = await zen(["export", "-o", "csv"], world);
  const cells = recordsOf(out).flat();
  assertEquals(cells.filter((cell) => /^[=+@-]/.test(cell)), []);
  assert(cells.includes(`'=HYPERLINK("https://example.com")`));
  const rows: readonly (readonly [string, string])[] = [
    ["=1+1", "'=1+1\n"],
    ["+1", "'+1\n"],
    ["-1", "'-1\n"],
    ["@SUM(A1)", "'@SUM(A1)\n"],
    ["\t=1", "'=1\n"],
    ["\u200b=1", "'=1\n"],
    ['a,"b"', '"a,""b"""\n'],
    ["two\nlines", "two lines\n"],
    ["# no comment", '"# no comment"\n'],
    ["", "n/a\n"],
  ];
  for (const [cell, record] of rows) assertEquals(csvRecord([cell]), record);
});

Deno.test("export --since, --until and --open-at choose by the dates of a finding", async () => {
  await using world = await startWorld();
  const count = async (...args: string[]) =>
    recordsOf((await zen(["export", "-o", "csv", ...args], world)).out).length - 1;
  assertEquals(await count("--since", "24h"), 1);
  assertEquals(await count("--until", "24h"), 3);
  assertEquals(await count("--since", "50h", "--until", "24h"), 2);
  // The one of three days ago was resolved three hours ago.
  assertEquals(await count("--open-at", "4h"), 3);
  assertEquals(await count("--open-at", "1h"), 3);
  assertEquals(await count("--open-at", "2026-11-19T07:00:00Z"), 1);
  assertEquals(await count("--open-at", "2026-11-19"), 0);
  assertEquals(await count("--active"), 3);
  const wrong = await zen(["export", "-o", "csv", "--open-at", "tomorrow"], world);
  assertEquals(wrong.code, 2);
  assertEquals((await zen(["export"], world)).code, 2);
});

Deno.test("export -o sarif is valid SARIF 2.1.0 with a result for each Observation", async () => {
  const schema = JSON.parse(
    await Deno.readTextFile(new URL("fixtures/schemas/sarif-2.1.0.json", import.meta.url)),
  );
  const isValid = compileSchema(schema);
  await using world = await startWorld();
  for (const args of [[], ["--kind", "Nothing"]]) {
    const log = JSON.parse((await zen(["export", "-o", "sarif", ...args], world)).out);
    assertEquals([isValid(log), isValid.errors], [true, null]);
  }
  const { runs } = JSON.parse((await zen(["export", "-o", "sarif"], world)).out);
  const results = runs.flatMap((run: { results: unknown[] }) => run.results);
  assertEquals(results.length, STORED.length);
  const trivy = runs.find((run: { tool: { driver: { name: string } } }) => run.tool.driver.name === "trivy");
  assertEquals(
    trivy.results.map(({ kind, level, ruleIndex }: Record<string, unknown>) => [kind, level, ruleIndex])
      .sort(),
    [["fail", "error", 0], ["pass", "none", 0]],
  );
  assertEquals(trivy.tool.driver.rules[0], {
    id: "CVE-2024-3094",
    properties: { "security-severity": "9.5", tags: ["security"] },
  });
  // The check can fail.
  assertEquals(isValid({ version: "2.1.0", runs: [{ results: [{ level: "bad" }] }] }), false);
});

Deno.test("export -o json holds one object a line, and two exports of one moment are equal", async () => {
  await using world = await startWorld();
  const [head, ...records] = (await zen(["export", "-o", "json"], world)).out.trimEnd().split("\n").map((
    line,
  ) => JSON.parse(line));
  assertEquals([head.record, head.at], ["export", at(0)]);
  const end = records.pop();
  assertEquals([end.record, end.count], ["end", STORED.length]);
  assertEquals(records.map(({ record }) => record), STORED.map(() => "finding"));
  for (const format of ["csv", "json", "sarif"]) {
    const once = await zen(["export", "-o", format], world);
    const again = await zen(["export", "-o", format], world);
    assertEquals(again.out, once.out, format);
  }
});
