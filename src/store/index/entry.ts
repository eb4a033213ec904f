/** One stored Observation during a scan of the index. */
import type { Row } from "./projection.ts";
import type { Rows } from "./rows.ts";

/** Reads an Observation's fields directly from the index, so changes of the index show at once. */
export class Entry {
  readonly #rows: Rows;
  readonly #slot: number;

  constructor(rows: Rows, slot: number) {
    this.#rows = rows;
    this.#slot = slot;
  }

  /** False once it is gone. */
  get exists(): boolean {
    return this.#rows.has(this.#slot);
  }

  get source(): string {
    return this.#rows.source(this.#slot);
  }

  get namespace(): string {
    return this.#rows.namespace(this.#slot);
  }

  /** The namespace of the affected resource; "" where there is none. */
  get belongsTo(): string {
    return this.#rows.belongsTo(this.#slot);
  }

  get isFinding(): boolean {
    return this.#rows.finding(this.#slot);
  }

  get isResolved(): boolean {
    return this.#rows.resolved(this.#slot);
  }

  /** True while an exception covers it, whatever its stored phase. */
  get isAccepted(): boolean {
    return this.#rows.acceptance(this.#slot) !== "";
  }

  /** Index into SEVERITIES. */
  get severity(): number {
    return this.#rows.severity(this.#slot);
  }

  get createdAt(): number {
    return this.#rows.createdAt(this.#slot);
  }

  get firstSeenAt(): number {
    return this.#rows.firstSeenAt(this.#slot);
  }

  get lastSeenAt(): number {
    return this.#rows.lastSeenAt(this.#slot);
  }

  /** 0 while it is not Resolved. */
  get resolvedAt(): number {
    return this.#rows.resolvedAt(this.#slot);
  }

  /** When this process last read it in a report, in seconds of the monotonic clock; 0: never. */
  get reportedAtSeconds(): number {
    return this.#rows.reportedAtSeconds(this.#slot);
  }

  /** 0: none of its own. */
  get ttlSeconds(): number {
    return this.#rows.ttlSeconds(this.#slot);
  }

  /** See `Row.acceptance`. */
  get acceptance(): string {
    return this.#rows.acceptance(this.#slot);
  }

  /** See `Row.storedAcceptance`. */
  get storedAcceptance(): string {
    return this.#rows.storedAcceptance(this.#slot);
  }

  /** True if its status does not show the current exception yet, or still names one that ended. */
  get isAcceptanceStale(): boolean {
    return this.#rows.isAcceptanceStale(this.#slot);
  }

  /** See projection.ts. */
  get fingerprintKey(): number {
    return this.#rows.key(this.#slot);
  }

  /** A copy of all fields as they are now. */
  row(): Row {
    return this.#rows.row(this.#slot);
  }
}
