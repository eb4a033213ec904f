/** Deletes Observations whose TTL is over, that the storage budget evicts, or that are stored twice. Runs on the leader. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { elapsed } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Budget } from "./budget.ts";
import { createDeletes, type DeletesOptions, errorType } from "./deletes.ts";
import type { FindingState } from "./findings.ts";
import type { Entry, Row } from "./index/mod.ts";

export interface ExpiryOptions extends DeletesOptions {
  readonly budget: Budget;
  readonly log: Logger;
  /** The controller's namespace, which holds Observations that their own namespaces refused. */
  readonly ownNamespace: string;
  readonly metrics: DeletesOptions["metrics"] & Pick<Metrics, "gcRuns" | "gcDuration">;
  readonly stateOf: (row: Row) => FindingState;
  /** OBSERVATION_TTL_SECONDS, for Observations without `ttlSecondsAfterCreation`. */
  readonly ttlSeconds: number;
  /** RESOLVED_TTL_SECONDS, from when a finding was resolved, whatever its own TTL. */
  readonly resolvedTtlSeconds: number;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** False until it is known which sources have views: a finding of such a source must not be treated as a pushed one. */
  readonly ready?: () => boolean;
}

/** The expiry of a process. */
export interface Expiry {
  /** Deletes the Observations whose TTL is over, once, within the time-out; resolves with their number. */
  collect(signal: AbortSignal): Promise<number>;
  /** Evicts until the budget is kept; resolves with the number of deleted Observations. */
  evict(signal: AbortSignal): Promise<number>;
  /** Deletes copies in the controller's namespace whose own namespace has the Observation by now; resolves with their number. */
  merge(signal: AbortSignal): Promise<number>;
  /**
   * Until `signal` aborts: collects as soon as the index is complete and `ready`, then at every interval; evicts
   * whenever the budget is exceeded; merges every minute.
   */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

const SCAN_SLICE = 5_000;
const READY_POLL_MS = 500;
const BUDGET_CHECK_MS = 1_000;
const MERGE_MS = 60_000;
/** Longest time of one delete, with its attempts and the waits between them, before the liveness check fails. */
const ROUND_MS = 600_000;

/** Creates the expiry of a process. */
export function createExpiry(options: ExpiryOptions): Expiry {
  const { index, budget, clock, log, metrics, stateOf, sleep } = options;
  const deletes = createDeletes(options);
  for (const error_type of ["timeout", "internal"]) {
    metrics.gcErrors.inc({ operation: "collect", error_type }, 0);
  }
  for (const operation of ["evict", "merge"]) metrics.gcErrors.inc({ operation, error_type: "internal" }, 0);

  async function collect(signal: AbortSignal): Promise<number> {
    const startedAt = clock.monotonic();
    metrics.gcRuns.inc();
    const late = new AbortController();
    const done = new AbortController();
    const end = () => late.abort();
    signal.addEventListener("abort", end, { once: true });
    void elapsed(options.timeoutMs, { signal: done.signal, sleep }).then((isLate) => {
      if (!isLate) return;
      metrics.gcErrors.inc({ operation: "collect", error_type: "timeout" });
      end();
    });
    try {
      const expired = await findExpired(late.signal);
      return await deletes.all(stillExpired(expired), "expired", late.signal);
    } catch (error) {
      if (signal.aborted) return 0;
      metrics.gcErrors.inc({ operation: "collect", error_type: errorType(error) });
      log.warn("Garbage collection ended early", { error });
      return 0;
    } finally {
      done.abort();
      signal.removeEventListener("abort", end);
      metrics.gcDuration.observe((clock.monotonic() - startedAt) / 1_000);
    }
  }

  /** Returns entries, not copied rows: a million may be due at once. */
  async function findExpired(signal: AbortSignal): Promise<Entry[]> {
    const expired: Entry[] = [];
    const now = clock.now();
    let scanned = 0;
    for (const entry of index.entries()) {
      if (++scanned % SCAN_SLICE === 0 && !await elapsed(0, { signal, sleep })) break;
      if (entry.exists && isExpired(entry, now)) expired.push(entry);
    }
    return expired;
  }

  function* stillExpired(entries: readonly Entry[]): Generator<Row> {
    for (const entry of entries) {
      if (entry.exists && isExpired(entry, clock.now())) yield entry.row();
    }
  }

  function isExpired(entry: Entry, now: number): boolean {
    const isResolvedFinding = entry.isFinding && entry.isResolved;
    const ttlSeconds = isResolvedFinding
      ? options.resolvedTtlSeconds
      : entry.ttlSeconds || options.ttlSeconds;
    const ttlMs = ttlSeconds * 1_000;
    // A TTL never runs from a time before the creation.
    if (entry.createdAt + ttlMs > now) return false;
    if (!entry.isFinding) return true;
    const row = entry.row();
    return now >= livesFrom(row, stateOf(row)) + ttlMs;
  }

  async function evict(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<number> {
    let evicted = 0;
    while (!signal.aborted) {
      const victims = budget.victims();
      if (victims.length === 0) break;
      const deleted = await deletes.all(beating(victims, beat), "budget", signal);
      evicted += deleted;
      // All of them failed or had changed: the next round tries again, not this one.
      if (deleted === 0) break;
    }
    return evicted;
  }

  async function runCollections(signal: AbortSignal, beat: Beat): Promise<void> {
    const ready = () => index.complete && (options.ready?.() ?? true);
    beat.idle();
    while (!ready()) if (!await elapsed(READY_POLL_MS, { signal, sleep })) return;
    do {
      beat.within(options.timeoutMs + ROUND_MS);
      await collect(signal);
      beat.within(options.intervalMs + ROUND_MS);
    } while (await elapsed(options.intervalMs, { signal, sleep }));
  }

  function merge(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<number> {
    return deletes.all(beating([...index.doubles(options.ownNamespace)], beat), "merged", signal);
  }

  async function runEvery(
    intervalMs: number,
    { operation, work }: {
      operation: "evict" | "merge";
      work: (signal: AbortSignal, beat: Beat) => Promise<number>;
    },
    { signal, beat }: { readonly signal: AbortSignal; readonly beat: Beat },
  ): Promise<void> {
    for (;;) {
      beat.within(intervalMs + ROUND_MS);
      if (!await elapsed(intervalMs, { signal, sleep })) return;
      if (!index.complete) continue;
      const startedAt = clock.monotonic();
      try {
        const deleted = await work(signal, beat);
        const seconds = (clock.monotonic() - startedAt) / 1_000;
        if (deleted > 0) log.info("Observations deleted", { operation, deleted, seconds });
      } catch (error) {
        if (signal.aborted) return;
        metrics.gcErrors.inc({ operation, error_type: errorType(error) });
        log.warn("Deleting Observations ended early", { operation, error });
      }
    }
  }

  return {
    collect,
    evict,
    merge,
    async run(signal, beat = NO_BEAT) {
      const evicting = { signal, beat: beat.of("evict") };
      await Promise.all([
        runCollections(signal, beat.of("collect")),
        runEvery(BUDGET_CHECK_MS, { operation: "evict", work: evict }, evicting),
        runEvery(MERGE_MS, { operation: "merge", work: merge }, { signal, beat: beat.of("merge") }),
      ]);
    },
  };
}

/** Yields the rows, with a beat for each. */
function* beating(rows: Iterable<Row>, beat: Beat): Generator<Row> {
  for (const row of rows) {
    beat.within(ROUND_MS);
    yield row;
  }
}

/** The time at which the TTL of a finding begins; Infinity while the finding is reported or may be. */
export function livesFrom(
  row: Pick<Row, "active" | "createdAt" | "lastSeenAt" | "resolvedAt">,
  state: FindingState,
): number {
  if (state === "unknown") return Infinity;
  if (!row.active) return row.resolvedAt;
  switch (state) {
    case "unwatched":
      return Math.max(row.createdAt, row.lastSeenAt);
    case "absent":
      return row.createdAt;
    // One that ended or is unseen is Resolved after its grace, and its TTL runs from there.
    case "reported":
    case "ended":
    case "expired":
    case "unseen":
      return Infinity;
  }
}
