/** The arithmetic of the benchmark and its table. Nothing here measures. */
import { say } from "../support/script.ts";
import { textTable } from "../support/table.ts";

/** One line of the table. */
export interface FigureRow {
  readonly what: string;
  readonly measured: number;
  readonly unit: string;
  /** The bound, where the contract has one. */
  readonly atLeast?: number;
  readonly atMost?: number;
  /** Yardsticks of the same run, and what others measured elsewhere. */
  readonly beside?: string;
}

/** A line of the table. */
export function row(
  what: string,
  measured: number,
  unit: string,
  more: Pick<FigureRow, "atLeast" | "atMost" | "beside"> = {},
): FigureRow {
  return { what, measured, unit, ...more };
}

/** The rows as text in columns. */
export function tableOf(rows: readonly FigureRow[]): string {
  return textTable(
    ["WHAT", "MUST", "MEASURED", "UNIT", "HOLDS", "BESIDE"],
    rows.map((row) => {
      const { what, measured, unit, atLeast, atMost, beside = "" } = row;
      const must = atLeast !== undefined ? `≥ ${atLeast}` : atMost !== undefined ? `≤ ${atMost}` : "";
      return [what, must, shown(measured), unit, must === "" ? "" : holds(row) ? "yes" : "NO", beside];
    }),
  );
}

/** True where the measured value is within the bound. */
export function holds({ measured, atLeast = -Infinity, atMost = Infinity }: FigureRow): boolean {
  return measured >= atLeast && measured <= atMost;
}

/**
 * The rows whose bound fails the run: ratios of one run, memory and counts. Absolute times and rates depend on the machine, so
 * their bounds are printed alone.
 */
export function missed(rows: readonly FigureRow[]): FigureRow[] {
  return rows.filter((row) => ["×", "MiB", ""].includes(row.unit) && !holds(row));
}

/** The exit code of a run that measured these rows; names on stderr what fails it. */
export function verdictOn(rows: readonly FigureRow[]): number {
  const names = missed(rows).map(({ what }) => what);
  if (names.length > 0) say(`These bounds are not held: ${names.join("; ")}`);
  return names.length > 0 ? 1 : 0;
}

/** Whole numbers from 100 on, three digits below. */
export function shown(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** The smallest value that `share` (0 to 1) of all values do not exceed; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? NaN;
}

/** NaN of none. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** `acknowledged` numbers that are not stored, and stored ones that are there twice. `stored` has one entry an object. */
export function reconcile(
  acknowledged: Iterable<number>,
  stored: readonly number[],
): { readonly lost: number; readonly doubled: number } {
  const distinct = new Set(stored);
  let lost = 0;
  for (const number of new Set(acknowledged)) if (!distinct.has(number)) lost++;
  return { lost, doubled: stored.length - distinct.size };
}

/** The sum of a metric's series that contain all these pieces of text, in the Prometheus text format. */
export function seriesSum(metrics: string, name: string, ...pieces: readonly string[]): number {
  let sum = 0;
  for (const line of metrics.split("\n")) {
    if (!line.startsWith(`${name}{`) || !pieces.every((piece) => line.includes(piece))) continue;
    sum += Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return sum;
}
