/** The storage budget: which events are refused when it is used up, and which Observations are the next to be evicted. */
import type { NormalEvent } from "../model/event.ts";
import { SEVERITIES } from "../model/observation.ts";
import { type EventDraft, installationEvent } from "../kube/events.ts";
import type { Admission } from "../pipeline/intake.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Entry, NamespaceTally, ObservationIndex, Row, SourceTally } from "./index/mod.ts";

export interface BudgetOptions {
  readonly index: ObservationIndex;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "storageBudgetUsage">;
  readonly maxCount: number;
  readonly maxBytes: number;
  /** How far a replica may overshoot while the leader makes room: DEDUP_RATE_BURST. */
  readonly burst: number;
  /** The configured sources, each with its own share. All other sources, whose names come from reports, have one share together. */
  readonly sources: { has(source: string): boolean; readonly size: number };
  /** Called when the budget is used up, and when there is room again. */
  readonly onChange?: (state: BudgetState) => void;
}

/** `full` from the first refusal or eviction on, until there is room again. */
export type BudgetState = "room" | "full";

/** The budget of a process. */
export interface Budget {
  /**
   * `refused` if the event would be the next to be evicted; `later` if other Observations rank lower but are not evicted
   * yet. Has no effect other than to note that the budget is full.
   */
  admits(event: NormalEvent): Admission;
  /** Share in use: the larger of count and bytes. */
  usage(): number;
  readonly state: BudgetState;
  /** Sets the gauge and sees whether there is room again. Call it every few seconds on every replica. */
  observe(): void;
  /** The Observations to evict next, in order; empty while the budget is not exceeded. */
  victims(): readonly Row[];
}

/** Share below which there is room again. It is below 1 so that not every delete announces a recovery. */
const RECOVERED = 0.95;
/** Victims chosen in one scan. */
const BATCH = 500;
/** From the first to be evicted to the last. */
const BY_SEVERITY = [...SEVERITIES.keys()].reverse();
/** The group of the sources that configuration does not know. No source has this name. */
const NAMED_BY_REPORTS = "";

/** Observations and their bytes. */
interface Amount {
  readonly count: number;
  readonly bytes: number;
}

/** Sources that have one share together: a source that configuration knows, or all others. */
interface Group extends Amount {
  readonly name: string;
  readonly tallies: readonly SourceTally[];
}

const NOTHING: Amount = { count: 0, bytes: 0 };

