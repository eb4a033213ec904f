/** `top`: what is worst, by workload, rule, image, namespace or source. */
import { Argument, type Command } from "commander";
import { SEVERITIES } from "../../model/observation.ts";
import { readObservations } from "../../read/observations.ts";
import { toRow } from "../../read/row.ts";
import { activeOf, type Group, type Grouping, GROUPINGS, Top } from "../../read/top.ts";
import { addCommand, type CommandContext, outputFlag, usage } from "../command.ts";
import { DOCUMENT_FORMATS, type DocumentFormat, printAnswer } from "../output/document.ts";
import { createTable } from "../output/table.ts";
import { ageOf, openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface TopFlags extends ReaderFlags {
  readonly since: string;
  readonly limit: string;
  readonly output?: DocumentFormat;
}

/** Adds the command `top`. */
export function top(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "top",
    summary: "show what is worst: by workload, rule, image, namespace or source",
    description:
      "Counts Active Observations by severity, worst first, with the sources that report them, how many are new and " +
      "how many were resolved lately.",
    examples: [
      ["top", "the worst workloads"],
      ["top rules -n shop", "the worst rules in a namespace"],
      ["top images --severity HIGH+ --since 7d", "images by their HIGH and CRITICAL findings"],
    ],
  });
  outputFlag(readerFlags(command), DOCUMENT_FORMATS)
    .addArgument(new Argument("[grouping]", "what to count by").choices(GROUPINGS).default("workloads"))
    .option("--since <time>", "what counts as new and resolved: 24h, 7d, 2026-11-01, or RFC 3339", "24h")
    .option("--limit <count>", "lines at most; 0 for all", "20")
    .action(async (by: Grouping, flags: TopFlags) => {
      const now = context.io.now();
      if (!/^\d{1,6}$/.test(flags.limit)) {
        throw usage("top", `expected --limit to be a count, received "${flags.limit}"`);
      }
      const sinceMs = timeOf(flags.since, { flag: "--since", now });
      using reader = await openReader(flags, context);
      const counted = new Top(by, { sinceMs });
      for await (const page of readObservations(reader.api, reader.selection, reader.reading)) {
        for (const each of page) counted.add(toRow(each, reader));
      }
      const groups = counted.groups();
      const shown = groups.slice(0, Number(flags.limit) || undefined);
      if (flags.output) {
        await printAnswer({
          document: { by, since: new Date(sinceMs).toISOString(), groups: shown },
          columns: ["name", ...SEVERITIES, "active", "tools", "new", "resolved", "oldest"],
          records: shown.map(({ counts, ...group }) => {
            return { ...group, ...counts, active: activeOf({ counts }), tools: group.tools.join(" ") };
          }),
        }, { format: flags.output, print: context.io.stdout });
      } else printGroups(shown, { by, now, reader });
      if (groups.length === 0) context.io.stderr("No Observation is found.\n");
      if (shown.length < groups.length && flags.output === undefined) {
        context.io.stderr(`${groups.length - shown.length} more ${by} are left out: --limit 0 shows all\n`);
      }
      await context.finish(0);
    });
}

interface GroupsOptions {
  readonly by: Grouping;
  readonly now: number;
  readonly reader: Reader;
}

function printGroups(groups: readonly Group[], { by, now, reader }: GroupsOptions): void {
  const title = by.slice(0, -1).toUpperCase();
  const isBySource = by === "sources";
  const titles = [title, ...SEVERITIES, "ACTIVE", ...(isBySource ? [] : ["SOURCES"])];
  const table = createTable([...titles, "NEW", "RESOLVED", "OLDEST"], reader.table);
  for (const group of groups) {
    table.add([
      group.name,
      ...SEVERITIES.map((severity) => String(group.counts[severity])),
      String(activeOf(group)),
      ...(isBySource ? [] : [group.tools.join(",")]),
      String(group.new),
      String(group.resolved),
      ageOf(group.oldest, now),
    ]);
  }
  table.flush();
}
