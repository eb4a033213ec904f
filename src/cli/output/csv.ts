/** CSV (RFC 4180) that a spreadsheet shows and never runs. */
import { clean } from "../../text/clean.ts";

const LONGEST_CELL = 4096;
/** What a cell begins with that a spreadsheet takes for a formula. */
const FORMULA = /^[=+\-@|%]/;
/** The same behind a `;`: where that is the separator of the spreadsheet's language, the cell is split there, quoted or not. */
const FORMULA_BEHIND_SEMICOLON = /(;[\s"]*)(?=[=+\-@|%])/g;
/** A comment is not quoted, so that a comma splits it too. */
const FORMULA_BEHIND_SEPARATOR = /([;,][\s"]*)(?=[=+\-@|%])/g;

/** One record. Cells are cleaned, a formula becomes text, and nothing is `n/a`: an empty cell may be one that was lost. */
export function csvRecord(cells: readonly string[]): string {
  return `${cells.map(csvCell).join(",")}\n`;
}

/** A line that begins with `#`, of text that may come from reports. */
export function csvComment(text: string): string {
  return `# ${clean(text, LONGEST_CELL).replaceAll(FORMULA_BEHIND_SEPARATOR, "$1'")}\n`;
}

function csvCell(text: string): string {
  const cleaned = clean(text, LONGEST_CELL) || "n/a";
  const inert = (FORMULA.test(cleaned) ? `'${cleaned}` : cleaned)
    .replaceAll(FORMULA_BEHIND_SEMICOLON, "$1'");
  return /[",\n]|^#/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
