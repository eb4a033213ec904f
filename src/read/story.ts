/** What happened to Observations, in order of time. */
import type { ObservationRow } from "./row.ts";

/** One thing that happened. */
export interface Happening {
  readonly at: string;
  readonly what: "found" | "reopened" | "accepted" | "resolved";
  readonly row: ObservationRow;
}

/** The story of these rows: when each was found, reopened, accepted and resolved, oldest first. */
export function storyOf(rows: readonly ObservationRow[]): Happening[] {
  const happenings = rows.flatMap((row): Happening[] => [
    { at: row.firstSeenAt, what: "found", row },
    ...(row.reopenedAt === "" ? [] : [{ at: row.reopenedAt, what: "reopened", row } as const]),
    ...(row.acceptedSince === "" ? [] : [{ at: row.acceptedSince, what: "accepted", row } as const]),
    ...(row.phase === "Resolved" ? [{ at: row.resolvedAt, what: "resolved", row } as const] : []),
  ]);
  // Times of one form compare as texts do; those of a second with and without a fraction differ in "." and "Z".
  return happenings.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
}
