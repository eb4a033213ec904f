/** What `export` writes: complete, the same in every run, inert in a spreadsheet, valid by the official schemas. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
// The peer of both.
import "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import Ajv from "ajv-draft-04";
import addFormats from "ajv-formats";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { csvRecord } from "../src/cli/output/csv.ts";
import { imagePurl } from "../src/cli/output/openvex.ts";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import { POLICY_REPORTS } from "./support/policy_reports.ts";
import type { DevWorld } from "./support/dev_world.ts";
import { ago, create, KEPT, startWorld, zen } from "./support/readers.ts";

interface Validate {
  (value: unknown): boolean;
  readonly errors: readonly unknown[] | null;
}

/** Their types do not resolve here: both extend those of ajv by a path inside it. */
function compileSchema(schema: unknown, draft: "draft-04" | "2020-12"): Validate {
  const Draft = draft === "draft-04" ? Ajv.default : Ajv2020.default;
  const ajv = new Draft({ strict: false }) as unknown as { compile(schema: unknown): Validate };
  (addFormats as unknown as (ajv: unknown) => void)(ajv);
  return ajv.compile(schema);
}

async function schemaOf(name: string, draft: "draft-04" | "2020-12" = "2020-12"): Promise<Validate> {
  const text = await Deno.readTextFile(new URL(`fixtures/schemas/${name}.json`, import.meta.url));
  return compileSchema(JSON.parse(text), draft);
}

/** A vulnerability that an exception covers, beside what `startWorld` stores. */
async function startWorldWithException(): Promise<DevWorld> {
  const world = await startWorld();
  await world.api.create(OBSERVATION_EXCEPTIONS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name: "zlib", namespace: "shop" },
    spec: {
      match: { rules: ["CVE-2023-45853"] },
      reason: "accepted_risk",
      justification: "MiniZip is not used",
      expiresAt: "2027-01-31T00:00:00Z",
      ticket: "SEC-1",
      acceptedBy: "the shop team",
    },
  });
  await create(world, {
    id: "web-zlib",
    namespace: "shop",
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
    source: "trivy",
    eventType: "vulnerability",
    severity: "CRITICAL",
    rule: "CVE-2023-45853",
    message: "zlib1g 1.2.13 has CVE-2023-45853",
    details: {
      package: "zlib1g",
      installedVersion: "1:1.2.13",
      fixedVersion: "1:1.2.14",
      purl: "pkg:deb/debian/zlib1g@1.2.13",
      title: "zlib: integer overflow",
      primaryLink: "https://avd.aquasec.com/nvd/cve-2023-45853",
      image: "registry.example/shop/web:1.2",
    },
    status: {
      phase: "Accepted",
      firstSeenAt: ago(50),
      lastSeenAt: ago(1),
      exception: { namespace: "shop", name: "zlib", since: ago(40), expiresAt: "2027-01-31T00:00:00Z" },
    },
  });
  return world;
}

const POLICY_REPORT = {
  apiVersion: "wgpolicyk8s.io/v1alpha2",
  kind: "PolicyReport",
  metadata: { name: "report", namespace: "shop" },
} as const;

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
  assertEquals(records.length, KEPT.length);
  const column = (name: string) => records.map((record) => record[head.indexOf(name)]);
  assertEquals(new Set(column("id")).size, KEPT.length);
  assertEquals(column("id").every((id) => /^[0-9a-f]{64}$/.test(id ?? "")), true);
  const resolved = records.find((record) => record[head.indexOf("phase")] === "Resolved") ?? [];
  assertEquals(resolved[head.indexOf("resolved_at")], ago(3));
  assertEquals(resolved[head.indexOf("days_open")], "2.88");
  const lines = out.trimEnd().split("\n");
  assertStringIncludes(
    lines[0] ?? "",
    `# zen-watcher export -o csv -l app.kubernetes.io/managed-by --kubeconfig ${world.kubeconfig}`,
  );
  const body = lines.filter((line) => !line.startsWith("#")).map((line) => `${line}\n`).join("");
  const sha256 = createHash("sha256").update(body).digest("hex");
  assertEquals(lines.at(-1), `# ${KEPT.length} records, sha256 ${sha256}`);
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
    // A spreadsheet whose separator is ; splits the cell there, quotes within the line or not.
    ["a;=1+1", "a;'=1+1\n"],
    ["a; @b;-1", "a; '@b;'-1\n"],
    ['a,;"=1"', `"a,;""'=1"""\n`],
    ["a; b", "a; b\n"],
  ];
  for (const [cell, record] of rows) assertEquals(csvRecord([cell]), record);
});

