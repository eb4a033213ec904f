/** `diff`: what is new and what was resolved. */
import type { Command } from "commander";
import { byWorst, changesOf, countsOf } from "../../read/diff.ts";
import { readObservations } from "../../read/observations.ts";
import { resourceNameOf, type Row, toRow } from "../../read/row.ts";
import { addCommand, type CommandContext, outputFlag, usage } from "../command.ts";
import { createTable } from "../output/table.ts";
import { openReader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface DiffFlags extends ReaderFlags {
  readonly since?: string;
  readonly from?: string;
  readonly to?: string;
  readonly output?: "json";
}

/** `diff`. */
export function diff(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "diff",
    summary: "show what is new and what was resolved since a time",
    description:
      "Shows the Observations that were first seen in a span of time and those that were resolved in it, worst first.",
    examples: [
      ["diff", "since yesterday"],
      ["diff --since 7d -n shop --severity HIGH+", "the worst of a week in a namespace"],
      ["diff --from 2026-11-01 --to 2026-12-01", "a month"],
    ],
    more: "Observations that expired are deleted and are not shown: export them while they are there.\n",
  });
  outputFlag(readerFlags(command), ["json"])
    .option("--since <time>", "begin of the span: 24h, 7d, 2026-11-01, or RFC 3339 (default: 24h)")
    .option("--from <time>", "the same")
    .option("--to <time>", "end of the span (default: now)")
    .action(async (flags: DiffFlags) => {
      if (flags.since !== undefined && flags.from !== undefined) {
        throw usage("diff", "--since and --from mean the same: expected one of them");
      }
      const now = context.io.now();
      const from = flags.since ?? flags.from ?? "24h";
      const span = {
        fromMs: timeOf(from, { flag: flags.from === undefined ? "--since" : "--from", now }),
        toMs: flags.to === undefined ? now + 1 : timeOf(flags.to, { flag: "--to", now }),
      };
      if (span.fromMs >= span.toMs) throw usage("diff", "the span ends before it begins");
      using reader = await openReader(flags, context);
      const found: Row[] = [];
      const resolved: Row[] = [];
      for await (const page of readObservations(reader.api, reader.selection, reader.reading)) {
        for (const each of page) {
          const row = toRow(each);
          const { isNew, isResolved } = changesOf(row, span);
          if (isNew) found.push(row);
          if (isResolved) resolved.push(row);
        }
      }
      found.sort(byWorst);
      resolved.sort(byWorst);
      const [begin, end] = [span.fromMs, Math.min(span.toMs, now)].map((ms) => new Date(ms).toISOString());
      if (flags.output === "json") {
        const { render } = await import("../output/structured.ts");
        context.io.stdout(render({ from: begin, to: end, new: found, resolved }, "json"));
        return await context.finish(0);
      }
      context.io.stdout(`${begin} to ${end}: ${countsOf(found)} new, ${countsOf(resolved)} resolved\n`);
      const table = createTable(
        ["CHANGE", "TIME", "NAMESPACE", "SEVERITY", "RULE", "RESOURCE", "SOURCE", "MESSAGE"],
        reader.table,
      );
      const add = (change: string, at: string, row: Row) =>
        table.add([
          change,
          `${at.slice(0, 10)} ${at.slice(11, 19)}`,
          row.namespace,
          row.severity,
          row.rule || row.eventType,
          resourceNameOf(row),
          row.source,
          row.message,
        ]);
      for (const row of found) add("new", row.firstSeenAt, row);
      for (const row of resolved) add("resolved", row.resolvedAt, row);
      table.flush();
      await context.finish(0);
    });
}
