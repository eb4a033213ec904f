/** The storage budget: what is refused when it is used up, and what the leader evicts to get back under it. */
import type { Clock } from "../model/clock.ts";
import type { NormalEvent } from "../model/event.ts";
import { SEVERITIES } from "../model/observation.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { type Deletes, errorType } from "./deletes.ts";
import type { ObservationIndex, Row } from "./index.ts";
import type { SourceTally } from "./tallies.ts";

export interface BudgetOptions {
  readonly index: ObservationIndex;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "storageBudgetUsage" | "gcErrors">;
  readonly maxCount: number;
  readonly maxBytes: number;
  /** How far a replica may overshoot while the leader makes room: DEDUP_RATE_BURST. */
  readonly burst: number;
  /** Told when the budget is used up, and when there is room again. */
  readonly onChange?: (state: BudgetState) => void;
}

/** `full` from the first refusal or eviction on, until there is room again. */
export type BudgetState = "room" | "full";

/** The budget of a process. */
export interface Budget {
  /** False where the event would be the next to be evicted. Pure but for noting that the budget is full. */
  admits(event: NormalEvent): boolean;
  /** Share in use: the larger of count and bytes. */
  usage(): number;
  readonly state: BudgetState;
  /** Sets the gauge and sees whether there is room again. Call it every few seconds on every replica. */
  observe(): void;
  /** Evicts until within the budget; resolves with how many were deleted. The leader's. */
  evict(deletes: Deletes, signal: AbortSignal): Promise<number>;
  /** Evicts whenever it is exceeded, until `signal` aborts. The leader's. */
  run(deletes: Deletes, signal: AbortSignal, options?: { readonly sleep?: Sleep }): Promise<void>;
}

/** There is room again below this share: a recovery is announced once, not at every delete. */
const RECOVERED = 0.95;
const CHECK_MS = 1_000;
/** Victims chosen in one scan. */
const BATCH = 500;
/** From the first to be evicted to the last. */
const BY_SEVERITY = [...SEVERITIES.keys()].reverse();

/** Observations of one source, severity and phase: the unit of eviction. */
interface Group {
  readonly source: string;
  readonly severity: number;
  readonly resolved: boolean;
}

