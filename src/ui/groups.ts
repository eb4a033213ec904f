/** Findings counted by workload, rule, image, namespace or source. */
import { Refusal } from "../http/request.ts";
import { spanMs } from "../model/time.ts";
import { resourceNameOf, timeText } from "../read/row.ts";
import { byWorstCounts, type Grouping, GROUPINGS, groupOf } from "../read/top.ts";
import { criteriaOf, inAnyPhase, joinValues, matches, phasesOf } from "./filter.ts";
import { type Counts, noCounts, pageOf, totalOf } from "./lists.ts";
import type { FindingFilter, GroupPage, GroupRow } from "./protocol.ts";
import { type KeptRow, type KeptRows, phaseOf } from "./rows.ts";

interface Tally {
  readonly filter: FindingFilter;
  readonly counts: Counts;
  readonly tools: Map<string, number>;
  new: number;
  resolved: number;
  oldestMs: number;
  hasRuntime: boolean;
  hasWeakness: boolean;
}

/** One page of groups, worst first. */
export function groupPage(rows: KeptRows, query: URLSearchParams, nowMs: number): GroupPage {
  const by = GROUPINGS.find((grouping) => grouping === (query.get("by") || "workloads"));
  if (!by) {
    throw new Refusal(
      400,
      `Cannot group: expected by to be of ${GROUPINGS.join("|")}, received "${
        query.get("by")?.slice(0, 50)
      }"`,
    );
  }
  const { offset, limit } = pageOf(query);
  const groups = groupsOf(rows, { by, query, nowMs });
  return { total: groups.length, rows: groups.slice(offset, offset + limit) };
}

interface Question {
  readonly by: Grouping;
  readonly query: URLSearchParams;
  readonly nowMs: number;
}

/** The groups in which something matches, is new or resolved, worst first. */
export function groupsOf(rows: KeptRows, { by, query, nowMs }: Question): GroupRow[] {
  const criteria = inAnyPhase(criteriaOf(query));
  const phases = phasesOf(query);
  const fromMs = nowMs - windowMs(query);
  const tallies = new Map<string, Tally>();
  for (const row of rows.all()) {
    const name = groupOf(row, by);
    if (name === "" || !matches(row, criteria, nowMs)) continue;
    let tally = tallies.get(name);
    if (!tally) tallies.set(name, tally = emptyTally(filterOf(row, by)));
    if (row.firstSeenMs >= fromMs) tally.new++;
    const phase = phaseOf(row, nowMs);
    if (phase === "Resolved" && row.resolvedMs >= fromMs) tally.resolved++;
    if (phases && !phases.has(phase)) continue;
    tally.counts[row.severity]++;
    tally.tools.set(row.source, (tally.tools.get(row.source) ?? 0) + 1);
    if (row.firstSeenMs !== 0) tally.oldestMs = Math.min(tally.oldestMs, row.firstSeenMs);
    // Requests to the API server are of the category compliance.
    if (row.type === "occurrence") tally.hasRuntime ||= row.category === "security";
    else tally.hasWeakness = true;
  }
  return [...tallies].map(([name, tally]) => toGroupRow(name, tally, by))
    .filter((group) => totalOf(group.counts) + group.new + group.resolved > 0)
    .sort(byWorstCounts);
}

function toGroupRow(name: string, tally: Tally, by: Grouping): GroupRow {
  const { filter, counts, tools, oldestMs, hasRuntime, hasWeakness } = tally;
  return {
    name,
    filter,
    counts,
    tools: Object.fromEntries([...tools].sort()),
    new: tally.new,
    resolved: tally.resolved,
    oldest: oldestMs === Infinity ? "" : timeText(oldestMs),
    ...(by === "workloads" && hasRuntime && hasWeakness && { runtimeAndWeakness: true }),
  };
}

function filterOf(row: KeptRow, by: Grouping): FindingFilter {
  const one = (value: string) => joinValues([value]);
  switch (by) {
    case "rules":
      return { rule: one(row.rule) };
    case "images":
      return { image: one(row.image) };
    case "namespaces":
      return { namespace: one(row.namespace) };
    case "sources":
      return { source: one(row.source) };
    case "workloads":
      return {
        namespace: one(row.namespace),
        ...(row.workload === "" ? { resource: one(resourceNameOf(row)) } : { workload: one(row.workload) }),
      };
  }
}

/** How far back `new` and `resolved` look: `window`, or a `since` that is a length of time; 24 hours by default. */
function windowMs(query: URLSearchParams): number {
  const since = query.get("since") ?? "";
  const text = query.get("window") || (spanMs(since) === undefined ? "24h" : since);
  const ms = spanMs(text);
  if (ms === undefined) {
    throw new Refusal(
      400,
      `Cannot read "window": expected a length of time like 24h or 7d, received "${text.slice(0, 50)}"`,
    );
  }
  return ms;
}

function emptyTally(filter: FindingFilter): Tally {
  return {
    filter,
    counts: noCounts(),
    tools: new Map(),
    new: 0,
    resolved: 0,
    oldestMs: Infinity,
    hasRuntime: false,
    hasWeakness: false,
  };
}
