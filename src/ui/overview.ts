/** The figures of the overview, and the values that filters offer. */
import { DAY_MS } from "../model/time.ts";
import { type Phase, PHASES, SEVERITIES } from "../model/observation.ts";
import { timeText } from "../read/row.ts";
import { type Criteria, failingDimension, type FilterKey } from "./filter.ts";
import { groupsOf } from "./groups.ts";
import { type Counts, noCounts } from "./lists.ts";
import type { Facet, Facets, Overview } from "./protocol.ts";
import { type KeptRow, type KeptRows, phaseOf } from "./rows.ts";

const DAYS = 30;
const WORST_WORKLOADS = 10;
/** Most values of a facet. */
const MAX_FACET = 200;

/** Ages of open findings, youngest first: `fromDays` up to, and without, `toDays`. */
const AGES = [
  { label: "under 1 day", fromDays: 0, toDays: 1 },
  { label: "1 to 7 days", fromDays: 1, toDays: 7 },
  { label: "7 to 30 days", fromDays: 7, toDays: 30 },
  { label: "30 to 90 days", fromDays: 30, toDays: 90 },
  { label: "over 90 days", fromDays: 90, toDays: Infinity },
] as const;

interface SourceTally {
  readonly counts: Counts;
  lastSeenMs: number;
}

/** Counts everything that is kept. */
export function overviewOf(
  rows: KeptRows,
  { nowMs, expiringExceptions }: { readonly nowMs: number; readonly expiringExceptions: number },
): Overview {
  const phases: Record<Phase, number> = { Active: 0, Accepted: 0, Resolved: 0 };
  const bySource = new Map<string, SourceTally>();
  const firstDayMs = Math.floor(nowMs / DAY_MS) * DAY_MS - (DAYS - 1) * DAY_MS;
  const days = Array.from({ length: DAYS }, () => ({ new: 0, resolved: 0 }));
  const dayOf = (ms: number) => days[Math.floor((ms - firstDayMs) / DAY_MS)];
  const ages = AGES.map(() => noCounts());
  const changed = { new: 0, resolved: 0, reopened: 0, accepted: 0 };
  const yesterdayMs = nowMs - DAY_MS;
  let oldestMs = Infinity;
  for (const row of rows.all()) {
    const phase = phaseOf(row, nowMs);
    phases[phase]++;
    const source = sourceTally(bySource, row.source);
    source.lastSeenMs = Math.max(source.lastSeenMs, row.lastSeenMs);
    if (row.firstSeenMs !== 0) oldestMs = Math.min(oldestMs, row.firstSeenMs);
    const firstDay = dayOf(row.firstSeenMs);
    if (firstDay) firstDay.new++;
    if (row.firstSeenMs >= yesterdayMs) changed.new++;
    if (row.reopenedMs >= yesterdayMs) changed.reopened++;
    if (phase === "Resolved") {
      const lastDay = dayOf(row.resolvedMs);
      if (lastDay) lastDay.resolved++;
      if (row.resolvedMs >= yesterdayMs) changed.resolved++;
    } else if (phase === "Accepted") {
      if (row.acceptedMs >= yesterdayMs) changed.accepted++;
    } else {
      source.counts[row.severity]++;
      const age = ages[ageIndex(nowMs - row.firstSeenMs)];
      if (age) age[row.severity]++;
    }
  }
  return {
    total: rows.size,
    phases,
    bySource: [...bySource].map(([source, { counts, lastSeenMs }]) => ({
      source,
      counts,
      lastSeenAt: timeText(lastSeenMs),
    }))
      .sort((one, other) => one.source < other.source ? -1 : 1),
    perDay: days.map((day, index) => ({ day: dayText(firstDayMs + index * DAY_MS), ...day })),
    heldSince: oldestMs === Infinity ? "" : timeText(oldestMs),
    worstWorkloads: groupsOf(rows, { by: "workloads", query: new URLSearchParams(), nowMs }).slice(
      0,
      WORST_WORKLOADS,
    ),
    ages: AGES.map(({ label, fromDays, toDays }, index) => ({
      label,
      ...(toDays !== Infinity && { since: timeText(nowMs - toDays * DAY_MS + 1) }),
      ...(fromDays !== 0 && { until: timeText(nowMs - fromDays * DAY_MS + 1) }),
      counts: ages[index] ?? noCounts(),
    })),
    changed,
    expiringExceptions,
  };
}

/** Counts the values of each key among the rows that match the other keys. */
export function facetsOf(rows: KeptRows, criteria: Criteria, nowMs: number): Facets {
  const counted = {
    severity: new Map(),
    source: new Map(),
    namespace: new Map(),
    phase: new Map(),
    category: new Map(),
  } as Record<
    keyof Facets,
    Map<string, number>
  >;
  const valuesOf = {
    severity: (row: KeptRow) => row.severity,
    source: (row: KeptRow) => row.source,
    namespace: (row: KeptRow) => row.namespace,
    phase: (row: KeptRow) => phaseOf(row, nowMs),
    category: (row: KeptRow) => row.category,
  };
  for (const row of rows.all()) {
    const failing: FilterKey | "none" | undefined = failingDimension(row, criteria, nowMs);
    if (failing === undefined) continue;
    for (const key of FACETS) {
      if (failing !== "none" && failing !== key) continue;
      const value = valuesOf[key](row);
      counted[key].set(value, (counted[key].get(value) ?? 0) + 1);
    }
  }
  const inOrder = (key: keyof Facets, order: readonly string[]) =>
    order.flatMap((value): Facet[] => {
      const count = counted[key].get(value);
      return count === undefined ? [] : [{ value, count }];
    });
  return {
    severity: inOrder("severity", SEVERITIES),
    source: mostFirst(counted.source),
    namespace: mostFirst(counted.namespace),
    phase: inOrder("phase", PHASES),
    category: mostFirst(counted.category),
  };
}

const FACETS = ["severity", "source", "namespace", "phase", "category"] as const satisfies (keyof Facets)[];

function mostFirst(counts: ReadonlyMap<string, number>): Facet[] {
  return [...counts].map(([value, count]) => ({ value, count }))
    .sort((one, other) => other.count - one.count || (one.value < other.value ? -1 : 1))
    .slice(0, MAX_FACET);
}

function sourceTally(tallies: Map<string, SourceTally>, source: string): SourceTally {
  let tally = tallies.get(source);
  if (!tally) tallies.set(source, tally = { counts: noCounts(), lastSeenMs: 0 });
  return tally;
}

function ageIndex(ageMs: number): number {
  const days = Math.max(0, ageMs) / DAY_MS;
  return AGES.findIndex(({ toDays }) => days < toDays);
}

function dayText(ms: number): string {
  return timeText(ms).slice(0, 10);
}