Deno.test("export -o csv --coverage keeps each comment on its line and in its cell, whatever a report names", async () => {
  await using world = await startWorld();
  const policies = ["two\n=1+1", "a,=1+1", "b;@SUM(A1)"];
  await world.api.create(POLICY_REPORTS, {
    ...POLICY_REPORT,
    results: policies.map((policy) => ({ policy, result: "fail" })),
  });
  const { out } = await zen(["export", "-o", "csv", "--coverage"], world);
  assertStringIncludes(out, "# checked: two =1+1: ");
  assertStringIncludes(out, "# checked: a,'=1+1: ");
  assertStringIncludes(out, "# checked: b;'@SUM(A1): ");
  assertEquals(out.split(/[\n,;]/).filter((cell) => /^"?[=+@-]/.test(cell)), []);
});

Deno.test("export --folder writes the same to a file of the day, complete or not at all, and keeps the newest", async () => {
  await using world = await startWorld();
  const folder = await Deno.makeTempDir();
  try {
    const others = [
      "observations-2026-11-19.csv",
      "observations-2026-11-20.csv",
      "observations-2026-11-18.json",
      "mine.csv",
    ];
    for (const name of others) await Deno.writeTextFile(join(folder, name), "before");
    const args = ["export", "-o", "csv", "--folder", folder, "--keep", "2"];
    const file = join(folder, "observations-2026-11-22.csv");
    const first = await zen(args, world);
    assertEquals([first.code, first.out, first.err], [0, "", `Wrote ${file}\n`]);
    const { out } = await zen(["export", "-o", "csv"], world);
    // The first line is the command.
    assertEquals((await Deno.readTextFile(file)).split("\n").slice(1), out.split("\n").slice(1));
    const names = async () => (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name)).sort();
    const kept = [
      "mine.csv",
      "observations-2026-11-18.json",
      "observations-2026-11-20.csv",
      "observations-2026-11-22.csv",
    ];
    assertEquals(await names(), kept);

    await Deno.writeTextFile(file, "yesterday's run");
    const failed = await zen(args, { kubeconfig: join(folder, "none") });
    assertEquals(failed.code, 1);
    assertEquals(await Deno.readTextFile(file), "yesterday's run", "a failed export replaces nothing");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("export names the folder that it cannot write to, and refuses --keep without one", async () => {
  await using world = await startWorld();
  const missing = await zen(["export", "-o", "csv", "--folder", "/nonexistent"], world);
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.err, 'Cannot write "/nonexistent/observations-2026-11-22.csv": ');
  for (
    const [args, why] of [
      [["--keep", "2"], "expected --folder with --keep"],
      [["--folder", "/tmp", "--keep", "0"], "expected a number of files from 1 on"],
      [["--folder", "/tmp", "--keep", "many"], "expected a number of files from 1 on"],
    ] as const
  ) {
    const { code, err } = await zen(["export", "-o", "csv", ...args], world);
    assertEquals(code, 2);
    assertStringIncludes(err, why);
  }
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
  assertEquals(await count("--phase", "Active"), 3);
  const wrong = await zen(["export", "-o", "csv", "--open-at", "tomorrow"], world);
  assertEquals(wrong.code, 2);
  assertEquals((await zen(["export"], world)).code, 2);
});

Deno.test("export says which findings of --open-at were reported again since, and when", async () => {
  await using world = await startWorld();
  await create(world, {
    id: "returned",
    namespace: "shop",
    rule: "CVE-2025-7",
    status: { firstSeenAt: ago(90), lastSeenAt: ago(1), reopenedAt: ago(5) },
  });
  const ask = (time: string) =>
    zen(["export", "-o", "csv", "--rule", "CVE-2025-7", "--open-at", time], world);
  const { out, err } = await ask("24h");
  const [head = [], record = []] = recordsOf(out);
  assertEquals(record[head.indexOf("reopened_at")], ago(5));
  assertEquals(
    err,
    "1 finding may have been Resolved at that time: reported again later (reopened_at), and when it had ended before " +
      "is not stored\n",
  );
  assertEquals((await ask("2h")).err, "");
});

Deno.test("export -o sarif is valid SARIF 2.1.0 with a result for each Observation", async () => {
  const isValid = await schemaOf("sarif-2.1.0", "draft-04");
  await using world = await startWorld();
  for (const args of [[], ["--kind", "Nothing"]]) {
    const log = JSON.parse((await zen(["export", "-o", "sarif", ...args], world)).out);
    assertEquals([isValid(log), isValid.errors], [true, null]);
  }
  const { runs } = JSON.parse((await zen(["export", "-o", "sarif"], world)).out);
  const results = runs.flatMap((run: { results: unknown[] }) => run.results);
  assertEquals(results.length, KEPT.length);
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
  assertEquals([head.record, head.at], ["export", ago(0)]);
  const end = records.pop();
  assertEquals([end.record, end.count], ["end", KEPT.length]);
  assertEquals(records.map(({ record }) => record), KEPT.map(() => "finding"));
  for (const format of ["csv", "json", "sarif", "ocsf", "defectdojo", "openvex"]) {
    const once = await zen(["export", "-o", format], world);
    const again = await zen(["export", "-o", format], world);
    assertEquals(again.out, once.out, format);
  }
});

Deno.test("export shows who accepted what, why and until when", async () => {
  await using world = await startWorldWithException();
  const { out } = await zen(["export", "-o", "csv", "--rule", "CVE-2023-45853"], world);
  const [head = [], record = []] = recordsOf(out);
  const cell = (name: string) => record[head.indexOf(name)];
  assertEquals(
    ["phase", "exception", "exception_reason", "exception_justification", "accepted_since", "accepted_until"]
      .map(cell),
    ["Accepted", "shop/zlib", "accepted_risk", "MiniZip is not used", ago(40), "2027-01-31T00:00:00Z"],
  );
  assertEquals(["exception_ticket", "exception_accepted_by"].map(cell), ["SEC-1", "the shop team"]);
  for (const format of ["sarif", "ocsf", "defectdojo", "openvex", "json"]) {
    const file = (await zen(["export", "-o", format, "--rule", "CVE-2023-45853"], world)).out;
    for (const said of ["SEC-1", "the shop team"]) assertStringIncludes(file, said, format);
  }
  const sarif = JSON.parse((await zen(["export", "-o", "sarif", "--rule", "CVE-2023-45853"], world)).out);
  const isValid = await schemaOf("sarif-2.1.0", "draft-04");
  assertEquals([isValid(sarif), isValid.errors], [true, null]);
  assertEquals(
    sarif.runs[0].results[0].suppressions[0].justification,
    "accepted_risk: MiniZip is not used, SEC-1, accepted by the shop team: ObservationException shop/zlib until 2027-01-31T00:00:00Z",
  );
});

Deno.test("export -o ocsf writes one valid event a line, of the class of its finding", async () => {
  const classes = new Map(
    await Promise.all(
      [2002, 2003, 2004].map(async (uid) => [uid, await schemaOf(`ocsf-1.7.0-${uid}`)] as const),
    ),
  );
  await using world = await startWorldWithException();
  await create(world, { id: "check", source: "trivy", eventType: "misconfiguration", rule: "KSV014" });
  await create(world, { id: "key", source: "trivy", eventType: "exposed-secret", rule: "github-pat" });
  const { code, out, err } = await zen(["export", "-o", "ocsf"], world);
  assertEquals(code, 0);
  const events = out.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(events.length, KEPT.length + 3);
  for (const event of events) {
    const isValid = classes.get(event.class_uid)!;
    assertEquals([isValid(event), isValid.errors], [true, null]);
  }
  assertEquals(new Set(events.map(({ finding_info }) => finding_info.uid)).size, events.length);
  const accepted = events.find(({ status }) => status === "Suppressed");
  assertEquals([accepted.class_uid, accepted.vulnerabilities[0].cve.uid, accepted.comment], [
    2002,
    "CVE-2023-45853",
    "MiniZip is not used, SEC-1, accepted by the shop team",
  ]);
  assertEquals(accepted.vulnerabilities[0].affected_packages[0].fixed_in_version, "1:1.2.14");
  assertEquals(new Set(events.map(({ class_uid }) => class_uid)), new Set([2002, 2003, 2004]));
  const sha256 = createHash("sha256").update(out).digest("hex");
  assertStringIncludes(err, `${events.length} events, sha256 ${sha256}`);
  // The check can fail.
  assertEquals(classes.get(2002)!({ ...accepted, severity_id: 17 }), false);
});

/** The keys that the parser of "Generic Findings Import" takes out or allows; any other refuses the whole file. */
const DEFECTDOJO_KEYS = new Set(
  ("title severity description date cwe cve epss_score epss_percentile cvssv3 cvssv3_score mitigation impact " +
    "steps_to_reproduce severity_justification references active verified false_p out_of_scope risk_accepted under_review " +
    "is_mitigated thread_id mitigated numerical_severity param payload line file_path component_name component_version " +
    "static_finding dynamic_finding scanner_confidence unique_id_from_tool vuln_id_from_tool sast_source_object " +
    "sast_sink_object sast_source_line sast_source_file_path nb_occurences publish_date service planned_remediation_date " +
    "planned_remediation_version effort_for_fixing tags endpoints files vulnerability_ids").split(" "),
);

Deno.test("export -o defectdojo writes only keys that its parser allows", async () => {
  await using world = await startWorldWithException();
  const file = JSON.parse((await zen(["export", "-o", "defectdojo"], world)).out);
  assertEquals(file.findings.length, KEPT.length + 1);
  for (const finding of file.findings) {
    assertEquals(Object.keys(finding).filter((key) => !DEFECTDOJO_KEYS.has(key)), []);
    assert(
      finding.title && finding.description && /^(Critical|High|Medium|Low|Info)$/.test(finding.severity),
    );
    assert(!Number.isNaN(Date.parse(finding.date)), finding.date);
    assertEquals([finding.active, finding.risk_accepted, finding.is_mitigated].filter(Boolean).length, 1);
  }
  const accepted = file.findings.find((finding: { risk_accepted: boolean }) => finding.risk_accepted);
  assertEquals([accepted.component_name, accepted.component_version, accepted.vulnerability_ids], [
    "zlib1g",
    "1:1.2.13",
    ["CVE-2023-45853"],
  ]);
  assertStringIncludes(file.description, "zen-watcher export -o defectdojo");
});

Deno.test("export -o openvex writes accepted findings as valid OpenVEX 0.2.0", async () => {
  const isValid = await schemaOf("openvex-0.2.0");
  await using world = await startWorldWithException();
  const document = JSON.parse((await zen(["export", "-o", "openvex"], world)).out);
  assertEquals([isValid(document), isValid.errors], [true, null]);
  const [statement, ...others] = document.statements;
  assertEquals(others, []);
  assertEquals([statement.vulnerability.name, statement.status, statement.action_statement], [
    "CVE-2023-45853",
    "affected",
    "The risk is accepted until 2027-01-31T00:00:00Z: MiniZip is not used",
  ]);
  assertEquals(statement.products[0], {
    "@id": "pkg:oci/web?repository_url=registry.example%2Fshop%2Fweb&tag=1.2",
    identifiers: { purl: "pkg:oci/web?repository_url=registry.example%2Fshop%2Fweb&tag=1.2" },
    subcomponents: [{
      "@id": "pkg:deb/debian/zlib1g@1.2.13",
      identifiers: { purl: "pkg:deb/debian/zlib1g@1.2.13" },
    }],
  });
  assertEquals(isValid({ ...document, statements: [{ ...statement, status: "accepted" }] }), false);
  const none = await zen(["export", "-o", "openvex", "--source", "falco"], world);
  assertEquals([none.code, JSON.parse(none.out).statements], [0, []]);
  assertStringIncludes(none.err, "No vulnerability is accepted");
});

Deno.test("imagePurl() names an image by its repository, tag and digest", () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ["", undefined],
    ["nginx", "pkg:oci/nginx"],
    ["localhost:5000/Web", "pkg:oci/web?repository_url=localhost%3A5000%2FWeb"],
    ["r.example/a/b:1@sha256:00", "pkg:oci/b@sha256%3A00?repository_url=r.example%2Fa%2Fb&tag=1"],
  ];
  for (const [image, purl] of cases) assertEquals(imagePurl(image), purl, image);
});

Deno.test("export --coverage adds the checks made, and is refused for formats that cannot hold them", async () => {
  await using world = await startWorld();
  const csv = (await zen(["export", "-o", "csv", "--coverage"], world)).out;
  assertStringIncludes(csv, "# checked: trivy ");
  const lines = (await zen(["export", "-o", "json", "--coverage"], world)).out.trimEnd().split("\n");
  const records = lines.map((line) => JSON.parse(line).record);
  assertEquals(records.slice(-2), ["coverage", "end"]);
  assertEquals((await zen(["export", "-o", "openvex", "--coverage"], world)).code, 2);
});

Deno.test("export reads the exceptions of its namespace alone, and says where it may not read any", async () => {
  await using world = await startWorldWithException();
  using _fault = world.server.faults.add({
    path: /^\/apis\/zen\.kube-zen\.io\/v1alpha1\/observationexceptions/,
    effect: { kind: "deny" },
  });
  const accepted = ["export", "-o", "csv", "--phase", "Accepted"];
  const inShop = await zen([...accepted, "-n", "shop"], world);
  assertEquals([inShop.code, inShop.err], [0, ""]);
  assertStringIncludes(inShop.out, "MiniZip is not used");
  const everywhere = await zen(accepted, world);
  assertEquals(everywhere.code, 0);
  assertStringIncludes(everywhere.err, "you may not list observationexceptions.zen.kube-zen.io");
  assertEquals(everywhere.out.includes("MiniZip is not used"), false);
});
