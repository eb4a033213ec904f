/** `diff`: what is new, reopened, accepted and resolved. */
import type { Command } from "commander";
import { at, type Json } from "../../model/json.ts";
import { byWorst, changesOf, countsOf, isIn, resolvedText, type Span } from "../../read/diff.ts";
import { EXCEPTIONS_UNREADABLE, listExceptions } from "../../read/exceptions.ts";
import { readObservations } from "../../read/observations.ts";
import { type ObservationRow, resourceNameOf, ROW_FIELDS, toRow } from "../../read/row.ts";
import { addCommand, type CommandContext, outputFlag, usage } from "../command.ts";
import { DOCUMENT_FORMATS, type DocumentFormat, printAnswer } from "../output/document.ts";
import { plural } from "../output/problems.ts";
import { createTable } from "../output/table.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface DiffFlags extends ReaderFlags {
  readonly since?: string;
  readonly from?: string;
  readonly to?: string;
  readonly output?: DocumentFormat;
}

/** Adds the command `diff`. */
export function diff(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "diff",
    summary: "show what is new, reopened, accepted and resolved since a time",
    description:
      "Shows the Observations that were first seen in a span of time, those that were reported again after they were " +
      "resolved, accepted and resolved in it, worst first, and the ObservationExceptions that expired in it.",
    examples: [
      ["diff", "since yesterday"],
      ["diff --since 7d -n shop --severity HIGH+", "the worst of a week in a namespace"],
      ["diff --from 2026-11-01 --to 2026-12-01", "a month"],
    ],
    more: "Observations that expired are deleted and are not shown: export them while they are there.\n",
  });
  outputFlag(readerFlags(command), DOCUMENT_FORMATS)
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
      const reopened: ObservationRow[] = [];
      const accepted: ObservationRow[] = [];
      const resolved: ObservationRow[] = [];
      for await (const page of readObservations(reader.api, reader.selection, reader.reading)) {
        for (const each of page) {
          const row = toRow(each, reader);
          const { isNew, isReopened, isAccepted, isResolved } = changesOf(row, span);
          if (isNew) found.push(row);
          if (isReopened) reopened.push(row);
          if (isAccepted) accepted.push(row);
          if (isResolved) resolved.push(row);
        }
      }
      const expired = await expiredIn(reader, { ...span, toMs: Math.min(span.toMs, now + 1) });
      if (!expired) context.io.stderr(`${EXCEPTIONS_UNREADABLE}\n`);
      for (const rows of [found, reopened, accepted, resolved]) rows.sort(byWorst);
      const [begin, end] = [span.fromMs, Math.min(span.toMs, now)].map((ms) => new Date(ms).toISOString());
      const changes: readonly Change[] = [
        ...found.map((row) => ({ change: "new", at: row.firstSeenAt, row })),
        ...reopened.map((row) => ({ change: "reopened", at: row.reopenedAt, row })),
        ...accepted.map((row) => ({ change: "accepted", at: row.acceptedSince, row })),
        ...resolved.map((row) => ({ change: "resolved", at: row.resolvedAt, row })),
      ];
      if (flags.output) {
        const lists = { new: found, reopened, accepted, resolved, expired: expired ?? [] };
        await printAnswer({
          document: { from: begin, to: end, ...lists },
          columns: ["change", "at", ...ROW_FIELDS],
          records: [
            ...changes.map(({ change, at, row }) => ({ change, at, ...row })),
            ...lists.expired.map(({ expiresAt, name, namespace, justification }) => {
              const exception = `${namespace}/${name}`;
              return { change: "expired", at: expiresAt, namespace, exception, message: justification };
            }),
          ],
        }, { format: flags.output, print: context.io.stdout });
        return await context.finish(0);
      }
      const counts = [
        `${countsOf(found)} new`,
        ...(reopened.length > 0 ? [`${countsOf(reopened)} reopened`] : []),
        `${countsOf(resolved)} resolved`,
        ...(accepted.length > 0 ? [`${countsOf(accepted)} accepted`] : []),
        ...(expired && expired.length > 0 ? [`${plural(expired.length, "exception")} expired`] : []),
      ];
      context.io.stdout(`${begin} to ${end}: ${counts.join(", ")}\n`);
      const table = createTable(
        ["CHANGE", "TIME", "NAMESPACE", "SEVERITY", "RULE", "RESOURCE", "SOURCE", "MESSAGE"],
        reader.table,
      );
      for (const { change, at, row } of changes) {
        table.add([
          change === "resolved" ? resolvedText(row) : change,
          `${at.slice(0, 10)} ${at.slice(11, 19)}`,
          row.namespace,
          row.severity,
          row.rule || row.eventType,
          resourceNameOf(row),
          row.source,
          row.message,
        ]);
      }
      for (const { namespace, name, expiresAt, justification } of expired ?? []) {
        const time = `${expiresAt.slice(0, 10)} ${expiresAt.slice(11, 19)}`;
        table.add(["expired", time, namespace, "", "", `ObservationException/${name}`, "", justification]);
      }
      table.flush();
      await context.finish(0);
    });
}

/** One thing that happened to an Observation. */
interface Change {
  readonly change: string;
  readonly at: string;
  readonly row: ObservationRow;
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
