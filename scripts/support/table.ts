/** Columns of text, numbers to the right, as kubectl prints them. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => {
      const width = widths[column] ?? 0;
      return /^-?[\d.,]+$/.test(cell) ? cell.padStart(width) : cell.padEnd(width);
    }).join("  ").trimEnd();
  return [line(head), ...rows.map(line)].join("\n") + "\n";
}
