/** `export`: findings with their dates, in a form that other tools and auditors read. */
import { type Command, Option } from "commander";
import { type Phase, PHASES } from "../../model/observation.ts";
import { type KubeObject, namespacedName } from "../../kube/api.ts";
import { readCoverage } from "../../read/coverage.ts";
import { EXCEPTIONS_UNREADABLE, listExceptions } from "../../read/exceptions.ts";
import { type Finding, toFinding } from "../../read/finding.ts";
import { readObservations } from "../../read/observations.ts";
import type { Selection } from "../../read/selection.ts";
import { parseTime } from "../../model/time.ts";
import { clean } from "../../text/clean.ts";
import { addCommand, type CommandContext, usage } from "../command.ts";
import { plural } from "../output/problems.ts";
import { EXPORT_FORMATS, type ExportFormat, FORMATS_WITH_COVERAGE, writeExport } from "./export_formats.ts";
import { openExportFile } from "./export_file.ts";
import { openReader, progressOf, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface ExportFlags extends ReaderFlags {
  readonly output?: ExportFormat;
  readonly rule?: string;
  readonly workload?: string;
  readonly phase?: Phase;
  readonly since?: string;
  readonly until?: string;
  readonly openAt?: string;
  readonly coverage?: boolean;
  readonly folder?: string;
  readonly keep?: string;
}

/** Adds the command `export`. */
export function exportFindings(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "export",
    summary: "export findings with their dates: CSV, SARIF, OCSF, DefectDojo, OpenVEX or JSON lines",
    description:
      "Exports Observations, those that are Accepted and Resolved too, each with a stable id, its rule, resource, dates " +
      "and exception. The file holds the command, and a SHA-256 over its records.",
    examples: [
      ["export -o csv >findings.csv", "everything, for a spreadsheet"],
      ["export -o csv --open-at 2026-11-01 --severity CRITICAL", "what was CRITICAL and open on a day"],
      ["export -o csv --coverage >audit.csv", "with what was checked, and what was not"],
      [
        "export -o sarif -n shop --phase Active >shop.sarif",
        "what is Active in a namespace, for code scanning",
      ],
      ["export -o openvex >accepted.vex.json", "what is accepted, for scanners"],
      ["export -o csv -A --folder history --keep 400", "a file a day, of which 400 stay"],
      ["export -o json --since 24h", "what is new since yesterday, one JSON object a line"],
    ],
    more:
      "Exceptions are read for their reasons where findings are Accepted; without the right to list them the reasons " +
      "are left out. OCSF has no line for the digest: it is printed on stderr.\n",
  });
  readerFlags(command)
    .addOption(new Option("-o, --output <format>", "format of the export").choices(EXPORT_FORMATS))
    .option("--rule <rule>", "the source's id of what was found")
    .option("--workload <workload>", "the workload it was found on")
    .addOption(new Option("--phase <phase>", "in this phase alone").choices(PHASES))
    .option("--since <time>", "first seen since: 24h, 7d, 2026-11-01, or RFC 3339")
    .option("--until <time>", "first seen before")
    .option("--open-at <time>", "open at this time: first seen by then and not resolved yet")
    .option("--coverage", "add what the sources checked (csv, sarif, json)")
    .option("--folder <folder>", "write to a file of this folder, named by the day, in place of stdout")
    .option("--keep <files>", "with --folder: delete the oldest files, so that this many stay")
    .action(async (flags: ExportFlags) => {
      const { output } = flags;
      if (output === undefined) throw usage("export", `expected -o ${EXPORT_FORMATS.join("|")}`);
      if (flags.coverage && !FORMATS_WITH_COVERAGE.has(output)) {
        throw usage(
          "export",
          `expected --coverage with -o ${[...FORMATS_WITH_COVERAGE].join("|")}, received ${output}`,
        );
      }
      const keep = keepOf(flags);
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
        phase: flags.phase,
      };
      const { createHash } = await import("node:crypto");
      const at = new Date(now).toISOString();
      using file = flags.folder === undefined
        ? undefined
        : openExportFile(flags.folder, { at, format: output, keep });
      await writeExport(output, findingsOf(reader, selection), {
        print: file?.print ?? context.io.stdout,
        note: context.io.stderr,
        digest: createHash("sha256"),
        command: commandLineOf(context.args),
        at,
        ...(flags.coverage && {
          coverage: await readCoverage(reader.api, {
            namespace: selection.namespace,
            settings: context.settings(),
            onPage: progressOf(context.io, "reports and workloads"),
          }),
        }),
      });
      await file?.complete();
      if (file) context.io.stderr(`Wrote ${file.path}\n`);
      await context.finish(0);
    });
}

function keepOf({ folder, keep }: ExportFlags): number | undefined {
  if (keep === undefined) return undefined;
  if (folder === undefined) throw usage("export", "expected --folder with --keep");
  const count = Number(keep);
  if (!Number.isInteger(count) || count < 1) {
    throw usage("export", `expected a number of files from 1 on with --keep, received ${keep}`);
  }
  return count;
}

/** Exceptions are read when the first finding that one covers comes. */
async function* findingsOf(reader: Reader, selection: Selection): AsyncGenerator<Finding[]> {
  const { api, reading, now } = reader;
  const { openAtMs = Infinity } = selection;
  let reopened = 0;
  let exceptions: ReadonlyMap<string, KubeObject> | undefined;
  for await (const page of readObservations(api, selection, reading)) {
    if (page.some(({ status }) => status?.exception)) exceptions ??= await exceptionsOf(reader);
    const findings = page.map((each) => toFinding(each, { now, exceptions: exceptions ?? new Map() }));
    reopened += findings.filter(({ reopenedAt }) => (parseTime(reopenedAt)?.ms ?? 0) > openAtMs).length;
    yield findings;
  }
  // Only the last end is stored.
  if (reopened > 0) {
    reading.onNote?.(
      `${
        plural(reopened, "finding")
      } may have been Resolved at that time: reported again later (reopened_at), and when it ` +
        "had ended before is not stored",
    );
  }
}

async function exceptionsOf({ api, selection, reading }: Reader): Promise<ReadonlyMap<string, KubeObject>> {
  const listed = await listExceptions(api, selection);
  if (!listed) reading.onNote?.(EXCEPTIONS_UNREADABLE);
  return new Map(listed?.map((exception) => [namespacedName(exception), exception]));
}

/** The command as a shell takes it, on one line. */
function commandLineOf(args: readonly string[]): string {
  const words = args.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  );
  return clean(["zen-watcher", ...words].join(" "), 4096);
}
