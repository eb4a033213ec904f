/** Resolves findings that no complete view reports any more, after a grace. Runs on the leader. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import type { ResolvedReason } from "../model/observation.ts";
import type { ReportScope, Views } from "../model/view.ts";
import { createSpacing, elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Entry, ObservationIndex, Row } from "./index/mod.ts";
import type { Repeats } from "./repeats.ts";
import { Reporters, type ReportersOptions, type Reporting } from "./reporters.ts";

export interface FindingsOptions extends Pick<ReportersOptions, "eventTypesOf"> {
  readonly index: ObservationIndex;
  readonly repeats: Repeats;
  readonly clock: Clock;
  readonly log: Logger;
  /** Throws if another replica may hold the lease by now. */
  readonly assertLeader: () => void;
  /** RESOLVE_GRACE_SECONDS. */
  readonly graceSeconds: number;
  /** EXPIRED_GRACE_SECONDS. */
  readonly expiredGraceSeconds: number;
  /** True if the tool deletes old reports of such findings and recreates them. */
  readonly expires: (finding: Pick<Row, "source" | "eventType">) => boolean;
  /** Reads the workload and container of a stored finding; undefined if the Observation is gone. */
  readonly scopeOf: (row: Pick<Row, "namespace" | "name">) => Promise<ReportScope | undefined>;
  /** The source whose views report the findings of this one; undefined for pushed sources, which have none. */
  readonly viewSourceOf: (source: string) => string | undefined;
  readonly resolvesPerSecond?: number;
  readonly sleep?: Sleep;
}

/** Whether a stored finding is reported. `unwatched`: it was pushed, and no view reports findings of its source. */
export type FindingState = Reporting["kind"] | "unwatched";

/**
 * Decides which stored findings are no longer reported, and resolves them. Runs on the leader; the feeds report through its
 * `Views` side which findings their documents contain.
 */
