/** Rows of the index: found by fingerprint, newest generation first, or by name. */
import { observationName } from "../model/identity/names.ts";
import { CATEGORIES, type Category, SEVERITIES, type Severity } from "../model/observation.ts";
import type { Generation } from "../pipeline/ports.ts";
import { Columns, Interned } from "./columns.ts";
import { Chains, NONE } from "./chains.ts";
import { hexWords } from "./fingerprint_table.ts";
import { hexText, parseName, type Projection, uidText, uidWords } from "./projection.ts";
import { type Counted, Tallies } from "./tallies.ts";

const SEVERITY_BITS = 7;
const CATEGORY_SHIFT = 3;
const RESOLVED = 1 << 6;
const FINDING = 1 << 7;
const PUSHED = 1 << 8;

export { NONE };

/** One stored Observation as the index knows it. */
export interface Row extends Generation {
  readonly slot: number;
  readonly source: string;
  readonly eventType: string;
  readonly kind: "finding" | "occurrence";
  readonly severity: Severity;
  readonly category: Category;
  /** 32 hex digits. */
  readonly fingerprint: string;
  readonly uid: string;
  /** Undefined where the server's is no number. */
  readonly resourceVersion: string | undefined;
  readonly createdAt: number;
  /** 0 while Active. */
  readonly resolvedAt: number;
  /** 0: none of its own. */
  readonly ttlSeconds: number;
  readonly bytes: number;
  /** True for a finding that came through a webhook door to its source: the views of that source are silent about it. */
  readonly pushed: boolean;
}

/** Rows in slots. */
export class Rows {
  readonly columns = new Columns();
  readonly tallies = new Tallies();
  readonly #sources = new Interned();
  readonly #eventTypes = new Interned();
  readonly #namespaces = new Interned();
  readonly #chains = new Chains(this.columns);
  #used = 0;
  #free = 0;

  get byteLength(): number {
    return this.columns.byteLength + this.#chains.byteLength;
  }

  /** One past the highest slot ever used. */
  get end(): number {
    return this.#used;
  }

  has(slot: number): boolean {
    return slot < this.#used && this.columns.epoch[slot] !== 0;
  }

  source(slot: number): string {
    return this.#sources.text(this.columns.source[slot] ?? 0);
  }

  eventType(slot: number): string {
    return this.#eventTypes.text(this.columns.eventType[slot] ?? 0);
  }

  namespace(slot: number): string {
    return this.#namespaces.text(this.columns.namespace[slot] ?? 0);
  }

  resolved(slot: number): boolean {
    return ((this.columns.traits[slot] ?? 0) & RESOLVED) !== 0;
  }

  finding(slot: number): boolean {
    return ((this.columns.traits[slot] ?? 0) & FINDING) !== 0;
  }

  /** Index into SEVERITIES. */
  severity(slot: number): number {
    return (this.columns.traits[slot] ?? 0) & SEVERITY_BITS;
  }

  /** 32 hex digits. */
  fingerprint(slot: number): string {
    return hexText(this.columns.fingerprint.subarray(slot * 4, slot * 4 + 4));
  }

  uid(slot: number): string {
    return uidText(this.columns.uid.subarray(slot * 4, slot * 4 + 4));
  }

  row(slot: number): Row {
    const { columns } = this;
    const traits = columns.traits[slot] ?? 0;
    const source = this.source(slot);
    const fingerprint = this.fingerprint(slot);
    const generation = columns.generation[slot] ?? 0;
    const resourceVersion = columns.resourceVersion[slot] ?? NaN;
    return {
      slot,
      namespace: this.namespace(slot),
      name: observationName(source, fingerprint, generation),
      source,
      eventType: this.eventType(slot),
      kind: traits & FINDING ? "finding" : "occurrence",
      severity: SEVERITIES[traits & SEVERITY_BITS] ?? "UNKNOWN",
      category: CATEGORIES[(traits >> CATEGORY_SHIFT) & 7] ?? "security",
      fingerprint,
      generation,
      uid: this.uid(slot),
      resourceVersion: Number.isNaN(resourceVersion) ? undefined : String(resourceVersion),
      createdAt: (columns.createdAtSeconds[slot] ?? 0) * 1_000,
      firstSeenAt: columns.firstSeenAt[slot] ?? 0,
      lastSeenAt: columns.lastSeenAt[slot] ?? 0,
      resolvedAt: (columns.resolvedAtSeconds[slot] ?? 0) * 1_000,
      active: (traits & RESOLVED) === 0,
      ttlSeconds: columns.ttlSeconds[slot] ?? 0,
      bytes: columns.bytes[slot] ?? 0,
      contentHash: columns.contentHash[slot] ?? 0,
      pushed: (traits & PUSHED) !== 0,
    };
  }

