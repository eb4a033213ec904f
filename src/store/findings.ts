/** The leader's watch over findings: those that no complete view reports any more become Resolved after a grace. */
import type { Clock } from "../model/clock.ts";
import type { Views } from "../model/view.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import { fingerprintKey } from "./fingerprint_key.ts";
import type { Entry, ObservationIndex, Row } from "./index/mod.ts";
import { Reporters, type ReportersOptions, type Reporting } from "./reporters.ts";
import { NO_CHANGE, type Updates } from "./updates.ts";
import { createSpacing } from "./write_spacing.ts";

export interface FindingsOptions extends Pick<ReportersOptions, "eventTypesOf" | "sharedNamespaces"> {
  readonly index: ObservationIndex;
  readonly updates: Updates;
  readonly clock: Clock;
  readonly log: Logger;
  /** Throws where the lease may be another's by now. */
  readonly assertLeader: () => void;
  /** RESOLVE_GRACE_SECONDS. */
  readonly graceSeconds: number;
  /** The source whose views report the findings of this one; undefined for pushed sources, which have none. */
  readonly viewSourceOf: (source: string) => string | undefined;
  /** False for namespaces of another shard: no view of ours reports findings that are stored there. */
  readonly inScope?: (namespace: string) => boolean;
  readonly resolvesPerSecond?: number;
  readonly sleep?: Sleep;
}

/** Whether a stored finding is reported: `unwatched` where it was pushed and no view reports findings of its source. */
export type FindingState = Reporting["kind"] | "unwatched";

/** The leader's findings. Feeds of state sources call its `Views` side. */
export interface Findings extends Views {
  /** Whether a stored finding is reported in this term. */
  state(row: Pick<Row, "source" | "eventType" | "namespace" | "fingerprint" | "pushed">): FindingState;
  /** Resolves what is due now; resolves with how many were. */
  evaluate(signal: AbortSignal): Promise<number>;
  /** Evaluates until `signal` aborts; a term begins with nothing known. */
  run(signal: AbortSignal): Promise<void>;
}

const SCAN_SLICE = 2_000;
const MAX_TICK_MS = 30_000;

/** Creates the findings of a process; their reporters start anew with each term. */
export function createFindings(options: FindingsOptions): Findings {
  const { index, updates, clock, log, graceSeconds, sleep } = options;
  const turn = createSpacing({ ...options, perSecond: options.resolvesPerSecond ?? 50 });
  const seconds = () => Math.floor(clock.monotonic() / 1_000);
  /** Keys of findings that are being resolved, and of those among them that were reported meanwhile. */
  const resolving = new Set<number>(), returned = new Set<number>();
  const newTerm = () =>
    new Reporters({
      seconds,
      sharedNamespaces: options.sharedNamespaces,
      ...(options.eventTypesOf && { eventTypesOf: options.eventTypesOf }),
      onReturn: (key) => resolving.has(key) && returned.add(key),
    });
  let reporters = newTerm();
  /** The second since which a stored finding is unseen. */
  let unseenSince = new Map<number, number>();

  function reportingOf(row: Parameters<Findings["state"]>[0]): Reporting | { readonly kind: "unwatched" } {
    const source = options.viewSourceOf(row.source);
    if (options.inScope?.(row.namespace) === false) return { kind: "unknown" };
    if (source === undefined) return { kind: "unwatched" };
    const reporting = reporters.reporting({ ...row, source });
    // The views of its source do not show a pushed finding: their silence says nothing about it.
    return row.pushed && reporting.kind !== "reported" ? { kind: "unwatched" } : reporting;
  }

  /** Also true where no view could report the finding: a pushed source has none. */
  function isReported({ source, fingerprintKey }: Entry): boolean {
    const viewSource = options.viewSourceOf(source);
    return viewSource === undefined || reporters.reports(viewSource, fingerprintKey);
  }

  /** The second since which the finding is not reported; undefined while it may be. */
  function missingSince(row: Row): number | undefined {
    const reporting = reportingOf(row);
    const key = fingerprintKey(row.fingerprint);
    if (reporting.kind !== "unseen") {
      unseenSince.delete(key);
      return reporting.kind === "ended" ? reporting.atSeconds : undefined;
    }
    const since = unseenSince.get(key) ?? seconds();
    unseenSince.set(key, since);
    return since;
  }

  async function evaluate(signal: AbortSignal): Promise<number> {
    let resolved = 0;
    let scanned = 0;
    for (const entry of index.entries()) {
      if (++scanned % SCAN_SLICE === 0 && !await elapsed(0, { signal, sleep })) return resolved;
      if (!entry.exists || !entry.isFinding || entry.isResolved || isReported(entry)) continue;
      const row = entry.row();
      const since = missingSince(row);
      if (since === undefined || seconds() - since < graceSeconds) continue;
      if (!await turn(signal)) return resolved;
      options.assertLeader();
      if (await resolve(row, signal)) resolved++;
    }
    // What is stored of older ends has been resolved, more than once over.
    const settled = seconds() - 2 * graceSeconds - 3_600;
    reporters.forgetEndedBefore(settled);
    for (const [key, since] of unseenSince) if (since < settled) unseenSince.delete(key);
    return resolved;
  }

  async function resolve(row: Row, signal: AbortSignal): Promise<boolean> {
    // It may have been reported while this waited for its turn.
    if (missingSince(row) === undefined) return false;
    const key = fingerprintKey(row.fingerprint);
    resolving.add(key);
    try {
      const result = await updates.addToStatus(row, { ...NO_CHANGE, resolvedAt: clock.now() }, signal);
      if (returned.has(key)) await updates.addToStatus(row, { ...NO_CHANGE, returned: 1 }, signal);
      return result === "written";
    } catch (error) {
      if (!signal.aborted) {
        log.warn("Finding could not be resolved now", { namespace: row.namespace, name: row.name, error });
      }
      return false;
    } finally {
      resolving.delete(key);
      returned.delete(key);
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
    async run(signal) {
      reporters = newTerm();
      unseenSince = new Map();
      const tickMs = Math.max(200, Math.min(MAX_TICK_MS, graceSeconds * 1_000 / 4));
      while (await elapsed(tickMs, { signal, sleep })) {
        if (!index.complete) continue;
        try {
          await evaluate(signal);
        } catch (error) {
          if (!signal.aborted) log.warn("Findings could not be evaluated now", { error });
        }
      }
    },
  };
}
