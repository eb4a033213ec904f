/**
 * The index of stored Observations, reduced to the fields that dedup, budget, garbage collection, lifecycle and
 * `active_events` read. One watch updates it, and this process's own writes are added at once. It saves requests; in
 * case of doubt the API server's answer decides.
 */
import { parseName, sha256 } from "../../model/identity.ts";
import { ANNOTATIONS, type Observation } from "../../model/observation.ts";
import type { WatchEvent } from "../../kube/watch.ts";
import type { Generation, Identified, StoredIndex } from "../../pipeline/ports.ts";
import {
  type AcceptanceOf,
  type Concerned,
  fingerprintKey,
  type Foreign,
  foreignness,
  project,
  type ProjectOptions,
  type Row,
  versionNumber,
} from "./projection.ts";
import { acceptableOf } from "../../model/acceptance.ts";
import { NONE, Rows, type Tallies } from "./rows.ts";

export type { AcceptanceOf, Concerned, Row } from "./projection.ts";
export type { NamespaceTally, SourceTally } from "./rows.ts";

/** Each list has a number of one byte; 0 marks a free slot. */
const EPOCHS = 255;
const MAX_FALSE_ALARMS = 3;

export interface IndexOptions extends ProjectOptions {
  /** Says which exception covers a finding; by default none does. */
  readonly acceptanceOf?: AcceptanceOf;
  /** Called when a full list is complete that follows a step back of the server's revision, or that lacks findings. */
  readonly onHealed?: () => void;
  /** Called for each stored object that is not a valid Observation of zen-watcher's: dedup and lifecycle ignore it, and it is never written to. */
  readonly onForeign?: (observation: Observation, why: Foreign) => void;
}

/** The index of a process. */
export class ObservationIndex implements StoredIndex {
  readonly #rows: Rows;
  readonly #options: IndexOptions;
  /** Objects that are not in the index: a hash of namespace and name, and the number of the list that last had it. */
  readonly #foreign = new Map<number, number>();
  #epoch = 1;
  /** The newest resourceVersion that the watch showed. */
  #watched = 0;
  /** The newest resourceVersions in the server's answers and in what the watch showed. */
  #seen = { observation: 0, lease: 0 };
  /** Counts how often the server's revision went back. */
  #era = 0;
  /** The newest resourceVersion of an Observation at the time when an answer showed that step back. */
  #alarmAt = 0;
  #falseAlarms = 0;
  #seenBeforeList = 0;
  /** Of the objects that the present list shows in an older version than the index has: the newest resourceVersion. */
  #aheadOfList = 0;
  #listing = false;
  #complete = false;
  #isRewound = false;
  /** Called when the server's revision went back. */
  #onRewound: () => void = () => {};
  #onGone: (fingerprint: string, generation: number) => void = () => {};
  #onResolved: (finding: Row) => void = () => {};

  constructor(options: IndexOptions) {
    this.#options = options;
    this.#rows = new Rows(options.acceptanceOf ?? (() => ""));
  }

  /** True after the first full list. Creates do not wait for it: the API server answers 409 to a name that exists. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Stored Observations of this shard. */
  get size(): number {
    return this.#rows.tallies.count;
  }

  /** Counts and bytes in total, by source and namespace, and of Active ones by category and severity. */
  get tallies(): Tallies {
    return this.#rows.tallies;
  }

  /** The number of objects that are set aside: without zen-watcher's label, malformed, misplaced or too large. */
  get foreign(): number {
    return this.#foreign.size;
  }

  /** Bytes held outside the JavaScript heap. */
  get byteLength(): number {
    return this.#rows.byteLength;
  }

  newest(event: Identified): Generation | undefined {
    const slot = this.#rows.newest(event);
    return slot === NONE ? undefined : this.#rows.generationOf(slot, event.fingerprint);
  }

