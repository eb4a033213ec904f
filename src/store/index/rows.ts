/** Rows of the index: found by fingerprint, newest generation first, or by name. */
import { nameFingerprint, observationName, parseName } from "../../model/identity/names.ts";
import { CATEGORIES, type Category, SEVERITIES, type Severity } from "../../model/observation.ts";
import type { Generation, Identified } from "../../pipeline/ports.ts";
import { Columns, Interned } from "./columns.ts";
import { hexText, keyOfWords, nameWords, type Projection, uidText, uidWords } from "./projection.ts";

const SEVERITY_BITS = 7;
const CATEGORY_SHIFT = 3;
const RESOLVED = 1 << 6;
const FINDING = 1 << 7;
const PUSHED = 1 << 8;

/** No such slot. */
export const NONE = -1;

/** One stored Observation as the index knows it. */
export interface Row extends Generation {
  readonly source: string;
  /** The namespace of the affected resource; "" where there is none. */
  readonly belongsTo: string;
  readonly eventType: string;
  readonly kind: "finding" | "occurrence";
  readonly severity: Severity;
  readonly category: Category;
  /** The part that names hold: 25 hex digits. */
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

/** Ids of interned texts. */
interface Texts {
  readonly source: number;
  readonly eventType: number;
  readonly namespace: number;
  readonly belongsTo: number;
}

/**
 * Rows in slots. Objects of one key form a chain through the column `next`, from the newest generation to the oldest; the
 * chain of a key holds one fingerprint, unless two share their first 53 bits.
 */
export class Rows {
  readonly #columns = new Columns();
  readonly tallies = new Tallies();
  readonly #sources = new Interned();
  readonly #eventTypes = new Interned();
  readonly #namespaces = new Interned();
  /** The slot of the first of each chain. */
  readonly #heads = new Map<number, number>();
  #used = 0;
  #free = 0;

  /** Bytes of the columns, which lie outside the JavaScript heap. */
  get byteLength(): number {
    return this.#columns.byteLength;
  }

  /** One past the highest slot ever used. */
  get end(): number {
    return this.#used;
  }

  has(slot: number): boolean {
    return slot < this.#used && this.#columns.epoch[slot] !== 0;
  }

  source(slot: number): string {
    return this.#sources.text(this.#columns.source[slot] ?? 0);
  }

  eventType(slot: number): string {
    return this.#eventTypes.text(this.#columns.eventType[slot] ?? 0);
  }

  namespace(slot: number): string {
    return this.#namespaces.text(this.#columns.namespace[slot] ?? 0);
  }

  belongsTo(slot: number): string {
    return this.#namespaces.text(this.#columns.belongsTo[slot] ?? 0);
  }

