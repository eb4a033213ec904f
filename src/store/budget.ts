/** The storage budget: which events are refused when it is used up, and which Observations are the next to be evicted. */
import type { NormalEvent } from "../model/event.ts";
import { SEVERITIES } from "../model/observation.ts";
import type { EventDraft } from "../kube/events.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Entry, ObservationIndex, Row, SourceTally } from "./index/mod.ts";

export interface BudgetOptions {
  readonly index: ObservationIndex;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "storageBudgetUsage">;
  readonly maxCount: number;
  readonly maxBytes: number;
  /** How far a replica may overshoot while the leader makes room: DEDUP_RATE_BURST. */
  readonly burst: number;
  /** Called when the budget is used up, and when there is room again. */
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
  /** The next to be evicted, in order; none while the budget is kept. */
  victims(): readonly Row[];
}

/** There is room again below this share: a recovery is announced once, not at every delete. */
const RECOVERED = 0.95;
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
  const { index, log, metrics, maxCount, maxBytes, burst } = options;
  let state: BudgetState = "room";

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
    const group: Entry[] = [];
    for (const entry of index.entries()) {
      if (entry.severity === severity && entry.isResolved === resolved && entry.source === source) {
        group.push(entry);
      }
    }
    group.sort((a, b) => a.createdAt - b.createdAt);
    return group.slice(0, count).map((entry) => entry.row());
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
    victims() {
      const over = excess();
      const group = over > 0 ? nextGroup() : undefined;
      if (!group) return [];
      become("full");
      return oldest(group, Math.min(BATCH, over, group.resolved ? over : room(group)));
    },
  };
}

/** The Event that says that the budget is used up or has room again, on the controller's own namespace. */
export function budgetEvent(ownNamespace: string, state: BudgetState): EventDraft {
  const full = state === "full";
  return {
    regarding: { apiVersion: "v1", kind: "Namespace", name: ownNamespace, namespace: ownNamespace },
    type: full ? "Warning" : "Normal",
    reason: full ? "StorageBudgetReached" : "StorageBudgetRecovered",
    message: full
      ? "The storage budget is used up: the least important Observations go first (OBSERVATION_MAX_TOTAL, OBSERVATION_MAX_BYTES)"
      : "The storage budget has room again",
  };
}