export interface Findings extends Views {
  /** Whether a stored finding is reported in this term. */
  state(row: Pick<Row, "source" | "eventType" | "belongsTo" | "fingerprint" | "pushed">): FindingState;
  /** Sets the findings that are due to Resolved, and returns their number. */
  evaluate(signal: AbortSignal): Promise<number>;
  /** Evaluates until `signal` aborts. Each term of a leader begins without any known reporters. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

/** A finding that was not reported in this term, and whether its report may have expired before it. */
interface Unseen {
  sinceSeconds: number;
  /** Read when its grace is over. */
  scope?: ReportScope;
  waits: boolean;
}

/** Longest time of one status write, with the wait for its turn, before the liveness check fails. */
const ROUND_MS = 300_000;
const SCAN_SLICE = 2_000;
const MAX_TICK_MS = 30_000;

/** Creates the findings of a process. Their reporters are dropped at the begin of each term. */
export function createFindings(options: FindingsOptions): Findings {
  const { index, repeats, clock, log, graceSeconds, sleep } = options;
  const spacing = createSpacing({ ...options, perSecond: options.resolvesPerSecond ?? 50 });
  const seconds = () => Math.floor(clock.monotonic() / 1_000);
  const newTerm = () =>
    new Reporters({
      seconds,
      now: () => clock.now(),
      isStored: (key) => index.hasKey(key),
      ...(options.eventTypesOf && { eventTypesOf: options.eventTypesOf }),
    });
  let reporters = newTerm();
  let unseen = new Map<number, Unseen>();

  function reportingOf(row: Parameters<Findings["state"]>[0]): Reporting | { readonly kind: "unwatched" } {
    const source = options.viewSourceOf(row.source);
    if (source === undefined) return { kind: "unwatched" };
    const reporting = reporters.reporting({ ...row, source });
    // The views of a source never show pushed findings, so a view without the finding does not end it.
    return row.pushed && reporting.kind !== "reported" ? { kind: "unwatched" } : reporting;
  }

  /** True if a view reports the finding now. */
  function isReported({ source, fingerprintKey }: Pick<Entry, "source" | "fingerprintKey">): boolean {
    const viewSource = options.viewSourceOf(source);
    return viewSource !== undefined && reporters.reports(viewSource, fingerprintKey);
  }

  /** The second at which the finding's grace is over; undefined while it may be reported. */
  function dueAt(entry: Entry): number | undefined {
    const row = entry.row();
    const reporting = reportingOf(row);
    if (reporting.kind !== "unseen") unseen.delete(entry.fingerprintKey);
    let missing: { readonly sinceSeconds: number; readonly waits: boolean };
    switch (reporting.kind) {
      case "ended":
      case "expired":
        missing = { sinceSeconds: reporting.atSeconds, waits: reporting.kind === "expired" };
        break;
      case "unseen":
        missing = unseenOf(entry, row);
        break;
      default:
        return undefined;
    }
    // The intake may have taken a report with this finding whose view is not updated yet, because its other events are being written.
    const since = Math.max(missing.sinceSeconds, entry.reportedAtSeconds);
    return since + (missing.waits ? options.expiredGraceSeconds : graceSeconds);
  }

  function unseenOf({ fingerprintKey: key }: Entry, row: Row): Unseen {
    const known = unseen.get(key) ?? { sinceSeconds: seconds(), waits: false };
    unseen.set(key, known);
    const { scope } = known;
    const source = scope && options.viewSourceOf(row.source);
    const waits = scope !== undefined && source !== undefined && options.expires(row) &&
      reporters.mayHaveExpired(source, { eventType: row.eventType, scope });
    // Its report was recreated without it, or its workload ended: the usual grace begins.
    if (known.waits && !waits) known.sinceSeconds = seconds();
    known.waits = waits;
    return known;
  }

  function isDue(entry: Entry): boolean {
    if (!entry.exists || !entry.isFinding || entry.isResolved || isReported(entry)) return false;
    const at = dueAt(entry);
    return at !== undefined && seconds() >= at;
  }

  /**
   * Why a finding ended, as far as this can be observed. A finding that this term never showed counts as no longer reported
   * only if there is a report on its workload and part without it.
   */
  function reasonOf(entry: Entry, reporting: Reporting | { readonly kind: "unwatched" }): ResolvedReason {
    if (reporting.kind === "ended") return reporting.reason;
    const scope = unseen.get(entry.fingerprintKey)?.scope;
    const { source: name, eventType } = entry.row();
    const source = options.viewSourceOf(name);
    const isCovered = reporting.kind === "unseen" && scope !== undefined && source !== undefined &&
      reporters.covers(source, { eventType, scope });
    return isCovered ? "NotReported" : "ReportGone";
  }

  /** Reads the scope of an unseen finding; false if it cannot be read now. */
  async function readScope(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const row = entry.row();
    const known = unseen.get(entry.fingerprintKey);
    if (!known || known.scope) return true;
    try {
      const scope = await options.scopeOf(row);
      if (scope) known.scope = scope;
      return scope !== undefined;
    } catch (error) {
      if (!signal.aborted) {
        log.warn("Finding could not be read now", { namespace: row.namespace, name: row.name, error });
      }
      return false;
    }
  }

  /** True if the finding is Resolved although a later report has it: the answer to the status write was lost. */
  function hasReturned(entry: Entry): boolean {
    if (!entry.exists || !entry.isFinding || !entry.isResolved || !isReported(entry)) return false;
    const reportedAt = clock.now() - (clock.monotonic() - entry.reportedAtSeconds * 1_000);
    return reportedAt >= entry.resolvedAt && entry.reportedAtSeconds > 0;
  }

  async function evaluate(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<number> {
    let resolved = 0;
    let scanned = 0;
    for (const entry of index.entries()) {
      if (++scanned % SCAN_SLICE === 0 && !await elapsed(0, { signal, sleep })) return resolved;
      if (hasReturned(entry)) repeats.reopen(entry.row());
      if (!isDue(entry)) continue;
      beat.within(ROUND_MS);
      if (!await spacing(signal)) return resolved;
      options.assertLeader();
      if (!await readScope(entry, signal)) continue;
      // It may have been reported while this waited for its turn.
      if (isDue(entry) && await resolve(entry, signal)) resolved++;
    }
    // Findings that ended before this have been resolved already, with a wide margin.
    const settled = seconds() - 2 * graceSeconds - 3_600;
    const expired = settled - options.expiredGraceSeconds;
    reporters.forgetBefore({ ended: settled, expired });
    for (const [key, { sinceSeconds }] of unseen) if (sinceSeconds < expired) unseen.delete(key);
    return resolved;
  }

  async function resolve(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const row = entry.row();
    const { source, fingerprintKey } = entry;
    const reporting = reportingOf(row);
    const seenSeconds = "atSeconds" in reporting ? reporting.atSeconds : entry.reportedAtSeconds || undefined;
    const end = {
      resolvedAt: clock.now(),
      reason: reasonOf(entry, reporting),
      ...(seenSeconds !== undefined &&
        { lastSeenAt: clock.now() - (clock.monotonic() - seenSeconds * 1_000) }),
    };
    try {
      return await repeats.resolve(row, end, signal);
    } catch (error) {
      if (!signal.aborted) {
        log.warn("Finding could not be resolved now", { namespace: row.namespace, name: row.name, error });
      }
      return false;
    } finally {
      // A view may report it again by now. If a filter drops its events, nothing else makes it Active again.
      if (isReported({ source, fingerprintKey })) repeats.reopen(row);
    }
  }

  return {
    begin: (view) => reporters.begin(view),
    report: (view, findings) => reporters.report(view, findings),
    gone: (view, key) => reporters.gone(view, key),
    complete: (view) => reporters.complete(view),
    lost: (view, why) => reporters.lost(view, why),
    state: (row) => reportingOf(row).kind,
    evaluate,
    async run(signal, beat = NO_BEAT) {
      reporters = newTerm();
      unseen = new Map();
      const tickMs = Math.max(200, Math.min(MAX_TICK_MS, graceSeconds * 1_000 / 4));
      for (;;) {
        beat.within(ROUND_MS);
        if (!await elapsed(tickMs, { signal, sleep })) return;
        if (!index.complete) continue;
        try {
          await evaluate(signal, beat);
        } catch (error) {
          if (!signal.aborted) log.warn("Findings could not be evaluated now", { error });
        }
      }
    },
  };
}
