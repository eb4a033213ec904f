/** Garbage collection: the leader deletes what has outlived its TTL. */
import type { Clock } from "../model/clock.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { type Deletes, errorType } from "./deletes.ts";
import type { ObservationIndex, Row } from "./index.ts";
import type { FindingStanding } from "./lifecycle.ts";

export interface GcOptions {
  readonly index: ObservationIndex;
  readonly deletes: Deletes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "gcRuns" | "gcDuration" | "gcErrors">;
  readonly standing: (row: Row) => FindingStanding;
  /** False for namespaces of another shard. */
  readonly inScope?: (namespace: string) => boolean;
  /** OBSERVATION_TTL_SECONDS, for what says none of its own. */
  readonly ttlSeconds: number;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** False while it is not known yet which sources have views: none of their findings may be taken for a pushed one. */
  readonly ready?: () => boolean;
  readonly sleep?: Sleep;
}

/** The collector of a process. */
export interface Gc {
  /** Collects once, within the time-out; resolves with how many were deleted. */
  collect(signal: AbortSignal): Promise<number>;
  /** Collects as soon as the index is complete and `ready`, then at every interval, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const SCAN_SLICE = 5_000;
const READY_POLL_MS = 500;

/** Creates the collector of a process. */
export function createGc(options: GcOptions): Gc {
  const { index, deletes, clock, log, metrics, standing, sleep } = options;
  for (const error_type of ["timeout", "internal"]) {
    metrics.gcErrors.inc({ operation: "collect", error_type }, 0);
  }

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
      return await deletes.all(stillThere(expired), "expired", late.signal);
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

  /** Slots, not rows: a million of them may be due at once. */
  async function findExpired(signal: AbortSignal): Promise<number[]> {
    const expired: number[] = [];
    const now = clock.now();
    let scanned = 0;
    for (const slot of index.slots()) {
      if (++scanned % SCAN_SLICE === 0 && !await elapsed(0, { signal, sleep })) break;
      if (index.rows.has(slot) && isExpired(slot, now)) expired.push(slot);
    }
    return expired;
  }

  function* stillThere(slots: readonly number[]): Generator<Row> {
    for (const slot of slots) {
      if (index.rows.has(slot) && isExpired(slot, clock.now())) yield index.rows.row(slot);
    }
  }

  function isExpired(slot: number, now: number): boolean {
    const { columns } = index.rows;
    const ttlMs = (columns.ttlSeconds[slot] || options.ttlSeconds) * 1_000;
    const createdAt = (columns.createdAtSeconds[slot] ?? 0) * 1_000;
    // Whatever the TTL runs from, it is not before the creation.
    if (createdAt + ttlMs > now) return false;
    if (options.inScope?.(index.rows.namespace(slot)) === false) return false;
    if (!index.rows.finding(slot)) return true;
    const row = index.rows.row(slot);
    return now >= livesFrom(row, standing(row)) + ttlMs;
  }

  return {
    collect,
    async run(signal) {
      const ready = () => index.complete && (options.ready?.() ?? true);
      while (!ready()) if (!await elapsed(READY_POLL_MS, { signal, sleep })) return;
      do await collect(signal); while (await elapsed(options.intervalMs, { signal, sleep }));
    },
  };
}

/** When the TTL of a finding begins; never (Infinity) while it is, or may be, reported. */
function livesFrom(row: Row, standing: FindingStanding): number {
  if (standing === "pending") return Infinity;
  if (!row.active) return row.resolvedAt;
  switch (standing) {
    case "none":
      return Math.max(row.createdAt, row.lastSeenAt);
    case "absent":
      return row.createdAt;
    // Ended or unheard of: it is Resolved after its grace, and its TTL runs from there.
    case "reported":
    case "ended":
    case "unheard":
      return Infinity;
  }
}
