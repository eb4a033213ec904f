/** The formats of `export`: each takes findings page by page and prints a file that holds the command and a digest of its records. */
import type { Hash } from "node:crypto";
import { DAY_MS } from "../../model/time.ts";
import { type Coverage, coverageDocument } from "../../read/coverage.ts";
import type { Finding } from "../../read/finding.ts";
import { escapeJson } from "../../text/clean.ts";
import { VERSION } from "../../version.ts";

/** What `export -o` takes. */
export const EXPORT_FORMATS = ["csv", "sarif", "ocsf", "defectdojo", "openvex", "json"] as const;
export type ExportFormat = typeof EXPORT_FORMATS[number];
/** Formats with a place for what was checked. */
export const FORMATS_WITH_COVERAGE: ReadonlySet<ExportFormat> = new Set(["csv", "sarif", "json"]);

/** Where an export goes, and what it says about itself. */
export interface ExportTarget {
  readonly print: (text: string) => void;
  /** What belongs beside the file. */
  readonly note: (text: string) => void;
  /** Over the records. */
  readonly digest: Hash;
  readonly command: string;
  readonly at: string;
  /** What the sources checked, where it was asked for. */
  readonly coverage?: Coverage;
}

type Pages = AsyncIterable<readonly Finding[]>;
type Writer = (pages: Pages, target: ExportTarget) => Promise<void>;

/** Writes findings in a format. */
export function writeExport(format: ExportFormat, pages: Pages, target: ExportTarget): Promise<void> {
  return WRITERS[format](pages, target);
}

const json = (value: unknown) => escapeJson(JSON.stringify(value));

const CSV_COLUMNS: readonly (readonly [title: string, cell: (finding: Finding) => string])[] = [
  ["id", (finding) => finding.fingerprint],
  ["namespace", (finding) => finding.namespace],
  ["severity", (finding) => finding.severity],
  ["source", (finding) => finding.source],
  ["category", (finding) => finding.category],
  ["event_type", (finding) => finding.eventType],
  ["rule", (finding) => finding.rule],
  ["kind", (finding) => finding.kind],
  ["resource", (finding) => finding.resource],
  ["workload", (finding) => finding.workload],
  ["image", (finding) => finding.image],
  ["phase", (finding) => finding.phase],
  ["first_seen", (finding) => finding.firstSeenAt],
  ["last_seen", (finding) => finding.lastSeenAt],
  ["resolved_at", (finding) => finding.resolvedAt],
  ["resolved_reason", (finding) => finding.resolvedReason],
  ["reopened_at", (finding) => finding.reopenedAt],
  ["days_open", daysOpenOf],
  ["occurrences", (finding) => String(finding.occurrences)],
  ["exception", (finding) => finding.exception],
  ["exception_reason", (finding) => finding.acceptedReason],
  ["exception_justification", (finding) => finding.justification],
  ["exception_ticket", (finding) => finding.ticket],
  ["exception_accepted_by", (finding) => finding.acceptedBy],
  ["accepted_since", (finding) => finding.acceptedSince],
  ["accepted_until", (finding) => finding.acceptedUntil],
  ["message", (finding) => finding.message],
  ["observation", (finding) => `${finding.storedIn}/${finding.name}`],
];

/** Lines that begin with # are about the file. */
async function writeCsv(pages: Pages, { print, digest, command, at, coverage }: ExportTarget): Promise<void> {
  const { csvComment, csvRecord } = await import("../output/csv.ts");
  const record = (cells: readonly string[]) => {
    const text = csvRecord(cells);
    digest.update(text);
    return text;
  };
  let count = 0;
  let head = `# ${command}\n# exported at ${at}\n${record(CSV_COLUMNS.map(([title]) => title))}`;
  for await (const findings of pages) {
    count += findings.length;
    print(head + findings.map((finding) => record(CSV_COLUMNS.map(([, cell]) => cell(finding)))).join(""));
    head = "";
  }
  print(`${head}# ${count} records, sha256 ${digest.digest("hex")}\n`);
  if (coverage) print(coverageLines(coverage).map(csvComment).join(""));
}

/** What was checked, one line for each resource, benchmark and policy. */
function coverageLines({ reports, benchmarks, policies, uncovered, missing }: Coverage): string[] {
  const checks = (counts: object) =>
    Object.entries(counts).map(([verdict, count]) => `${verdict} ${count}`).join(", ");
  return [
    ...reports.map((report) =>
      `checked: ${report.source} ${report.resource}: ` +
      (report.state === "read"
        ? `${report.reports} reports, newest ${report.newest || "none"}, ${checks(report.checks)}`
        : report.state)
    ),
    ...[...benchmarks].map(([name, counts]) => `checked: benchmark ${name}: ${checks(counts)}`),
    ...[...policies].map(([name, counts]) => `checked: ${name}: ${checks(counts)}`),
    ...(uncovered
      ? [`no report is about ${uncovered.length} workloads`, ...uncovered.map((name) => `unchecked: ${name}`)]
      : []),
    ...missing.map((right) => `left out: no right to ${right}`),
  ];
}

/** How long a finding was open, for those that are Resolved. */
function daysOpenOf({ firstSeenAt, resolvedAt }: Finding): string {
  const days = (Date.parse(resolvedAt) - Date.parse(firstSeenAt)) / DAY_MS;
  return Number.isFinite(days) ? Math.max(0, days).toFixed(2) : "";
}

