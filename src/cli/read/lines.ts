/** Observations one a line: as a table for people, or as `-o` asks. */
import { SEVERITIES } from "../../model/observation.ts";
import { readObservations } from "../../read/observations.ts";
import { type ObservationRow, resourceNameOf, ROW_FIELDS, toRow } from "../../read/row.ts";
import type { Selection } from "../../read/selection.ts";
import type { StoredObservation } from "../../store/observations.ts";
import { escapeJson } from "../../text/clean.ts";
import type { Io } from "../io.ts";
import { createTable, type Table } from "../output/table.ts";
import { ageOf, type Reader } from "./reader.ts";

/** What `-o` takes where a command prints Observations. */
export const LINE_FORMATS = ["wide", "name", "json", "yaml", "csv"] as const;
export type LineFormat = typeof LINE_FORMATS[number];

/** Takes pages of Observations and prints them. */
export interface Printer {
  page(observations: readonly StoredObservation[]): void;
  /** Prints what is held back. */
  flush(): void;
  end(): void;
}

interface PrinterOptions {
  readonly output: LineFormat | undefined;
  readonly io: Io;
  readonly reader: Reader;
  /** Shows what is not Active too, and so the phase. */
  readonly all: boolean;
}

/** A printer of the format. */
export async function printerOf({ output, io, reader, all }: PrinterOptions): Promise<Printer> {
  switch (output) {
    case "json":
      return jsonPrinter(io);
    case "yaml": {
      const { render } = await import("../output/structured.ts");
      return {
        page: (observations) => observations.forEach((each) => io.stdout(`---\n${render(each, "yaml")}`)),
        flush: () => {},
        end: () => {},
      };
    }
    case "csv": {
      const { csvRecord } = await import("../output/csv.ts");
      io.stdout(csvRecord(ROW_FIELDS));
      const record = (row: ObservationRow) => csvRecord(ROW_FIELDS.map((field) => String(row[field])));
      return {
        page: (observations) =>
          io.stdout(observations.map((each) => record(toRow(each, { now: io.now() }))).join("")),
        flush: () => {},
        end: () => {},
      };
    }
    case "name":
      return {
        page: (observations) =>
          io.stdout(
            observations.map(({ metadata }) => `observation.zen.kube-zen.io/${metadata.name}\n`).join(""),
          ),
        flush: () => {},
        end: () => {},
      };
    default:
      return tablePrinter({ io, reader, all, wide: output === "wide" });
  }
}

const FIRST_LINES_MS = 1_000;

/** As `kubectl get -o json` prints a list, but piece by piece. */
function jsonPrinter(io: Io): Printer {
  let separator = "";
  io.stdout('{\n"apiVersion": "v1",\n"kind": "List",\n"items": [\n');
  return {
    page(observations) {
      for (const each of observations) {
        io.stdout(`${separator}${escapeJson(JSON.stringify(each))}`);
        separator = ",\n";
      }
    },
    flush: () => {},
    end: () => io.stdout("\n]\n}\n"),
  };
}

interface TableOptions extends Pick<PrinterOptions, "io" | "reader" | "all"> {
  readonly wide: boolean;
}

function tablePrinter({ io, reader, all, wide }: TableOptions): Printer {
  const columns = columnsOf({ all, wide, isOneNamespace: reader.selection.namespace !== undefined });
  const table: Table = createTable(columns.map(([title]) => title), reader.table);
  const start = io.now();
  return {
    page(observations) {
      const now = io.now();
      for (const each of observations) {
        const row = toRow(each, { now });
        table.add(columns.map(([, cell]) => cell(row, now)));
      }
      // The first lines give the table its widths: those that come soon are waited for.
      if (now - start > FIRST_LINES_MS) table.flush();
    },
    flush: table.flush,
    end: table.flush,
  };
}

type Column = readonly [title: string, cell: (row: ObservationRow, now: number) => string];

function columnsOf(
  { all, wide, isOneNamespace }: {
    readonly all: boolean;
    readonly wide: boolean;
    readonly isOneNamespace: boolean;
  },
): readonly Column[] {
  const when = (shown: boolean, ...columns: readonly Column[]) => shown ? columns : [];
  return [
    ...when(!isOneNamespace, ["NAMESPACE", (row) => row.namespace]),
    ...when(wide, ["NAME", (row) => row.name]),
    ["SEVERITY", (row) => row.severity],
    ["RULE", (row) => row.rule || row.eventType],
    ["RESOURCE", resourceNameOf],
    ["SOURCE", (row) => row.source],
    ["COUNT", (row) => String(row.occurrences)],
    ...when(all, ["PHASE", (row) => row.phase]),
    ["AGE", (row, now) => ageOf(row.firstSeenAt, now)],
    ...when(wide && all, ["EXCEPTION", (row) => row.exception]),
    ...when(wide, ["IMAGE", (row) => row.image]),
    ["MESSAGE", (row) => row.message],
  ];
}

/** Prints the chosen Observations, worst first, and resolves with their number. Nothing is held but the page at hand. */
export async function printWorstFirst(
  { api, reading }: Reader,
  { selection, printer }: { readonly selection: Selection; readonly printer: Printer },
): Promise<number> {
  let count = 0;
  for (const severity of selection.severities ?? SEVERITIES) {
    const wanted = { ...selection, severities: [severity] };
    for await (const page of readObservations(api, wanted, reading)) {
      count += page.length;
      printer.page(page);
    }
  }
  return count;
}