/** Creates the budget of a process. */
export function createBudget(options: BudgetOptions): Budget {
  const { index, clock, log, metrics, maxCount, maxBytes, burst } = options;
  let state: BudgetState = "room";
  metrics.gcErrors.inc({ operation: "evict", error_type: "internal" }, 0);

  function become(next: BudgetState): void {
    if (next === state) return;
    state = next;
    const { count, bytes } = index.tallies;
    if (next === "full") log.warn("Storage budget is used up", { count, bytes, maxCount, maxBytes });
    else log.info("Storage budget has room again", { count, bytes, maxCount, maxBytes });
    options.onChange?.(next);
  }

  function usage(): number {
    return Math.max(index.tallies.count / maxCount, index.tallies.bytes / maxBytes);
  }

  /** How many times its share a source uses, with `more` Observations added. */
  function shareUsed(tally: SourceTally | undefined, sources: number, more = 0): number {
    const shares = Math.max(sources, 1);
    return Math.max(
      ((tally?.count ?? 0) + more) * shares / maxCount,
      (tally?.bytes ?? 0) * shares / maxBytes,
    );
  }

  /** The source furthest over its share among those that pass. */
  function furthest(passes: (tally: SourceTally) => boolean): string | undefined {
    const { sources } = index.tallies;
    let found: string | undefined;
    let most = -1;
    for (const [source, tally] of sources) {
      const used = shareUsed(tally, sources.size);
      if (used <= most || !passes(tally)) continue;
      most = used;
      found = source;
    }
    return found;
  }

  function admits(event: NormalEvent): boolean {
    if (index.tallies.count < maxCount && index.tallies.bytes < maxBytes) return true;
    const { sources, count, bytes, resolved } = index.tallies;
    become("full");
    const own = sources.get(event.source);
    const among = sources.size + (own ? 0 : 1);
    const used = shareUsed(own, among, 1);
    if (used <= 1) return true;
    const overshoot = Math.max(count - maxCount, (bytes - maxBytes) / (maxBytes / maxCount));
    if (overshoot >= burst) return false;
    if (resolved > 0) return true;
    for (const [source, tally] of sources) {
      if (source !== event.source && shareUsed(tally, among) > used) return true;
    }
    return outranksOwn(event, own);
  }

  /**
   * True where its source holds something that goes before the event. Among equals the older act goes; of equal
   * findings the stored one stays: its source would report it again, and so evict another, without end.
   */
  function outranksOwn(event: NormalEvent, own: SourceTally | undefined): boolean {
    const severity = SEVERITIES.indexOf(event.severity);
    const lowest = BY_SEVERITY.find((each) => (own?.active[each] ?? 0) > 0);
    if (lowest === undefined) return false;
    return lowest > severity || (lowest === severity && event.kind === "occurrence");
  }

  function excess(): number {
    const { count, bytes } = index.tallies;
    const meanBytes = Math.max(1, bytes / Math.max(1, count));
    return Math.ceil(Math.max(count - maxCount, (bytes - maxBytes) / meanBytes));
  }

  /** Resolved ones first; then of the source furthest over its share; there the lowest severity. */
  function nextGroup(): Group | undefined {
    for (const resolved of [true, false]) {
      const counts = (tally: SourceTally) => resolved ? tally.resolved : tally.active;
      const source = furthest((tally) => counts(tally).some((count) => count > 0));
      const tally = source === undefined ? undefined : index.tallies.sources.get(source);
      const severity = tally && BY_SEVERITY.find((each) => (counts(tally)[each] ?? 0) > 0);
      if (source !== undefined && severity !== undefined) return { source, severity, resolved };
    }
    return undefined;
  }

  /** How many of the group go before another source is furthest over its share. */
  function room({ source }: Group): number {
    const { sources } = index.tallies;
    const own = sources.get(source);
    let next = 0;
    for (const [other, tally] of sources) {
      if (other !== source) next = Math.max(next, shareUsed(tally, sources.size));
    }
    const over = shareUsed(own, sources.size) - next;
    // Where sources are level, turns of one would cost a scan each.
    const turn = Math.ceil((own?.count ?? 0) / 1_000);
    return Math.max(turn, Math.floor(over * maxCount / Math.max(1, sources.size)));
  }

  /** The oldest `count` of a group. */
  function oldest({ source, severity, resolved }: Group, count: number): Row[] {
    const { rows } = index;
    const slots: number[] = [];
    for (const slot of index.slots()) {
      if (
        rows.severity(slot) === severity && rows.resolved(slot) === resolved && rows.source(slot) === source
      ) {
        slots.push(slot);
      }
    }
    const { createdAtSeconds } = rows.columns;
    slots.sort((a, b) => (createdAtSeconds[a] ?? 0) - (createdAtSeconds[b] ?? 0));
    return slots.slice(0, count).map((slot) => rows.row(slot));
  }

  async function evict(deletes: Deletes, signal: AbortSignal): Promise<number> {
    let evicted = 0;
    while (!signal.aborted) {
      const over = excess();
      const group = over > 0 ? nextGroup() : undefined;
      if (!group) break;
      become("full");
      const count = Math.min(BATCH, over, group.resolved ? over : room(group));
      const deleted = await deletes.all(oldest(group, count), "budget", signal);
      evicted += deleted;
      // Every one failed or had changed: not the same again at once.
      if (deleted === 0) break;
    }
    return evicted;
  }

  return {
    admits,
    usage,
    get state() {
      return state;
    },
    observe() {
      metrics.storageBudgetUsage.set(usage());
      if (state === "full" && usage() < RECOVERED) become("room");
    },
    evict,
    async run(deletes, signal, { sleep } = {}) {
      while (await elapsed(CHECK_MS, { signal, sleep })) {
        if (!index.complete || excess() <= 0) continue;
        const startedAt = clock.monotonic();
        try {
          const evicted = await evict(deletes, signal);
          log.info("Observations evicted", { evicted, seconds: (clock.monotonic() - startedAt) / 1_000 });
        } catch (error) {
          if (signal.aborted) return;
          metrics.gcErrors.inc({ operation: "evict", error_type: errorType(error) });
          log.warn("Eviction ended early", { error });
        }
      }
    },
  };
}