/** Creates the budget of a process. */
export function createBudget(options: BudgetOptions): Budget {
  const { index, log, metrics, maxCount, maxBytes, burst, sources } = options;
  let state: BudgetState = "room";
  /** The smallest amount stored since the budget was used up; anything stored above it is overshoot. */
  let least: Amount | undefined;

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

  function groupOf(source: string): string {
    return sources.has(source) ? source : NAMED_BY_REPORTS;
  }

  function groups(): Map<string, Group> {
    const found = new Map<string, Group>();
    for (const [source, tally] of index.tallies.sources) {
      const name = groupOf(source);
      const { count, bytes, tallies } = found.get(name) ?? { ...NOTHING, tallies: [] };
      found.set(name, {
        name,
        count: count + tally.count,
        bytes: bytes + tally.bytes,
        tallies: [...tallies, tally],
      });
    }
    return found;
  }

  /** The amount as a multiple of one share, where the budget is divided into `shares` equal ones. */
  function used({ count, bytes }: Amount, shares: number): number {
    return Math.max(count * shares / maxCount, bytes * shares / maxBytes);
  }

  function admits(event: NormalEvent): Admission {
    noteLeast();
    if (index.tallies.count < maxCount && index.tallies.bytes < maxBytes) return "admitted";
    become("full");
    const name = groupOf(event.source);
    const all = groups();
    const own = all.get(name) ?? { ...NOTHING, name, tallies: [] };
    const ownUse = used(withOne(own), shares());
    if (ownUse <= 1) return "admitted";
    const namespaces = namespacesOf(own);
    const belongsTo = event.resource?.namespace ?? "";
    const mine = namespaces.get(belongsTo);
    const parts = shares() * (namespaces.size + (mine ? 0 : 1));
    const myUse = used(withOne(mine ?? NOTHING), parts);
    if (myUse <= 1) return "admitted";
    const isOutranked =
      [...all.values()].some((each) => each.name !== name && used(each, shares()) > ownUse) ||
      [...namespaces].some(([each, amount]) => each !== belongsTo && used(amount, parts) > myUse) ||
      outranksOwn(event, mine);
    if (!isOutranked) return "refused";
    return overshoot() < burst ? "admitted" : "later";
  }

  function shares(): number {
    return sources.size + 1;
  }

  /**
   * Observations that exceed the budget because it was lowered, or that were already stored when the index was listed, are
   * no overshoot: this replica did not admit them, and they do not keep out events that rank above them.
   */
  function noteLeast(): void {
    const { count, bytes } = index.tallies;
    if (!least || !index.complete) least = { count, bytes };
    else least = { count: Math.min(least.count, count), bytes: Math.min(least.bytes, bytes) };
    least = { count: Math.max(least.count, maxCount), bytes: Math.max(least.bytes, maxBytes) };
  }

  function overshoot(): number {
    const { count, bytes } = index.tallies;
    const from = least ?? { count: maxCount, bytes: maxBytes };
    return Math.max(count - from.count, (bytes - from.bytes) / (maxBytes / maxCount));
  }

  function excess(): number {
    const { count, bytes } = index.tallies;
    const meanBytes = Math.max(1, bytes / Math.max(1, count));
    return Math.ceil(Math.max(count - maxCount, (bytes - maxBytes) / meanBytes));
  }

  /**
   * How many to evict from each bucket. Takes the group that exceeds its share the most, in it the namespace that exceeds
   * its own the most, and there Resolved Observations first, then the lowest severity.
   */
  function planned(count: number): ReadonlyMap<string, ReadonlyMap<string, Planned>> {
    const plans = [...groups().values()].map(planOf);
    for (let index = 0; index < count; index++) {
      const plan = furthest(plans, (each) => used(each, shares()));
      const part = plan && furthest(plan.parts.values(), (each) => used(each, plan.parts.size));
      const bucket = part?.left.findIndex((left) => left > 0) ?? -1;
      if (!plan || !part || bucket < 0) break;
      part.left[bucket] = (part.left[bucket] ?? 0) - 1;
      part.goes[bucket] = (part.goes[bucket] ?? 0) + 1;
      for (const amount of [plan, part]) {
        amount.count--;
        amount.bytes -= part.meanBytes;
      }
    }
    return new Map(plans.map(({ name, parts }) => [name, parts]));
  }

  /** The oldest of each planned bucket. */
  function oldest(plan: ReadonlyMap<string, ReadonlyMap<string, Planned>>): Row[] {
    const found = new Map<Planned, Entry[][]>();
    for (const entry of index.entries()) {
      const part = plan.get(groupOf(entry.source))?.get(entry.belongsTo);
      const bucket = bucketOf(entry);
      if (!part || !part.goes[bucket]) continue;
      let buckets = found.get(part);
      if (!buckets) found.set(part, buckets = []);
      (buckets[bucket] ??= []).push(entry);
    }
    return [...found].flatMap(([{ goes }, buckets]) =>
      buckets.flatMap((entries, bucket) =>
        entries.sort((a, b) => a.createdAt - b.createdAt).slice(0, goes[bucket]).map((entry) => entry.row())
      )
    );
  }

  return {
    admits,
    usage,
    get state() {
      return state;
    },
    observe() {
      noteLeast();
      metrics.storageBudgetUsage.set(usage());
      if (state === "full" && usage() < RECOVERED) become("room");
    },
    victims() {
      noteLeast();
      const over = excess();
      if (over <= 0) return [];
      become("full");
      return oldest(planned(Math.min(BATCH, over)));
    },
  };
}