async function writeJson(
  pages: Pages,
  { print, digest, command, at, coverage }: ExportTarget,
): Promise<void> {
  const line = (value: object) => `${json(value)}\n`;
  let count = 0;
  let head = line({ record: "export", command, at });
  for await (const findings of pages) {
    count += findings.length;
    const text = findings.map((finding) => line({ record: "finding", ...finding })).join("");
    digest.update(text);
    print(head + text);
    head = "";
  }
  if (coverage) {
    head += line({ record: "coverage", ...coverageDocument(coverage) });
  }
  print(head + line({ record: "end", count, sha256: digest.digest("hex") }));
}

/** A run needs all its rules, so that what a result shows is held. */
async function writeSarif(
  pages: Pages,
  { print, digest, command, at, coverage }: ExportTarget,
): Promise<void> {
  const { SARIF_SCHEMA, sarifResult, sarifRow, sarifRules } = await import("../output/sarif.ts");
  const bySource = new Map<string, ReturnType<typeof sarifRow>[]>();
  for await (const findings of pages) {
    for (const finding of findings) {
      const rows = bySource.get(finding.source);
      if (rows) rows.push(sarifRow(finding));
      else bySource.set(finding.source, [sarifRow(finding)]);
    }
  }
  print(`{"$schema": ${json(SARIF_SCHEMA)}, "version": "2.1.0", "runs": [`);
  let separator = "\n";
  for (const [source, rows] of [...bySource].sort(([one], [other]) => one < other ? -1 : 1)) {
    const rules = sarifRules(rows);
    const ruleIndex = new Map(rules.map(({ id }, index) => [id, index]));
    const driver = {
      name: source,
      informationUri: "https://github.com/kube-zen/zen-watcher",
      semanticVersion: VERSION,
      rules,
    };
    print(`${separator}{"tool": ${json({ driver })},\n`);
    print(
      `"invocations": ${
        json([{ commandLine: command, executionSuccessful: true, endTimeUtc: at }])
      },\n"results": [`,
    );
    separator = ",\n";
    for (const [index, row] of rows.entries()) {
      const text = json(sarifResult(row, { ruleIndex }));
      digest.update(text);
      print(`${index === 0 ? "\n" : ",\n"}${text}`);
    }
    print("\n]}");
  }
  const checked = coverage && { coverage: coverageDocument(coverage) };
  print(`\n], "properties": ${json({ sha256: digest.digest("hex"), ...checked })}}\n`);
}

/** One event a line. An event is all that a line may hold, so that the digest goes beside the file. */
async function writeOcsf(pages: Pages, { print, note, digest, command }: ExportTarget): Promise<void> {
  const { ocsfEvent } = await import("../output/ocsf.ts");
  let count = 0;
  for await (const findings of pages) {
    const text = findings.map((finding) => `${json(ocsfEvent(finding, { command }))}\n`).join("");
    count += findings.length;
    digest.update(text);
    print(text);
  }
  note(`${count} events, sha256 ${digest.digest("hex")}\n`);
}

async function writeDefectDojo(pages: Pages, target: ExportTarget): Promise<void> {
  const { print, digest, command, at } = target;
  const { defectDojoFinding } = await import("../output/defectdojo.ts");
  print(`{"name": "zen-watcher", "type": "zen-watcher", "version": ${json(VERSION)}, "findings": [`);
  const count = await writeElements(pages, { ...target, element: defectDojoFinding });
  const about = `${command}; exported at ${at}; ${count} findings, sha256 ${digest.digest("hex")}`;
  print(`\n], "description": ${json(about)}}\n`);
}

async function writeOpenVex(pages: Pages, target: ExportTarget): Promise<void> {
  const { print, note, digest, command, at } = target;
  const { OPENVEX_CONTEXT, openVexStatement } = await import("../output/openvex.ts");
  print(
    `{"@context": ${json(OPENVEX_CONTEXT)}, "author": "zen-watcher", "timestamp": ${
      json(at)
    }, "version": 1, "statements": [`,
  );
  const count = await writeElements(pages, { ...target, element: openVexStatement });
  const sha256 = digest.digest("hex");
  const about = `zen-watcher ${VERSION}: ${command}; ${count} statements, sha256 ${sha256}`;
  print(`\n], "@id": ${json(`urn:zen-watcher:openvex:${sha256}`)}, "tooling": ${json(about)}}\n`);
  if (count === 0) {
    note(
      "No vulnerability is accepted: the document has no statement, and readers of OpenVEX may refuse it\n",
    );
  }
}

interface ElementsOptions extends ExportTarget {
  /** Undefined leaves a finding out. */
  readonly element: (finding: Finding) => object | undefined;
}

/** The elements of a JSON array, and how many. */
async function writeElements(pages: Pages, { print, digest, element }: ElementsOptions): Promise<number> {
  let count = 0;
  for await (const findings of pages) {
    for (const finding of findings) {
      const value = element(finding);
      if (value === undefined) continue;
      const text = json(value);
      digest.update(text);
      print(`${count++ === 0 ? "\n" : ",\n"}${text}`);
    }
  }
  return count;
}

const WRITERS: Readonly<Record<ExportFormat, Writer>> = {
  csv: writeCsv,
  sarif: writeSarif,
  ocsf: writeOcsf,
  defectdojo: writeDefectDojo,
  openvex: writeOpenVex,
  json: writeJson,
};
