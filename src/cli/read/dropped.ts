/** `dropped`: what filters left out lately, and by which document. */
import type { Command } from "commander";
import type { Drop } from "../../filters/drops.ts";
import { filterStatusName } from "../../filters/filter_status.ts";
import { parseTime } from "../../model/time.ts";
import { type Dropped, readDropped, type StatusPlaces } from "../../read/drops.ts";
import type { Settings } from "../../settings.ts";
import { addCommand, type CommandContext, outputFlag } from "../command.ts";
import { DOCUMENT_FORMATS, type DocumentFormat, printAnswer } from "../output/document.ts";
import { createTable } from "../output/table.ts";
import { openReader, type Reader, type ReaderFlags, scopeFlags, timeOf } from "./reader.ts";

interface DroppedFlags extends ReaderFlags {
  readonly since?: string;
  readonly output?: DocumentFormat;
}

/** A drop and the document that it is of. */
type PlacedDrop = Drop & { readonly document: string; readonly mode: "Enforce" | "Shadow" };

const CSV_FIELDS = [
  "time",
  "document",
  "mode",
  "source",
  "severity",
  "rule",
  "namespace",
  "resource",
  "reason",
] as const;

/** Adds the command `dropped`. */
export function dropped(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "dropped",
    summary: "show what filters left out lately, and by which document",
    description:
      "Shows the last ten different events that each filter document left out, or would leave out in mode Shadow, newest " +
      "first, and how many it left out in all. What the storage budget left out is shown too.",
    examples: [
      ["dropped", "by all documents"],
      ["dropped -n shop --source trivy --since 24h", "of a namespace, a source and a day"],
      ["dropped -o csv", "for a spreadsheet"],
    ],
    more:
      "It takes the right to list observationfilters and ingesters, and to get the ConfigMap zen-watcher-filter-status in the " +
      "namespace of the filters; what you may not read is named and left out. zen-watcher adds to a status within seconds, " +
      "and then at most every 30 s.\n",
  });
  outputFlag(scopeFlags(command), DOCUMENT_FORMATS)
    .option("--source <source>", "source of the events")
    .option("--since <time>", "left out then or later: 24h, 7d, 2026-11-01, or RFC 3339")
    .action(async (flags: DroppedFlags) => {
      const { since } = flags;
      const now = context.io.now();
      const sinceMs = since === undefined ? -Infinity : timeOf(since, { flag: "--since", now });
      using reader = await openReader(flags, context);
      const { namespace, source } = reader.selection;
      const read = await readDropped(reader.api, { namespace, places: placesOf(context.settings()) });
      const drops = read.documents
        .flatMap(({ document, mode, lastDrops }) => lastDrops.map((drop) => ({ document, mode, ...drop })))
        .filter((drop) => namespace === undefined || drop.namespace === namespace)
        .filter((drop) => source === undefined || drop.source === source)
        .filter(({ time }) => (parseTime(time)?.ms ?? 0) >= sinceMs)
        .sort((a, b) => a.time < b.time ? 1 : a.time > b.time ? -1 : a.document < b.document ? -1 : 1);
      await print({ drops, read }, { flags, reader, context });
      for (const what of read.missing) context.io.stderr(`Left out: ${what}\n`);
      await context.finish(0);
    });
}

/** Where a program of these settings keeps its statuses. */
export function placesOf(settings: Settings): StatusPlaces {
  return {
    controllerNamespace: settings.podNamespace,
    filterNamespace: settings.filterConfigMapNamespace || settings.podNamespace,
    filterName: settings.filterConfigMapName,
    statusName: filterStatusName(settings.instance),
  };
}

interface PrintOptions {
  readonly flags: DroppedFlags;
  readonly reader: Reader;
  readonly context: CommandContext;
}

async function print(
  { drops, read }: { readonly drops: readonly PlacedDrop[]; readonly read: Dropped },
  { flags, reader, context: { io } }: PrintOptions,
): Promise<void> {
  if (flags.output) {
    const documents = read.documents.map(({ lastDrops: _, ...document }) => document);
    return await printAnswer({
      document: { documents, drops, missing: read.missing },
      columns: CSV_FIELDS,
      records: drops.map((drop) => ({ ...drop })),
    }, { format: flags.output, print: io.stdout });
  }
  printTables({ drops, read }, reader);
  if (drops.length === 0) io.stderr("No status shows an event that was left out.\n");
}

function printTables(
  { drops, read: { documents } }: { readonly drops: readonly PlacedDrop[]; readonly read: Dropped },
  { table: target, selection: { namespace } }: Reader,
): void {
  const shown = [
    ...["TIME", ...(namespace === undefined ? ["NAMESPACE"] : []), "SEVERITY", "RULE", "RESOURCE", "SOURCE"],
    ...["REASON", "DOCUMENT"],
  ];
  const lines = createTable(shown, target);
  for (const { time, severity, rule = "", resource = "", source, reason, document, mode, ...drop } of drops) {
    lines.add([
      `${time.slice(0, 10)} ${time.slice(11, 19)}`,
      ...(namespace === undefined ? [drop.namespace ?? ""] : []),
      ...[severity, rule, resource, source],
      mode === "Shadow" ? `${reason} (not yet: Shadow)` : reason,
      document,
    ]);
  }
  lines.flush();
  if (documents.length === 0) return;
  if (drops.length > 0) target.print("\n");
  const table = createTable(["DOCUMENT", "MODE", "DROPPED", "WOULD DROP IN A DAY", "NOTE"], target);
  for (const { document, mode, dropped: count, wouldDrop, note } of documents) {
    table.add([document, mode, String(count), mode === "Shadow" ? String(wouldDrop) : "", note]);
  }
  table.flush();
}
