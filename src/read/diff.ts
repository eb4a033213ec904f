/** What changed between two times, by the dates of Observations. */
import { SEVERITIES } from "../model/observation.ts";
import { parseTime } from "../model/time.ts";
import type { ObservationRow } from "./row.ts";

/** Milliseconds since the epoch; `toMs` is not in it. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** What happened to a row in a span. */
export interface Changes {
  readonly isNew: boolean;
  /** Reported again after it was Resolved. */
  readonly isReopened: boolean;
  readonly isAccepted: boolean;
  readonly isResolved: boolean;
}

/** What happened to a row in a span: all of it, where several things happened in it. */
export function changesOf(row: ObservationRow, span: Span): Changes {
  return {
    isNew: isIn(row.firstSeenAt, span),
    isReopened: isIn(row.reopenedAt, span),
    isAccepted: isIn(row.acceptedSince, span),
    isResolved: row.phase === "Resolved" && isIn(row.resolvedAt, span),
  };
}

/** `resolved: ReportGone`: that a row was resolved, and why where that is known. */
export function resolvedText({ resolvedReason }: Pick<ObservationRow, "resolvedReason">): string {
  return ["resolved", resolvedReason].filter((part) => part !== "").join(": ");
}

/** Orders rows worst first, then by namespace and resource. */
export function byWorst(one: ObservationRow, other: ObservationRow): number {
  const difference = SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity);
  if (difference !== 0) return difference;
  const [left, right] = [one, other].map(({ namespace, resource, rule }) =>
    `${namespace}/${resource}/${rule}`
  );
  return (left ?? "") < (right ?? "") ? -1 : 1;
}

/** `3 (1 CRITICAL, 2 LOW)`. */
export function countsOf(rows: readonly ObservationRow[]): string {
  const counts = SEVERITIES.flatMap((severity) => {
    const count = rows.filter((row) => row.severity === severity).length;
    return count === 0 ? [] : [`${count} ${severity}`];
  });
  return counts.length === 0 ? "0" : `${rows.length} (${counts.join(", ")})`;
}

/** True where a time is in the span. */
export function isIn(time: string, { fromMs, toMs }: Span): boolean {
  const ms = parseTime(time)?.ms;
  return ms !== undefined && ms >= fromMs && ms < toMs;
}
