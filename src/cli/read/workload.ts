/** `workload`: all that all tools say of one workload, in order of time. */
import type { Command } from "commander";
import { workloadOf } from "../../model/identity.ts";
import { SEVERITIES } from "../../model/observation.ts";
import { readObservations } from "../../read/observations.ts";
import { type ObservationRow, resourceNameOf, ROW_FIELDS, toRow } from "../../read/row.ts";
import { resolvedText } from "../../read/diff.ts";
import { storyOf } from "../../read/story.ts";
import { addCommand, type CommandContext, outputFlag } from "../command.ts";
import { DOCUMENT_FORMATS, type DocumentFormat, printAnswer } from "../output/document.ts";
import { createTable } from "../output/table.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface WorkloadFlags extends ReaderFlags {
  readonly since?: string;
  readonly output?: DocumentFormat;
}

/** Adds the command `workload`. */
export function workload(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "workload <workload>",
    summary: "tell the story of a workload over all tools, in order of time",
    description:
      "Shows what all tools found on a workload and its Pods, and what was reopened, accepted and resolved, in order of time.",
    examples: [
      ["workload web -n shop", "everything about it"],
      ["workload web -n shop --severity HIGH+ --since 7d", "the worst of a week"],
    ],
  });
  outputFlag(readerFlags(command), DOCUMENT_FORMATS)
    .option("--since <time>", "what happened since: 24h, 7d, 2026-11-01, or RFC 3339")
    .action(async (name: string, flags: WorkloadFlags) => {
      const sinceMs = flags.since === undefined
        ? -Infinity
        : timeOf(flags.since, { flag: "--since", now: context.io.now() });
      using reader = await openReader(flags, context);
      const rows = await rowsOf(name, reader);
      const story = storyOf(rows).filter(({ at }) => Date.parse(at) >= sinceMs);
      if (flags.output) {
        await printAnswer({
          document: { workload: name, story },
          columns: ["at", "what", ...ROW_FIELDS],
          records: story.map(({ at, what, row }) => ({ at, what, ...row })),
        }, { format: flags.output, print: context.io.stdout });
        return await context.finish(0);
      }
      if (rows.length === 0) {
        context.io.stderr(`No Observation is about a workload "${name}".\n`);
        return await context.finish(0);
      }
      context.io.stdout(`${summaryOf(name, rows)}\n`);
      const titles = ["TIME", "NAMESPACE", "WHAT", "SEVERITY", "SOURCE", "RULE", "RESOURCE", "MESSAGE"];
      const table = createTable(titles, reader.table);
      for (const { at, what, row } of story) {
        const { namespace, severity, source, rule, eventType, message } = row;
        const time = `${at.slice(0, 10)} ${at.slice(11, 19)}`;
        const happened = what === "resolved" ? resolvedText(row) : what;
        table.add([
          time,
          namespace,
          happened,
          severity,
          source,
          rule || eventType,
          resourceNameOf(row),
          message,
        ]);
      }
      table.flush();
      await context.finish(0);
    });
}

/** The Observations of a workload; where no workload has the name, those of the Pod of that name. */
async function rowsOf(name: string, reader: Reader): Promise<readonly ObservationRow[]> {
  const pod = { kind: "Pod", name };
  for (const workload of new Set([name, workloadOf(pod) ?? name])) {
    const rows: ObservationRow[] = [];
    const selection = { ...reader.selection, workload };
    for await (const page of readObservations(reader.api, selection, reader.reading)) {
      for (const each of page) {
        const row = toRow(each, reader);
        if (workload === name || (row.kind === pod.kind && row.resource === name)) rows.push(row);
      }
    }
    if (rows.length > 0) return rows;
  }
  return [];
}

/** `web in shop: 2 CRITICAL and 1 HIGH are Active, 3 are Resolved, reported by falco and trivy`. */
function summaryOf(name: string, rows: readonly ObservationRow[]): string {
  const active = rows.filter(({ phase }) => phase === "Active");
  const counts = SEVERITIES.flatMap((severity) => {
    const count = active.filter((row) => row.severity === severity).length;
    return count === 0 ? [] : [`${count} ${severity}`];
  });
  const namespaces = [...new Set(rows.map(({ namespace }) => namespace))].sort().join(", ");
  const sources = [...new Set(rows.map(({ source }) => source))].sort().join(", ");
  const accepted = rows.filter(({ phase }) => phase === "Accepted").length;
  const others = [
    ...(accepted > 0 ? [`${accepted} Accepted`] : []),
    `${rows.length - active.length - accepted} Resolved`,
  ];
  return `${name} in ${namespaces}: ${counts.join(", ") || "nothing"} Active, ${
    others.join(", ")
  }; reported by ${sources}`;
}
