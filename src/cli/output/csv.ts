/** CSV (RFC 4180) that a spreadsheet shows and never runs. */
import { clean } from "../../text/clean.ts";

const LONGEST_CELL = 4096;
/** What a cell begins with that a spreadsheet takes for a formula. */
const FORMULA = /^[=+\-@|%]/;

/** One record. Cells are cleaned, a formula becomes text, and nothing is `n/a`: an empty cell may be one that was lost. */
export function csvRecord(cells: readonly string[]): string {
  return `${cells.map(csvCell).join(",")}\n`;
}

function csvCell(text: string): string {
  const cleaned = clean(text, LONGEST_CELL) || "n/a";
  const inert = FORMULA.test(cleaned) ? `'${cleaned}` : cleaned;
  return /[",\n]|^#/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