  resolved(slot: number): boolean {
    return ((this.#columns.traits[slot] ?? 0) & RESOLVED) !== 0;
  }

  finding(slot: number): boolean {
    return ((this.#columns.traits[slot] ?? 0) & FINDING) !== 0;
  }

  /** Index into SEVERITIES. */
  severity(slot: number): number {
    return (this.#columns.traits[slot] ?? 0) & SEVERITY_BITS;
  }

  /** The part that names hold: 25 hex digits. */
  fingerprint(slot: number): string {
    return nameFingerprint(hexText(this.#columns.fingerprint.subarray(slot * 4, slot * 4 + 4)));
  }

  uid(slot: number): string {
    return uidText(this.#columns.uid.subarray(slot * 4, slot * 4 + 4));
  }

  pushed(slot: number): boolean {
    return ((this.#columns.traits[slot] ?? 0) & PUSHED) !== 0;
  }

  createdAt(slot: number): number {
    return (this.#columns.createdAtSeconds[slot] ?? 0) * 1_000;
  }

  resolvedAt(slot: number): number {
    return (this.#columns.resolvedAtSeconds[slot] ?? 0) * 1_000;
  }

  firstSeenAt(slot: number): number {
    return this.#columns.firstSeenAt[slot] ?? 0;
  }

  lastSeenAt(slot: number): number {
    return this.#columns.lastSeenAt[slot] ?? 0;
  }

  /** See `Entry.reportedAtSeconds`. */
  reportedAtSeconds(slot: number): number {
    return this.#columns.reportedAtSeconds[slot] ?? 0;
  }

  setReportedAtSeconds(slot: number, seconds: number): void {
    this.#columns.reportedAtSeconds[slot] = seconds;
  }

  ttlSeconds(slot: number): number {
    return this.#columns.ttlSeconds[slot] ?? 0;
  }

  generation(slot: number): number {
    return this.#columns.generation[slot] ?? 0;
  }

  /** NaN where the server's is no number. */
  resourceVersion(slot: number): number {
    return this.#columns.resourceVersion[slot] ?? NaN;
  }

  /** All resourceVersions are unknown from now on. */
  forgetVersions(): void {
    this.#columns.resourceVersion.fill(NaN);
  }

  contentHash(slot: number): number {
    return this.#columns.contentHash[slot] ?? 0;
  }

  /** The list in which the object was last seen. */
  epoch(slot: number): number {
    return this.#columns.epoch[slot] ?? 0;
  }

  setEpoch(slot: number, epoch: number): void {
    this.#columns.epoch[slot] = epoch;
  }

  /** The key of the fingerprint (see projection.ts). */
  key(slot: number): number {
    const { fingerprint } = this.#columns;
    return keyOfWords(fingerprint[slot * 4] ?? 0, fingerprint[slot * 4 + 1] ?? 0);
  }

  row(slot: number): Row {
    const columns = this.#columns;
    const traits = columns.traits[slot] ?? 0;
    const source = this.source(slot);
    const fingerprint = this.fingerprint(slot);
    const generation = this.generation(slot);
    const resourceVersion = this.resourceVersion(slot);
    return {
      namespace: this.namespace(slot),
      name: observationName(source, fingerprint, generation),
      source,
      belongsTo: this.belongsTo(slot),
      eventType: this.eventType(slot),
      kind: traits & FINDING ? "finding" : "occurrence",
      severity: SEVERITIES[traits & SEVERITY_BITS] ?? "UNKNOWN",
      category: CATEGORIES[(traits >> CATEGORY_SHIFT) & 7] ?? "security",
      fingerprint,
      generation,
      uid: this.uid(slot),
      resourceVersion: Number.isNaN(resourceVersion) ? undefined : String(resourceVersion),
      createdAt: this.createdAt(slot),
      firstSeenAt: this.firstSeenAt(slot),
      lastSeenAt: this.lastSeenAt(slot),
      resolvedAt: this.resolvedAt(slot),
      active: !this.resolved(slot),
      ttlSeconds: this.ttlSeconds(slot),
      bytes: columns.bytes[slot] ?? 0,
      contentHash: this.contentHash(slot),
      pushed: this.pushed(slot),
    };
  }

  /** The part of a row that dedup reads of each event. `fingerprint` is the slot's, in hex. */
  generationOf(slot: number, fingerprint: string): Generation {
    const generation = this.generation(slot);
    return {
      namespace: this.namespace(slot),
      name: observationName(this.source(slot), fingerprint, generation),
      generation,
      firstSeenAt: this.firstSeenAt(slot),
      lastSeenAt: this.lastSeenAt(slot),
      active: !this.resolved(slot),
      contentHash: this.contentHash(slot),
    };
  }

  /** The newest generation of an event's fingerprint that agrees with the event, or NONE. */
  newest({ fingerprint, source, severity, resource }: Identified): number {
    const belongsTo = resource?.namespace ?? "";
    return this.#first(
      nameWords(fingerprint),
      (slot) =>
        this.source(slot) === source && SEVERITIES[this.severity(slot)] === severity &&
        this.belongsTo(slot) === belongsTo,
    );
  }

  /** The slot of an object by its name, or NONE. */
  find(namespace: string, name: string): number {
    const named = parseName(name);
    if (!named) return NONE;
    const { source, generation, fingerprint } = named;
    return this.#first(
      nameWords(fingerprint),
      (slot) =>
        this.generation(slot) === generation && this.source(slot) === source &&
        this.namespace(slot) === namespace,
    );
  }

  hasUid(slot: number, uid: string): boolean {
    const words = uidWords(uid);
    return words?.every((word, index) => this.#columns.uid[slot * 4 + index] === word) ?? false;
  }

  insert(projection: Projection, epoch: number): void {
    const slot = this.#takeSlot();
    this.#write(slot, projection, epoch);
    this.#link(slot);
  }

  update(slot: number, projection: Projection, epoch: number): void {
    const before = this.#texts(slot);
    this.tallies.remove(this.#counted(slot));
    this.#write(slot, projection, epoch);
    this.#release(before);
  }

  remove(slot: number): void {
    const columns = this.#columns;
    this.tallies.remove(this.#counted(slot));
    this.#unlink(slot);
    this.#release(this.#texts(slot));
    columns.epoch[slot] = 0;
    columns.reportedAtSeconds[slot] = 0;
    columns.next[slot] = this.#free;
    this.#free = slot + 1;
  }

  #write(slot: number, projection: Projection, epoch: number): void {
    const columns = this.#columns;
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
    columns.belongsTo[slot] = this.#namespaces.take(projection.belongsTo);
    columns.traits[slot] = projection.severity | (projection.category << CATEGORY_SHIFT) |
      (projection.resolved ? RESOLVED : 0) | (projection.finding ? FINDING : 0) |
      (projection.pushed ? PUSHED : 0);
    columns.epoch[slot] = epoch;
    this.tallies.add(this.#counted(slot));
  }

  /** The ids of a row's interned texts. */
  #texts(slot: number): Texts {
    const { source, eventType, namespace, belongsTo } = this.#columns;
    return {
      source: source[slot] ?? 0,
      eventType: eventType[slot] ?? 0,
      namespace: namespace[slot] ?? 0,
      belongsTo: belongsTo[slot] ?? 0,
    };
  }

  #release({ source, eventType, namespace, belongsTo }: Texts): void {
    this.#sources.release(source);
    this.#eventTypes.release(eventType);
    this.#namespaces.release(namespace);
    this.#namespaces.release(belongsTo);
  }

  #counted(slot: number): Counted {
    const traits = this.#columns.traits[slot] ?? 0;
    return {
      source: this.source(slot),
      namespace: this.belongsTo(slot),
      severity: traits & SEVERITY_BITS,
      category: (traits >> CATEGORY_SHIFT) & 7,
      resolved: (traits & RESOLVED) !== 0,
      bytes: this.#columns.bytes[slot] ?? 0,
    };
  }

  /** The first slot of a fingerprint's chain that passes, or NONE. */
  #first(words: readonly number[], passes: (slot: number) => boolean): number {
    let slot = this.#heads.get(keyOfWords(words[0] ?? 0, words[1] ?? 0)) ?? NONE;
    while (slot !== NONE && !(this.#hasFingerprint(slot, words) && passes(slot))) slot = this.#older(slot);
    return slot;
  }

  #hasFingerprint(slot: number, words: readonly number[]): boolean {
    const { fingerprint } = this.#columns;
    return words.every((word, index) => fingerprint[slot * 4 + index] === word);
  }

  #older(slot: number): number {
    return (this.#columns.next[slot] ?? 0) - 1;
  }

  /** Puts a slot, whose columns are written, into its chain. */
  #link(slot: number): void {
    const key = this.key(slot);
    let newer = NONE;
    let older = this.#heads.get(key) ?? NONE;
    while (older !== NONE && this.generation(older) > this.generation(slot)) {
      newer = older;
      older = this.#older(older);
    }
    this.#columns.next[slot] = older + 1;
    if (newer === NONE) this.#heads.set(key, slot);
    else this.#columns.next[newer] = slot + 1;
  }

  /** Takes a slot out of its chain. */
  #unlink(slot: number): void {
    const key = this.key(slot);
    const older = this.#older(slot);
    let newer = this.#heads.get(key) ?? NONE;
    if (newer === slot) {
      if (older === NONE) this.#heads.delete(key);
      else this.#heads.set(key, older);
      return;
    }
    while (newer !== NONE && this.#older(newer) !== slot) newer = this.#older(newer);
    if (newer !== NONE) this.#columns.next[newer] = older + 1;
  }

  #takeSlot(): number {
    if (this.#free > 0) {
      const slot = this.#free - 1;
      this.#free = this.#columns.next[slot] ?? 0;
      return slot;
    }
    if (this.#used === this.#columns.capacity) this.#columns.grow();
    return this.#used++;
  }
}

/** A stored Observation read in place during a scan: what the index takes in meanwhile shows at once. */
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

  /** When this process last took it in from a report, in seconds of the monotonic clock; 0: never. */
  get reportedAtSeconds(): number {
    return this.#rows.reportedAtSeconds(this.#slot);
  }

  /** 0: none of its own. */
  get ttlSeconds(): number {
    return this.#rows.ttlSeconds(this.#slot);
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

/** What is counted of one row. */
export interface Counted {
  readonly source: string;
  /** The namespace it belongs to. */
  readonly namespace: string;
  /** Index into SEVERITIES. */
  readonly severity: number;
  /** Index into CATEGORIES. */
  readonly category: number;
  readonly resolved: boolean;
  readonly bytes: number;
}

/** What a namespace holds of a source. `active` and `resolved` count by severity, in the order of SEVERITIES. */
export interface NamespaceTally {
  readonly count: number;
  readonly bytes: number;
  readonly active: readonly number[];
  readonly resolved: readonly number[];
}

/** What is stored of a source. */
export interface SourceTally {
  readonly count: number;
  readonly bytes: number;
  /** By the namespace it belongs to; "" for what has none. */
  readonly namespaces: ReadonlyMap<string, NamespaceTally>;
}

interface MutableTally {
  count: number;
  bytes: number;
  readonly active: number[];
  readonly resolved: number[];
}

interface MutableSourceTally {
  count: number;
  bytes: number;
  readonly namespaces: Map<string, MutableTally>;
}

/** Counts and bytes, in all, by source, and of Active ones by category and severity. */
export class Tallies {
  #count = 0;
  #bytes = 0;
  #resolved = 0;
  readonly #sources = new Map<string, MutableSourceTally>();
  readonly #active: number[] = new Array<number>(CATEGORIES.length * SEVERITIES.length).fill(0);

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get resolved(): number {
    return this.#resolved;
  }

  /** Sources that hold Observations. */
  get sources(): ReadonlyMap<string, SourceTally> {
    return this.#sources;
  }

  add(counted: Counted): void {
    this.#change(counted, 1);
  }

  remove(counted: Counted): void {
    this.#change(counted, -1);
  }

  /** Active Observations by category and severity, zeros too. */
  *active(): Generator<{ category: Category; severity: Severity; count: number }> {
    for (const [row, category] of CATEGORIES.entries()) {
      for (const [column, severity] of SEVERITIES.entries()) {
        yield { category, severity, count: this.#active[row * SEVERITIES.length + column] ?? 0 };
      }
    }
  }

  #change({ source, namespace, severity, category, resolved, bytes }: Counted, by: 1 | -1): void {
    this.#count += by;
    this.#bytes += by * bytes;
    if (resolved) this.#resolved += by;
    else bump(this.#active, category * SEVERITIES.length + severity, by);
    const tally = this.#sources.get(source) ?? { count: 0, bytes: 0, namespaces: new Map() };
    tally.count += by;
    tally.bytes += by * bytes;
    const share = tally.namespaces.get(namespace) ??
      { count: 0, bytes: 0, active: zeros(), resolved: zeros() };
    share.count += by;
    share.bytes += by * bytes;
    bump(resolved ? share.resolved : share.active, severity, by);
    if (share.count > 0) tally.namespaces.set(namespace, share);
    else tally.namespaces.delete(namespace);
    if (tally.count > 0) this.#sources.set(source, tally);
    else this.#sources.delete(source);
  }
}

function zeros(): number[] {
  return SEVERITIES.map(() => 0);
}

function bump(counts: number[], at: number, by: number): void {
  counts[at] = (counts[at] ?? 0) + by;
}
