/** What readers print with `-o`: one document as JSON or YAML, or its records as CSV. */

/** What `-o` takes where a reader prints one document. */
export const DOCUMENT_FORMATS = ["json", "yaml", "csv"] as const;
/** One of them. */
export type DocumentFormat = typeof DOCUMENT_FORMATS[number];

/** The answer of a reader: the whole of it, and the same in records of equal columns. */
export interface DocumentAnswer {
  readonly document: object;
  readonly columns: readonly string[];
  /** Cells by column; what is absent is empty. */
  readonly records: Iterable<Readonly<Record<string, unknown>>>;
}

/** Prints an answer in a format. */
export async function printAnswer(
  { document, columns, records }: DocumentAnswer,
  { format, print }: { readonly format: DocumentFormat; readonly print: (text: string) => void },
): Promise<void> {
  if (format !== "csv") {
    const { render } = await import("./structured.ts");
    return print(render(document, format));
  }
  const { csvRecord } = await import("./csv.ts");
  print(csvRecord(columns));
  for (const record of records) print(csvRecord(columns.map((column) => String(record[column] ?? ""))));
}
