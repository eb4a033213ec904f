/** Counts Observations by workload, rule, image, namespace or source, worst first. */
import { SEVERITIES, type Severity } from "../model/observation.ts";
import { parseTime } from "../model/time.ts";
import { type ObservationRow, resourceNameOf } from "./row.ts";

/** What rows can be grouped by. */
export const GROUPINGS = ["workloads", "rules", "images", "namespaces", "sources"] as const;
export type Grouping = typeof GROUPINGS[number];

/** One group. Counts are of Active Observations, except `resolved`. */
export interface Group {
  /** `namespace/workload`, a rule, an image, a namespace or a source. */
  readonly name: string;
  readonly counts: Record<Severity, number>;
  /** Sources of its Active ones. */
  readonly tools: readonly string[];
  /** First seen since the time given. */
  readonly new: number;
  /** Resolved since the time given. */
  readonly resolved: number;
  /** When the oldest Active one was first seen; "" where none is Active. */
  readonly oldest: string;
}

/** What a row is grouped by. */
type Grouped = Pick<
  ObservationRow,
  "rule" | "image" | "namespace" | "source" | "workload" | "kind" | "resource"
>;

interface Tally {
  readonly counts: Record<Severity, number>;
  readonly tools: Set<string>;
  new: number;
  resolved: number;
  oldest: string;
}

/** Takes rows one by one and holds the groups alone. */
export class Top {
  readonly #by: Grouping;
  readonly #sinceMs: number;
  readonly #tallies = new Map<string, Tally>();

  constructor(by: Grouping, { sinceMs }: { readonly sinceMs: number }) {
    this.#by = by;
    this.#sinceMs = sinceMs;
  }

  add(row: ObservationRow): void {
    const name = groupOf(row, this.#by);
    if (name === "") return;
    let tally = this.#tallies.get(name);
    if (!tally) this.#tallies.set(name, tally = emptyTally());
    if (isSince(row.firstSeenAt, this.#sinceMs)) tally.new++;
    if (row.phase !== "Active") {
      if (isSince(row.resolvedAt, this.#sinceMs)) tally.resolved++;
      return;
    }
    tally.counts[row.severity]++;
    tally.tools.add(row.source);
    if (tally.oldest === "" || (row.firstSeenAt !== "" && row.firstSeenAt < tally.oldest)) {
      tally.oldest = row.firstSeenAt;
    }
  }

  /** The groups in which something is Active, new or resolved, worst first. */
  groups(): Group[] {
    return [...this.#tallies]
      .map(([name, { tools, ...tally }]) => ({ name, ...tally, tools: [...tools].sort() }))
      .filter((group) => group.new + group.resolved + activeOf(group) > 0)
      .sort(byWorstCounts);
  }
}

/** How many are Active in a group. */
export function activeOf({ counts }: Pick<Group, "counts">): number {
  return SEVERITIES.reduce((sum, severity) => sum + counts[severity], 0);
}

function emptyTally(): Tally {
  const counts = { CRITICAL: 0, HIGH: 0, MEDIUM: 0, LOW: 0, UNKNOWN: 0 };
  return { counts, tools: new Set(), new: 0, resolved: 0, oldest: "" };
}

function isSince(time: string, sinceMs: number): boolean {
  const ms = parseTime(time)?.ms;
  return ms !== undefined && ms >= sinceMs;
}

/** The group of a row; "" for none. What is no workload is grouped by its kind and name. */
export function groupOf(row: Grouped, by: Grouping): string {
  switch (by) {
    case "rules":
      return row.rule;
    case "images":
      return row.image;
    case "namespaces":
      return row.namespace;
    case "sources":
      return row.source;
    case "workloads": {
      const name = row.workload || resourceNameOf(row);
      return name === "" ? "" : `${row.namespace}/${name}`;
    }
  }
}

/** Compares two groups for a sort: those with more of the worst severity first, then by name. */
export function byWorstCounts(
  one: Pick<Group, "name" | "counts">,
  other: Pick<Group, "name" | "counts">,
): number {
  for (const severity of SEVERITIES) {
    if (one.counts[severity] !== other.counts[severity]) return other.counts[severity] - one.counts[severity];
  }
  return one.name < other.name ? -1 : 1;
}