  /** True if a stored object is a valid Observation of this shard, of the same finding or act as the event. */
  isSame(stored: Observation, event: Identified): boolean {
    const { metadata: { annotations }, spec } = stored;
    return foreignness(stored, this.#options) === undefined &&
      annotations?.[ANNOTATIONS.fingerprint] === event.fingerprint &&
      spec.source === event.source && spec.severity === event.severity &&
      (spec.resource?.namespace ?? "") === (event.resource?.namespace ?? "");
  }

  /** True if a stored object is a valid Observation of this shard. */
  isOurs(stored: Observation): boolean {
    return foreignness(stored, this.#options) === undefined;
  }

  /** The object with this name; undefined if it is not in the index. */
  find(namespace: string, name: string): Row | undefined {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? undefined : this.#rows.row(slot);
  }

  /** True if an Observation of that fingerprint is stored; see `fingerprintKey`. */
  hasKey(key: number): boolean {
    return this.#rows.hasKey(key);
  }

  uidOf(namespace: string, name: string): string | undefined {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? undefined : this.#rows.uid(slot);
  }

  /** Notes that a report has a finding; returns the finding if it is in the index. */
  noteReported(namespace: string, name: string, atSeconds: number): Entry | undefined {
    const slot = this.#rows.find(namespace, name);
    if (slot === NONE) return undefined;
    this.#rows.setReportedAtSeconds(slot, atSeconds);
    return new Entry(this.#rows, slot);
  }

  /** When this process last read a finding in a report; see `Entry.reportedAtSeconds`. */
  reportedAtSeconds(namespace: string, name: string): number {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? 0 : this.#rows.reportedAtSeconds(slot);
  }

  /** The hash of an Observation's content, comparable to an event's. */
  contentHashOf(observation: Observation): number {
    const slot = this.#slotOfVersion(observation);
    return slot === NONE ? this.#options.contentHash(observation) : this.#rows.contentHash(slot);
  }

  /** Every Observation in the index. The index may change meanwhile: added entries may be missed. */
  *entries(): Generator<Entry> {
    for (const slot of this.#slots()) yield new Entry(this.#rows, slot);
  }

  /** Findings whose status does not name the exception that covers them now, or names one that no longer covers them. */
  *staleAcceptances(): Generator<Entry> {
    for (let slot = 0; slot < this.#rows.end; slot++) {
      if (this.#rows.isAcceptanceStale(slot) && this.#rows.has(slot)) yield new Entry(this.#rows, slot);
    }
  }

  /** Determines again which exception covers each finding, or each of those concerned; returns how many changed. */
  judgeAgain(concerned?: Concerned): number {
    return this.#rows.judgeAgain(concerned);
  }

  /** How many findings each exception covers, by `acceptanceText`. */
  acceptedCounts(): ReadonlyMap<string, number> {
    return this.#rows.acceptedCounts();
  }

  /** The exception that would cover a stored finding if it were Active; "" if there is none. */
  acceptanceFor(observation: Observation): string {
    return this.#options.acceptanceOf?.(acceptableOf(observation), "") ?? "";
  }

  /**
   * Observations in `fallback`, the controller's namespace, whose own namespace has the same Observation too: the namespace
   * refused one replica's create and accepted another's.
   */
  *doubles(fallback: string): Generator<Row> {
    for (const slot of this.#slots()) {
      if (this.#rows.namespace(slot) !== fallback) continue;
      const homes = [this.#rows.belongsTo(slot), ...this.#options.sharedNamespaces]
        .filter((namespace) => namespace !== "" && namespace !== fallback);
      if (homes.length === 0) continue;
      const row = this.#rows.row(slot);
      if (homes.some((namespace) => this.#rows.find(namespace, row.name) !== NONE)) yield row;
    }
  }

  /** True while a full list is being read. */
  get isListing(): boolean {
    return this.#listing;
  }

  /** True from the time when the server's revision went back until the next full list is complete. */
  get isRewound(): boolean {
    return this.#isRewound;
  }

  /** Called when an answer shows that the server's revision went back, so that the caller starts a full list. */
  set onRewound(listener: () => void) {
    this.#onRewound = listener;
  }

  /** Called when a finding becomes Resolved that this process read in a report. */
  set onResolved(listener: (finding: Row) => void) {
    this.#onResolved = listener;
  }

  /** Called for each deleted Observation, with the first 128 bits of its fingerprint, so that its dedup window can end. */
  set onGone(listener: (fingerprint: string, generation: number) => void) {
    this.#onGone = listener;
  }

  /**
   * Call this before a write, and the returned function with the resourceVersion of the answer. The answer's resourceVersion
   * is above every one seen before the write, unless etcd was restored from a copy (kubernetes#107457).
   */
  sent(what: "observation" | "lease" = "observation"): (resourceVersion: string | undefined) => void {
    const { observation, lease } = this.#seen;
    // Leases may be stored in another etcd: after some false alarms their revisions are no longer compared.
    const isComparable = what === "observation" || this.#falseAlarms < MAX_FALSE_ALARMS;
    const before = Math.max(what === "lease" ? lease : 0, isComparable ? observation : 0);
    const era = this.#era;
    return (resourceVersion) => {
      // The step back was noticed in the meantime already.
      if (era !== this.#era) return;
      const version = versionNumber(resourceVersion);
      if (version <= before) {
        this.#rewind();
        this.#alarmAt = observation;
        this.#onRewound();
      }
      this.#seen[what] = Math.max(this.#seen[what], version || 0);
    };
  }

  /** Takes one event of the watch of Observations. */
  take(event: WatchEvent<Observation>): void {
    switch (event.type) {
      case "init":
        this.#epoch = this.#epoch === EPOCHS ? 1 : this.#epoch + 1;
        this.#listing = true;
        this.#seenBeforeList = this.#seen.observation;
        this.#aheadOfList = 0;
        return;
      case "apply":
        if (!this.#listing) this.#saw(event.object.metadata.resourceVersion);
        return this.#apply(event.object, false);
      case "delete":
        this.#saw(event.object.metadata.resourceVersion);
        return this.#delete(event.object);
      case "synced":
        return this.#synced(event.resourceVersion);
      case "error":
        if (event.reason === "rewound") this.#rewind();
        return;
    }
  }

  /** Adds the API server's answer to a write of this process, so that the index shows it before the watch does. */
  note(observation: Observation): void {
    this.#apply(observation, true);
  }

  /** Removes an object that the API server no longer has; with a uid, only the object with this uid. */
  forget(namespace: string, name: string, uid?: string): void {
    const slot = this.#rows.find(namespace, name);
    if (slot !== NONE) {
      if (uid === undefined || this.#rows.hasUid(slot, uid)) this.#remove(slot);
      return;
    }
    // Dedup may have a window for an object that is not in the index yet.
    const named = parseName(name);
    if (named) this.#onGone(named.fingerprint, named.generation);
  }

  #synced(resourceVersion: string): void {
    this.#listing = false;
    this.#complete = true;
    const hasLost = this.#sweep();
    const version = versionNumber(resourceVersion);
    // A consistent list is never older than the revisions that were seen before it began.
    const isOlder = version < this.#seenBeforeList && this.#seen.observation > 0;
    // A list shows an older version than the index has only if etcd was restored, here with its revision raised.
    const showsOlder = this.#aheadOfList > 0 && this.#aheadOfList <= version;
    if (isOlder || showsOlder) {
      this.#rewind();
      return this.#onRewound();
    }
    this.#saw(resourceVersion);
    if (this.#isRewound) {
      if (this.#alarmAt > 0 && version >= this.#alarmAt) this.#falseAlarms++;
      this.#alarmAt = 0;
      this.#isRewound = false;
    } else if (!hasLost) return;
    this.#options.onHealed?.();
  }

  /** Forgets every known resourceVersion, so that the next list replaces all objects. */
  #rewind(): void {
    this.#isRewound = true;
    this.#era++;
    this.#watched = 0;
    this.#seen = { observation: 0, lease: 0 };
    this.#alarmAt = 0;
    this.#rows.forgetVersions();
  }

  #saw(resourceVersion: string | undefined): void {
    this.#watched = Math.max(this.#watched, versionNumber(resourceVersion) || 0);
    this.#seen.observation = Math.max(this.#seen.observation, this.#watched);
  }

  #apply(observation: Observation, ownWrite: boolean): void {
    // The watch repeats versions that the answer to a write has shown already. Objects of a full list are always read.
    if (!this.#listing && this.#slotOfVersion(observation) !== NONE) return;
    const { namespace = "", name = "" } = observation.metadata;
    const projection = project(observation, this.#options);
    const slot = this.#rows.find(namespace, name);
    if (typeof projection === "string") {
      if (slot !== NONE) this.#remove(slot);
      if (projection !== "other_shard") this.#setAside(observation, projection);
      return;
    }
    if (slot === NONE) {
      if (this.#foreign.size > 0) this.#foreign.delete(placeKey(namespace, name));
      // The watch has passed this version already: if the object still existed, it would be in the index.
      if (!(ownWrite && projection.resourceVersion <= this.#watched)) {
        this.#rows.insert(projection, this.#epoch);
      }
    } else if (projection.resourceVersion < this.#rows.resourceVersion(slot)) {
      if (this.#listing) this.#aheadOfList = Math.max(this.#aheadOfList, this.#rows.resourceVersion(slot));
      this.#rows.setEpoch(slot, this.#epoch);
    } else {
      const isEnd = projection.resolved && !this.#rows.resolved(slot);
      this.#rows.update(slot, projection, this.#epoch);
      if (isEnd && this.#rows.reportedAtSeconds(slot) > 0) this.#onResolved(this.#rows.row(slot));
    }
  }

  #setAside(observation: Observation, why: Foreign): void {
    const { namespace = "", name = "" } = observation.metadata;
    const key = placeKey(namespace, name);
    if (!this.#foreign.has(key)) this.#options.onForeign?.(observation, why);
    this.#foreign.set(key, this.#epoch);
  }

  /** The slot of an object that the index has in exactly this version. */
  #slotOfVersion(
    { metadata: { namespace = "", name = "", uid = "", resourceVersion } }: Observation,
  ): number {
    const slot = this.#rows.find(namespace, name);
    if (slot === NONE || !this.#rows.hasUid(slot, uid)) return NONE;
    const isSame = this.#rows.resourceVersion(slot) === versionNumber(resourceVersion) &&
      this.#rows.epoch(slot) === this.#epoch;
    return isSame ? slot : NONE;
  }

  #delete({ metadata: { namespace = "", name = "", uid } }: Observation): void {
    this.#foreign.delete(placeKey(namespace, name));
    this.forget(namespace, name, uid);
  }

  *#slots(): Generator<number> {
    for (let slot = 0; slot < this.#rows.end; slot++) if (this.#rows.has(slot)) yield slot;
  }

  /** Removes the objects that the full list lacked. True where findings that may still be reported are among them. */
  #sweep(): boolean {
    let hasLost = false;
    for (const slot of this.#slots()) {
      if (this.#rows.epoch(slot) === this.#epoch) continue;
      hasLost ||= this.#rows.finding(slot) && !this.#rows.resolved(slot);
      this.#remove(slot);
    }
    for (const [key, seenIn] of this.#foreign) if (seenIn !== this.#epoch) this.#foreign.delete(key);
    return hasLost;
  }

  #remove(slot: number): void {
    const fingerprint = this.#rows.fingerprint(slot);
    const generation = this.#rows.generation(slot);
    this.#rows.remove(slot);
    this.#onGone(fingerprint, generation);
  }
}

function placeKey(namespace: string, name: string): number {
  return fingerprintKey(sha256(`${namespace}/${name}`));
}

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
