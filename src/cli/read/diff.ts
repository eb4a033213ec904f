/** `diff`: what is new and what was resolved. */
import type { Command } from "commander";
import { at, type Json } from "../../model/json.ts";
import { byWorst, changesOf, countsOf, isIn, type Span } from "../../read/diff.ts";
import { EXCEPTIONS_UNREADABLE, listExceptions } from "../../read/exceptions.ts";
import { readObservations } from "../../read/observations.ts";
import { type ObservationRow, resourceNameOf, toRow } from "../../read/row.ts";
import { addCommand, type CommandContext, outputFlag, usage } from "../command.ts";
import { plural } from "../output/problems.ts";
import { createTable } from "../output/table.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface DiffFlags extends ReaderFlags {
  readonly since?: string;
  readonly from?: string;
  readonly to?: string;
  readonly output?: "json";
}

/** Adds the command `diff`. */
export function diff(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "diff",
    summary: "show what is new, accepted and resolved since a time",
    description:
      "Shows the Observations that were first seen in a span of time, those that were accepted and those that were resolved " +
      "in it, worst first, and the ObservationExceptions that expired in it.",
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
      const found: ObservationRow[] = [];
      const accepted: ObservationRow[] = [];
      const resolved: ObservationRow[] = [];
      for await (const page of readObservations(reader.api, reader.selection, reader.reading)) {
        for (const each of page) {
          const row = toRow(each, reader);
          const { isNew, isAccepted, isResolved } = changesOf(row, span);
          if (isNew) found.push(row);
          if (isAccepted) accepted.push(row);
          if (isResolved) resolved.push(row);
        }
      }
      const expired = await expiredIn(reader, { ...span, toMs: Math.min(span.toMs, now + 1) });
      if (!expired) context.io.stderr(`${EXCEPTIONS_UNREADABLE}\n`);
      found.sort(byWorst);
      accepted.sort(byWorst);
      resolved.sort(byWorst);
      const [begin, end] = [span.fromMs, Math.min(span.toMs, now)].map((ms) => new Date(ms).toISOString());
      if (flags.output === "json") {
        const { render } = await import("../output/structured.ts");
        context.io.stdout(
          render({ from: begin, to: end, new: found, accepted, resolved, expired: expired ?? [] }, "json"),
        );
        return await context.finish(0);
      }
      const counts = [
        `${countsOf(found)} new`,
        `${countsOf(resolved)} resolved`,
        ...(accepted.length > 0 ? [`${countsOf(accepted)} accepted`] : []),
        ...(expired && expired.length > 0 ? [`${plural(expired.length, "exception")} expired`] : []),
      ];
      context.io.stdout(`${begin} to ${end}: ${counts.join(", ")}\n`);
      const table = createTable(
        ["CHANGE", "TIME", "NAMESPACE", "SEVERITY", "RULE", "RESOURCE", "SOURCE", "MESSAGE"],
        reader.table,
      );
      const add = (change: string, at: string, row: ObservationRow) =>
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
      for (const row of accepted) add("accepted", row.acceptedSince, row);
      for (const row of resolved) add("resolved", row.resolvedAt, row);
      for (const { namespace, name, expiresAt, justification } of expired ?? []) {
        const time = `${expiresAt.slice(0, 10)} ${expiresAt.slice(11, 19)}`;
        table.add(["expired", time, namespace, "", "", `ObservationException/${name}`, "", justification]);
      }
      table.flush();
      await context.finish(0);
    });
}

/** An exception that expired. */
interface Expired {
  readonly namespace: string;
  readonly name: string;
  readonly expiresAt: string;
  readonly reason: string;
  readonly justification: string;
}

/** The exceptions that expired in the span; undefined where the user may not list them. */
async function expiredIn({ api, selection }: Reader, span: Span): Promise<readonly Expired[] | undefined> {
  const exceptions = await listExceptions(api, selection);
  return exceptions?.map(({ metadata, spec }): Expired => {
    const text = (key: string) => String(at(spec as Json | undefined, key) ?? "");
    const { namespace = "", name = "" } = metadata;
    return {
      namespace,
      name,
      expiresAt: text("expiresAt"),
      reason: text("reason"),
      justification: text("justification"),
    };
  }).filter(({ expiresAt }) => isIn(expiresAt, span));
}
