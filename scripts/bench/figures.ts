/** The arithmetic of the benchmark. Nothing here measures. */

/** Figures of one scenario by name: `acceptedPerSecond`, `visibleP99Ms`. */
export type Figures = Readonly<Record<string, number>>;

/** The smallest value that `share` (0 to 1) of all values do not exceed; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[rank - 1] ?? NaN;
}

/** The middle value, of two middle ones their mean; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** p50, p95 and p99 as `<name>P50Ms`, and so on; nothing of no values. */
export function latencies(name: string, values: readonly number[]): Figures {
  if (values.length === 0) return {};
  return {
    [`${name}P50Ms`]: percentile(values, 0.5),
    [`${name}P95Ms`]: percentile(values, 0.95),
    [`${name}P99Ms`]: percentile(values, 0.99),
  };
}

/** The median of each figure over the runs that have it. */
export function medians(runs: readonly Figures[]): Figures {
  const names = new Set(runs.flatMap((run) => Object.keys(run)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = runs.map((run) => run[name]).filter((value) => value !== undefined);
      return [name, median(values)];
    }),
  );
}

/** One figure in two runs of the benchmark. */
export interface Compared {
  readonly scenario: string;
  readonly figure: string;
  readonly before: number;
  readonly now: number;
  /** now ÷ before; 1 where both are nought. */
  readonly ratio: number;
}

/** Every figure both sides have. */
export function compare(
  before: Readonly<Record<string, Figures>>,
  now: Readonly<Record<string, Figures>>,
): Compared[] {
  return Object.entries(now).flatMap(([scenario, figures]) =>
    Object.entries(figures).flatMap(([figure, value]) => {
      const old = before[scenario]?.[figure];
      if (old === undefined) return [];
      const ratio = old === value ? 1 : value / old;
      return [{ scenario, figure, before: old, now: value, ratio }];
    })
  );
}

/** What senders were told is stored, against what is: by the number each event carries. */
export interface Reconciled {
  /** Acknowledged, and not there. */
  readonly lost: number;
  /** There more than once. */
  readonly doubled: number;
}

/** `stored` has one entry for every stored object. */
export function reconcile(acknowledged: Iterable<number>, stored: readonly number[]): Reconciled {
  const distinct = new Set(stored);
  let lost = 0;
  for (const index of new Set(acknowledged)) if (!distinct.has(index)) lost++;
  return { lost, doubled: stored.length - distinct.size };
}
