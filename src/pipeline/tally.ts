/** What became of the events of one payload, counted. */
import type { FailReason, FilterReason, Outcome, PayloadError } from "../model/outcome.ts";

/** Payload errors kept for the answer; all are counted. */
const MAX_ERRORS_KEPT = 100;

/** What became of a payload. */
export interface IntakeResult {
  readonly received: number;
  readonly created: number;
  readonly deduped: number;
  readonly filtered: number;
  readonly failed: number;
  readonly byReason: {
    readonly filtered: Readonly<Partial<Record<FilterReason, number>>>;
    readonly failed: Readonly<Partial<Record<FailReason, number>>>;
  };
  /** Events that time or an admin can still get in: `failed{unavailable}`, `failed{internal}` and `filtered{rate_limit}`. */
  readonly undecided: number;
  /** The first of them; `payloadErrorCount` counts all. */
  readonly payloadErrors: readonly PayloadError[];
  readonly payloadErrorCount: number;
  /** The findings that hold now by this payload, filtered ones too. Empty for pushed payloads. */
  readonly fingerprints: readonly string[];
}

/** An `IntakeResult` in the making. */
export interface Tally {
  received: number;
  created: number;
  deduped: number;
  readonly filtered: Partial<Record<FilterReason, number>>;
  readonly failed: Partial<Record<FailReason, number>>;
  readonly errors: PayloadError[];
  errorCount: number;
  readonly fingerprints: string[];
}

/** Nothing counted yet. */
export function newTally(): Tally {
  return {
    received: 0,
    created: 0,
    deduped: 0,
    filtered: {},
    failed: {},
    errors: [],
    errorCount: 0,
    fingerprints: [],
  };
}

/** Counts an event's outcome. */
export function count(tally: Tally, outcome: Outcome): void {
  switch (outcome.kind) {
    case "created":
    case "deduped":
      tally[outcome.kind]++;
      return;
    case "filtered":
      tally.filtered[outcome.reason] = (tally.filtered[outcome.reason] ?? 0) + 1;
      return;
    case "failed":
      tally.failed[outcome.reason] = (tally.failed[outcome.reason] ?? 0) + 1;
      return;
  }
}

/** Counts what could not be read. */
export function countError(tally: Tally, error: PayloadError): void {
  tally.errorCount++;
  if (tally.errors.length < MAX_ERRORS_KEPT) tally.errors.push(error);
  // The sender must learn it, else it would believe the rest to be taken.
  else if (error.reason === "too_many_events") tally.errors[MAX_ERRORS_KEPT - 1] = error;
}

/** What is handed back. */
export function resultOf(
  { received, created, deduped, filtered, failed, errors, errorCount, fingerprints }: Tally,
): IntakeResult {
  return {
    received,
    created,
    deduped,
    filtered: total(filtered),
    failed: total(failed),
    byReason: { filtered, failed },
    undecided: (failed.unavailable ?? 0) + (failed.internal ?? 0) + (filtered.rate_limit ?? 0),
    payloadErrors: errors,
    payloadErrorCount: errorCount,
    fingerprints,
  };
}

function total(counts: Readonly<Partial<Record<string, number>>>): number {
  return Object.values(counts).reduce<number>((sum, count) => sum + (count ?? 0), 0);
}