function withOne({ count, bytes }: Amount): Amount {
  return { count: count + 1, bytes };
}

/** The Observations of a group, counted by namespace. */
function namespacesOf({ tallies }: Group): ReadonlyMap<string, NamespaceTally> {
  const [first] = tallies;
  if (!first || tallies.length === 1) return first?.namespaces ?? new Map();
  const sums = new Map<string, NamespaceTally>();
  for (const { namespaces } of tallies) {
    for (const [namespace, tally] of namespaces) {
      const sum = sums.get(namespace);
      sums.set(namespace, sum ? added(sum, tally) : tally);
    }
  }
  return sums;
}

function added(a: NamespaceTally, b: NamespaceTally): NamespaceTally {
  const sum = (x: readonly number[], y: readonly number[]) => x.map((count, at) => count + (y[at] ?? 0));
  return {
    count: a.count + b.count,
    bytes: a.bytes + b.bytes,
    active: sum(a.active, b.active),
    accepted: sum(a.accepted, b.accepted),
    resolved: sum(a.resolved, b.resolved),
  };
}

/**
 * True if the source has an Observation in the event's namespace that is evicted before the event. Among equal
 * occurrences the older one is evicted. Among equal findings the stored one stays: if it were evicted, its source would
 * report it again and so evict another one, without end.
 */
function outranksOwn(event: NormalEvent, own: NamespaceTally | undefined): boolean {
  if (own?.resolved.some((count) => count > 0)) return true;
  const severity = SEVERITIES.indexOf(event.severity);
  const lowest = BY_SEVERITY.find((each) => (own?.active[each] ?? 0) > 0);
  if (lowest === undefined) return false;
  return lowest > severity || (lowest === severity && event.kind === "occurrence");
}

/** How many to evict from a namespace's part of a group. Buckets in the order of eviction: Resolved, then Active, by severity. */
interface Planned {
  count: number;
  bytes: number;
  readonly meanBytes: number;
  readonly left: number[];
  readonly goes: number[];
}

interface Plan {
  readonly name: string;
  count: number;
  bytes: number;
  readonly parts: ReadonlyMap<string, Planned>;
}

function planOf(group: Group): Plan {
  const parts = new Map<string, Planned>();
  for (const [namespace, { count, bytes, active, resolved }] of namespacesOf(group)) {
    const left = [resolved, active].flatMap((counts) => BY_SEVERITY.map((severity) => counts[severity] ?? 0));
    parts.set(namespace, { count, bytes, meanBytes: bytes / Math.max(1, count), left, goes: [] });
  }
  return { name: group.name, count: group.count, bytes: group.bytes, parts };
}

function bucketOf({ isResolved, severity }: Entry): number {
  return (isResolved ? 0 : SEVERITIES.length) + SEVERITIES.length - 1 - severity;
}

function furthest<T extends Amount>(parts: Iterable<T>, useOf: (part: T) => number): T | undefined {
  let found: T | undefined;
  let most = -1;
  for (const part of parts) {
    const use = part.count > 0 ? useOf(part) : -1;
    if (use <= most) continue;
    most = use;
    found = part;
  }
  return found;
}

/** The Event that says that the budget is used up or has room again, on the controller's own namespace. */
export function budgetEvent(ownNamespace: string, state: BudgetState): EventDraft {
  return installationEvent(
    ownNamespace,
    state === "full"
      ? {
        type: "Warning",
        reason: "StorageBudgetReached",
        message:
          "The storage budget is used up: the least important Observations go first (OBSERVATION_MAX_TOTAL, OBSERVATION_MAX_BYTES)",
      }
      : {
        type: "Normal",
        reason: "StorageBudgetRecovered",
        message: "The storage budget has room again",
      },
  );
}
