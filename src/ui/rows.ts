/** Every Observation as one row: what lists show, small enough for tens of thousands of them. */
import { namespacedName } from "../kube/api.ts";
import { isFixKnown } from "../model/acceptance.ts";
import { type Observation, type Phase, SEVERITIES } from "../model/observation.ts";
import { parseTime } from "../model/time.ts";
import { type ObservationRow, timeText, toRow } from "../read/row.ts";
import type { FindingRow } from "./protocol.ts";

/** Fields that a kept row holds in another form, or not at all. */
type LeftOut =
  | "firstSeenAt"
  | "lastSeenAt"
  | "resolvedAt"
  | "resolvedReason"
  | "reopenedAt"
  | "acceptedSince"
  | "acceptedUntil"
  | "fingerprint";

/** A row as it is kept. Times are milliseconds since the epoch; 0: there is none. */
export interface KeptRow extends Omit<ObservationRow, LeftOut> {
  /** As stored; see `phaseOf`. */
  readonly phase: Phase;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly resolvedMs: number;
  readonly reopenedMs: number;
  /** When its exception began and ends to count. */
  readonly acceptedMs: number;
  readonly acceptedUntilMs: number;
  /** The tool knows a version that fixes it. */
  readonly isFixKnown: boolean;
}

/** More Observations than this are not kept: the storage budget of a controller is 50,000 by default. */
export const MAX_ROWS = 200_000;
/** Most texts that are interned; at this number the collection is cleared. */
const MAX_TEXTS = 200_000;

/** The rows of all Observations that were listed and watched. */
export class KeptRows {
  readonly #rows = new Map<string, KeptRow>();
  readonly #texts = new Map<string, string>();
  /** Keys of a list under way. */
  #listed: Set<string> | undefined;
  #revision = 0;
  /** When the next exception of an accepted row ends. */
  #nextEndMs = Infinity;

  /** Rises with each change. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** True where there are more Observations than are kept. */
  get isFull(): boolean {
    return this.#rows.size >= MAX_ROWS;
  }

  all(): Iterable<KeptRow> {
    return this.#rows.values();
  }

  get(storedIn: string, name: string): KeptRow | undefined {
    return this.#rows.get(`${storedIn}/${name}`);
  }

  /** A full list begins: what it does not show until `endList` is gone. */
  beginList(): void {
    this.#listed = new Set();
  }

  endList(): void {
    if (!this.#listed) return;
    for (const key of this.#rows.keys()) if (!this.#listed.has(key)) this.#rows.delete(key);
    this.#listed = undefined;
    this.#revision++;
  }

  apply(observation: Observation): void {
    const key = namespacedName(observation);
    this.#listed?.add(key);
    if (this.isFull && !this.#rows.has(key)) return;
    const row = this.#keep(observation);
    this.#rows.set(key, row);
    if (row.phase === "Accepted") this.#nextEndMs = Math.min(this.#nextEndMs, row.acceptedUntilMs);
    this.#revision++;
  }

  delete(observation: Observation): void {
    if (this.#rows.delete(namespacedName(observation))) this.#revision++;
  }

  /** Raises the revision where an exception ended since the last call: its rows are Active again. True if so. */
  endExceptions(nowMs: number): boolean {
    if (nowMs < this.#nextEndMs) return false;
    this.#nextEndMs = Infinity;
    for (const { phase, acceptedUntilMs } of this.#rows.values()) {
      if (phase === "Accepted" && acceptedUntilMs > nowMs && acceptedUntilMs < this.#nextEndMs) {
        this.#nextEndMs = acceptedUntilMs;
      }
    }
    this.#revision++;
    return true;
  }

  #keep(observation: Observation): KeptRow {
    // Its stored phase: `phaseOf` tells whether the exception still holds.
    const row = toRow(observation, { now: 0 });
    const text = (value: string) => this.#once(value);
    return {
      name: row.name,
      storedIn: text(row.storedIn),
      namespace: text(row.namespace),
      source: text(row.source),
      severity: SEVERITIES.find((severity) => severity === row.severity) ?? "UNKNOWN",
      category: text(row.category),
      eventType: text(row.eventType),
      rule: text(row.rule),
      kind: text(row.kind),
      resource: text(row.resource),
      workload: text(row.workload),
      image: text(row.image),
      message: text(row.message),
      type: text(row.type),
      phase: row.phase,
      occurrences: row.occurrences,
      firstSeenMs: msOf(row.firstSeenAt),
      lastSeenMs: msOf(row.lastSeenAt),
      resolvedMs: msOf(row.resolvedAt),
      reopenedMs: msOf(row.reopenedAt),
      exception: text(row.exception),
      acceptedMs: msOf(row.acceptedSince),
      acceptedUntilMs: msOf(row.acceptedUntil),
      isFixKnown: isFixKnown(observation.spec.details),
    };
  }

  /** Namespaces, rules and messages repeat on many rows: each is kept once. */
  #once(value: string): string {
    const known = this.#texts.get(value);
    if (known !== undefined) return known;
    if (this.#texts.size >= MAX_TEXTS) this.#texts.clear();
    this.#texts.set(value, value);
    return value;
  }
}

/** The phase of a row at a time: an accepted one is Active again when its exception has ended. */
export function phaseOf({ phase, acceptedUntilMs }: KeptRow, nowMs: number): Phase {
  return phase === "Accepted" && acceptedUntilMs <= nowMs ? "Active" : phase;
}

/** A row as the page gets it. */
export function toFindingRow(row: KeptRow, nowMs: number): FindingRow {
  const {
    firstSeenMs,
    lastSeenMs,
    resolvedMs,
    reopenedMs: _r,
    exception: _e,
    acceptedMs: _a,
    acceptedUntilMs: _u,
    isFixKnown: _f,
    ...texts
  } = row;
  return {
    ...texts,
    phase: phaseOf(row, nowMs),
    firstSeenAt: timeText(firstSeenMs),
    lastSeenAt: timeText(lastSeenMs),
    resolvedAt: timeText(resolvedMs),
  };
}

function msOf(time: string): number {
  return parseTime(time)?.ms ?? 0;
}