  /** What dedup asks for, of each event: no more than it reads. `fingerprint` is the slot's, in hex. */
  generation(slot: number, fingerprint: string): Generation {
    const { columns } = this;
    const generation = columns.generation[slot] ?? 0;
    return {
      namespace: this.namespace(slot),
      name: observationName(this.source(slot), fingerprint, generation),
      generation,
      firstSeenAt: columns.firstSeenAt[slot] ?? 0,
      lastSeenAt: columns.lastSeenAt[slot] ?? 0,
      active: ((columns.traits[slot] ?? 0) & RESOLVED) === 0,
      contentHash: columns.contentHash[slot] ?? 0,
    };
  }

  /** The newest generation of a fingerprint, or NONE. */
  newest(fingerprint: string): number {
    return this.#chains.newest(hexWords(fingerprint, 4));
  }

  /** The slot of an object by its name, or NONE. */
  find(namespace: string, name: string): number {
    const named = parseName(name);
    if (!named) return NONE;
    let slot = this.newest(named.fingerprint);
    while (slot !== NONE && !this.#isAt(slot, namespace, named)) slot = this.#chains.older(slot);
    return slot;
  }

  hasUid(slot: number, uid: string): boolean {
    const words = uidWords(uid);
    return words?.every((word, index) => this.columns.uid[slot * 4 + index] === word) ?? false;
  }

  insert(projection: Projection, epoch: number): void {
    const slot = this.#takeSlot();
    this.#write(slot, projection, epoch);
    this.#chains.link(slot);
  }

  update(slot: number, projection: Projection, epoch: number): void {
    const { source, eventType, namespace } = this.columns;
    const [oldSource = 0, oldType = 0, oldNamespace = 0] = [source[slot], eventType[slot], namespace[slot]];
    this.tallies.remove(this.#counted(slot));
    this.#write(slot, projection, epoch);
    this.#release(oldSource, oldType, oldNamespace);
  }

  remove(slot: number): void {
    const { columns } = this;
    this.tallies.remove(this.#counted(slot));
    this.#chains.unlink(slot);
    this.#release(columns.source[slot] ?? 0, columns.eventType[slot] ?? 0, columns.namespace[slot] ?? 0);
    columns.epoch[slot] = 0;
    columns.next[slot] = this.#free;
    this.#free = slot + 1;
  }

  #write(slot: number, projection: Projection, epoch: number): void {
    const { columns } = this;
    columns.fingerprint.set(projection.fingerprint, slot * 4);
    columns.uid.set(projection.uid, slot * 4);
    columns.resourceVersion[slot] = projection.resourceVersion;
    columns.firstSeenAt[slot] = projection.firstSeenAt;
    columns.lastSeenAt[slot] = projection.lastSeenAt;
    columns.createdAtSeconds[slot] = projection.createdAt / 1_000;
    columns.resolvedAtSeconds[slot] = projection.resolvedAt / 1_000;
    columns.ttlSeconds[slot] = projection.ttlSeconds;
    columns.bytes[slot] = projection.bytes;
    columns.generation[slot] = projection.generation;
    columns.contentHash[slot] = projection.contentHash;
    columns.source[slot] = this.#sources.take(projection.source);
    columns.eventType[slot] = this.#eventTypes.take(projection.eventType);
    columns.namespace[slot] = this.#namespaces.take(projection.namespace);
    columns.traits[slot] = projection.severity | (projection.category << CATEGORY_SHIFT) |
      (projection.resolved ? RESOLVED : 0) | (projection.finding ? FINDING : 0) |
      (projection.pushed ? PUSHED : 0);
    columns.epoch[slot] = epoch;
    this.tallies.add(this.#counted(slot));
  }

  #release(source: number, eventType: number, namespace: number): void {
    this.#sources.release(source);
    this.#eventTypes.release(eventType);
    this.#namespaces.release(namespace);
  }

  #counted(slot: number): Counted {
    const traits = this.columns.traits[slot] ?? 0;
    return {
      source: this.source(slot),
      severity: traits & SEVERITY_BITS,
      category: (traits >> CATEGORY_SHIFT) & 7,
      resolved: (traits & RESOLVED) !== 0,
      bytes: this.columns.bytes[slot] ?? 0,
    };
  }

  #isAt(slot: number, namespace: string, named: { source: string; generation: number }): boolean {
    return this.columns.generation[slot] === named.generation && this.source(slot) === named.source &&
      this.namespace(slot) === namespace;
  }

  #takeSlot(): number {
    if (this.#free > 0) {
      const slot = this.#free - 1;
      this.#free = this.columns.next[slot] ?? 0;
      return slot;
    }
    if (this.#used === this.columns.capacity) {
      this.columns.grow();
      this.#chains.grow();
    }
    return this.#used++;
  }
}
