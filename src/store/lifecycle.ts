/** The leader's watch over findings: what no complete view reports any more is Resolved after a grace. */
import type { Clock } from "../model/clock.ts";
import type { Views } from "../model/view.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { ObservationIndex, Row } from "./index.ts";
import { createLeaderWrites } from "./leader_writes.ts";
import type { StatusDelta, StatusWriter, Target } from "./status_writer.ts";
import { FingerprintTable, hexWords } from "./fingerprint_table.ts";
import { type Standing, ViewBook, type ViewBookOptions } from "./view_book.ts";

export interface LifecycleOptions extends Pick<ViewBookOptions, "eventTypesOf" | "sharedNamespaces"> {
  readonly index: ObservationIndex;
  readonly writer: StatusWriter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly assertLeader: () => void;
  /** RESOLVE_GRACE_SECONDS. */
  readonly graceSeconds: number;
  /** The source whose views report the findings of this one; undefined for pushed sources, which have none. */
  readonly viewSourceOf: (source: string) => string | undefined;
  /** False for namespaces of another shard: no view of ours speaks of what is stored there. */
  readonly inScope?: (namespace: string) => boolean;
  readonly resolvesPerSecond?: number;
  readonly sleep?: Sleep;
}

/** How a finding stands: `none` where it was pushed and no view reports it. */
export type FindingStanding = Standing["kind"] | "none";

/** The leader's lifecycle of findings. Feeds of state sources call its `Views` side. */
export interface Lifecycle extends Views {
  /** How a stored finding stands in this term. */
  standing(row: Pick<Row, "source" | "eventType" | "namespace" | "fingerprint" | "pushed">): FindingStanding;
  /** Resolves what is due now; resolves with how many were. */
  evaluate(signal: AbortSignal): Promise<number>;
  /** Evaluates until `signal` aborts; a term begins with nothing known. */
  run(signal: AbortSignal): Promise<void>;
  readonly book: ViewBook;
}

const SCAN_SLICE = 2_000;
const MAX_TICK_MS = 30_000;
const NOTHING: StatusDelta = { occurrences: 0, firstSeenAt: Infinity, lastSeenAt: -Infinity };

/** Creates the lifecycle of a process; its book starts anew with each term. */
export function createLifecycle(options: LifecycleOptions): Lifecycle {
  const { index, writer, clock, log, graceSeconds } = options;
  const { sleep } = options;
  const writes = createLeaderWrites({ ...options, perSecond: options.resolvesPerSecond ?? 50 });
  const seconds = () => Math.floor(clock.monotonic() / 1_000);
  const returned = new Set<string>();
  const newBook = () =>
    new ViewBook({
      seconds,
      sharedNamespaces: options.sharedNamespaces,
      ...(options.eventTypesOf && { eventTypesOf: options.eventTypesOf }),
      onReturn: (fingerprint) => resolving.has(fingerprint) && returned.add(fingerprint),
    });
  /** Being resolved right now, by 64 bits of their fingerprints. */
  const resolving = new Set<string>();
  /** Since when complete views have not spoken of a stored finding that this book never heard of. */
  let unheardSince = new FingerprintTable();
  let book = newBook();

  function standingOf(row: Parameters<Lifecycle["standing"]>[0]): Standing | { readonly kind: "none" } {
    const source = options.viewSourceOf(row.source);
    if (options.inScope?.(row.namespace) === false) return { kind: "pending" };
    if (source === undefined) return { kind: "none" };
    const standing = book.standing({ ...row, source });
    // That a view is silent about what was pushed says nothing: it never was the one to tell.
    return row.pushed && standing.kind !== "reported" ? { kind: "none" } : standing;
  }

  /** Also true where nothing could: a pushed source has no views. */
  function isReported(slot: number): boolean {
    const source = options.viewSourceOf(index.rows.source(slot));
    if (source === undefined) return true;
    const { fingerprint } = index.rows.columns;
    return book.reports(source, fingerprint[slot * 4] ?? 0, fingerprint[slot * 4 + 1] ?? 0);
  }

  /** The second since which nothing reports the finding; undefined while something may. */
  function missingSince(row: Row): number | undefined {
    const standing = standingOf(row);
    const [high = 0, low = 0] = hexWords(row.fingerprint, 2);
    if (standing.kind !== "unheard") {
      if (unheardSince.size > 0) unheardSince.delete(high, low);
      return standing.kind === "ended" ? standing.atSeconds : undefined;
    }
    const since = unheardSince.get(high, low);
    if (since !== undefined) return since;
    unheardSince.set(high, low, seconds());
    return seconds();
  }

  async function evaluate(signal: AbortSignal): Promise<number> {
    let resolved = 0;
    let scanned = 0;
    for (const slot of index.slots()) {
      if (++scanned % SCAN_SLICE === 0 && !await elapsed(0, { signal, sleep })) return resolved;
      if (!index.rows.has(slot) || !index.rows.finding(slot) || index.rows.resolved(slot)) continue;
      if (isReported(slot)) continue;
      const row = index.rows.row(slot);
      const since = missingSince(row);
      if (since === undefined || seconds() - since < graceSeconds) continue;
      if (!await writes.turn(signal)) return resolved;
      if (await resolve(row, signal)) resolved++;
    }
    // By then every stored finding among them has been resolved, more than once over.
    const settled = seconds() - 2 * graceSeconds - 3_600;
    book.forgetEndedBefore(settled);
    unheardSince.keep((since) => since >= settled);
    return resolved;
  }

  async function resolve(row: Row, signal: AbortSignal): Promise<boolean> {
    // While waiting for the turn it may have been reported again.
    if (missingSince(row) === undefined) return false;
    const target: Target = row;
    const short = row.fingerprint.slice(0, 16);
    resolving.add(short);
    try {
      const result = await writer.apply(target, { ...NOTHING, resolvedAt: clock.now() }, signal);
      if (returned.has(short)) await writer.apply(target, { ...NOTHING, returned: 1 }, signal);
      return result === "written";
    } catch (error) {
      if (!signal.aborted) {
        log.warn("Finding could not be resolved now", { namespace: row.namespace, name: row.name, error });
      }
      return false;
    } finally {
      resolving.delete(short);
      returned.delete(short);
    }
  }

  return {
    begin: (view) => book.begin(view),
    report: (view, findings) => book.report(view, findings),
    gone: (view, key) => book.gone(view, key),
    complete: (view) => book.complete(view),
    lost: (view, why) => book.lost(view, why),
    standing: (row) => standingOf(row).kind,
    evaluate,
    async run(signal) {
      book = newBook();
      unheardSince = new FingerprintTable();
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
    get book() {
      return book;
    },
  };
}
