/** `export`: findings with their dates, in a form that other tools and auditors read. */
import { type Command, Option } from "commander";
import type { Hash } from "node:crypto";
import { readObservations } from "../../read/observations.ts";
import { type ObservationRow, toRow } from "../../read/row.ts";
import type { Selection } from "../../read/selection.ts";
import { clean, escapeJson } from "../../text/clean.ts";
import { VERSION } from "../../version.ts";
import { addCommand, type CommandContext, usage } from "../command.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

const EXPORT_FORMATS = ["csv", "sarif", "json"] as const;
type ExportFormat = typeof EXPORT_FORMATS[number];

interface ExportFlags extends ReaderFlags {
  readonly output?: ExportFormat;
  readonly rule?: string;
  readonly workload?: string;
  readonly active?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly openAt?: string;
}

/** `export`. */
export function exportFindings(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "export",
    summary: "export findings with their dates: CSV, SARIF or JSON lines",
    description:
      "Exports Observations, those that are Resolved too, each with a stable id, its rule, resource and dates. " +
      "The file holds the command, and a SHA-256 over its records.",
    examples: [
      ["export -o csv >findings.csv", "everything, for a spreadsheet"],
      ["export -o csv --open-at 2026-11-01 --severity CRITICAL", "what was CRITICAL and open on a day"],
      ["export -o sarif -n shop --active >shop.sarif", "what is Active in a namespace, for code scanning"],
      ["export -o json --since 24h", "what is new since yesterday, one JSON object a line"],
    ],
  });
  readerFlags(command)
    .addOption(new Option("-o, --output <format>", "format of the export").choices(EXPORT_FORMATS))
    .option("--rule <rule>", "the source's id of what was found")
    .option("--workload <workload>", "the workload it was found on")
    .option("--active", "Active ones alone")
    .option("--since <time>", "first seen since: 24h, 7d, 2026-11-01, or RFC 3339")
    .option("--until <time>", "first seen before")
    .option("--open-at <time>", "open at this time: first seen by then and not resolved yet")
    .action(async (flags: ExportFlags) => {
      const { output } = flags;
      if (output === undefined) throw usage("export", `expected -o ${EXPORT_FORMATS.join("|")}`);
      const now = context.io.now();
      const time = (text: string | undefined, flag: string) =>
        text === undefined ? undefined : timeOf(text, { flag, now });
      const times = {
        sinceMs: time(flags.since, "--since"),
        untilMs: time(flags.until, "--until"),
        openAtMs: time(flags.openAt, "--open-at"),
      };
      using reader = await openReader(flags, context);
      const selection: Selection = {
        ...reader.selection,
        ...times,
        rule: flags.rule,
        workload: flags.workload,
        activeOnly: flags.active === true,
      };
      const { createHash } = await import("node:crypto");
      const target: Target = {
        print: context.io.stdout,
        digest: createHash("sha256"),
        command: commandLineOf(context.args),
        at: new Date(now).toISOString(),
      };
      await WRITERS[output](rowsOf(reader, selection), target);
      await context.finish(0);
    });
}

async function* rowsOf(reader: Reader, selection: Selection): AsyncGenerator<ObservationRow[]> {
  const { api, reading } = reader;
  for await (const page of readObservations(api, selection, reading)) {
    yield page.map((each) => toRow(each, reader));
  }
}

interface Target {
  readonly print: (text: string) => void;
  /** Over the records. */
  readonly digest: Hash;
  readonly command: string;
  readonly at: string;
}

type Writer = (pages: AsyncIterable<ObservationRow[]>, target: Target) => Promise<void>;

const CSV_COLUMNS: readonly (readonly [title: string, cell: (row: ObservationRow) => string])[] = [
  ["id", (row) => row.fingerprint],
  ["namespace", (row) => row.namespace],
  ["severity", (row) => row.severity],
  ["source", (row) => row.source],
  ["category", (row) => row.category],
  ["event_type", (row) => row.eventType],
  ["rule", (row) => row.rule],
  ["kind", (row) => row.kind],
  ["resource", (row) => row.resource],
  ["workload", (row) => row.workload],
  ["image", (row) => row.image],
  ["phase", (row) => row.phase],
  ["first_seen", (row) => row.firstSeenAt],
  ["last_seen", (row) => row.lastSeenAt],
  ["resolved_at", (row) => row.resolvedAt],
  ["exception", (row) => row.exception],
  ["accepted_since", (row) => row.acceptedSince],
  ["accepted_until", (row) => row.acceptedUntil],
  ["days_open", daysOpenOf],
  ["occurrences", (row) => String(row.occurrences)],
  ["message", (row) => row.message],
  ["observation", (row) => `${row.storedIn}/${row.name}`],
];

/** Lines that begin with # are about the file. */
async function writeCsv(
  pages: AsyncIterable<ObservationRow[]>,
  { print, digest, command, at }: Target,
): Promise<void> {
  const { csvRecord } = await import("../output/csv.ts");
  const record = (cells: readonly string[]) => {
    const text = csvRecord(cells);
    digest.update(text);
    return text;
  };
  let count = 0;
  let isBegun = false;
  const begin = () => {
    if (isBegun) return;
    isBegun = true;
    print(`# ${command}\n# exported at ${at}\n${record(CSV_COLUMNS.map(([title]) => title))}`);
  };
  for await (const rows of pages) {
    begin();
    count += rows.length;
    print(rows.map((row) => record(CSV_COLUMNS.map(([, cell]) => cell(row)))).join(""));
  }
  begin();
  print(`# ${count} records, sha256 ${digest.digest("hex")}\n`);
}

/** How long a finding was open, for those that are Resolved. */
function daysOpenOf({ firstSeenAt, resolvedAt }: ObservationRow): string {
  const days = (Date.parse(resolvedAt) - Date.parse(firstSeenAt)) / 86_400_000;
  return Number.isFinite(days) ? Math.max(0, days).toFixed(2) : "";
}

async function writeJson(
  pages: AsyncIterable<ObservationRow[]>,
  { print, digest, command, at }: Target,
): Promise<void> {
  const line = (value: object) => `${escapeJson(JSON.stringify(value))}\n`;
  let count = 0;
  let head = line({ record: "export", command, at });
  for await (const rows of pages) {
    count += rows.length;
    const text = rows.map((row) => line({ record: "finding", ...row })).join("");
    digest.update(text);
    print(head + text);
    head = "";
  }
  print(head + line({ record: "end", count, sha256: digest.digest("hex") }));
}

/** A run needs all its rules, so that the rows are held: without details they are small. */
async function writeSarif(
  pages: AsyncIterable<ObservationRow[]>,
  { print, digest, command, at }: Target,
): Promise<void> {
  const { SARIF_SCHEMA, sarifResult, sarifRules } = await import("../output/sarif.ts");
  const bySource = new Map<string, ObservationRow[]>();
  for await (const rows of pages) {
    for (const row of rows) {
      const known = bySource.get(row.source);
      if (known) known.push(row);
      else bySource.set(row.source, [row]);
    }
  }
  const json = (value: unknown) => escapeJson(JSON.stringify(value));
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
  print(`\n], "properties": ${json({ sha256: digest.digest("hex") })}}\n`);
}

const WRITERS: Readonly<Record<ExportFormat, Writer>> = { csv: writeCsv, json: writeJson, sarif: writeSarif };

/** The command as a shell takes it, on one line. */
function commandLineOf(args: readonly string[]): string {
  const words = args.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  );
  return clean(["zen-watcher", ...words].join(" "), 4096);
}
