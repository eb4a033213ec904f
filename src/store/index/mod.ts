/**
 * The projected index of stored Observations: one watch feeds it, our own writes are noted at once. It serves dedup,
 * budget, garbage collection, lifecycle and `active_events`. It saves calls; the API server stays the judge.
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
import { Entry } from "./entry.ts";
import { NONE, Rows, type Tallies } from "./rows.ts";

export type { Entry } from "./entry.ts";
export type { AcceptanceOf, Concerned, Row } from "./projection.ts";
export type { NamespaceTally, SourceTally } from "./rows.ts";

/** Each list has a number of one byte; 0 marks a free slot. */
const EPOCHS = 255;
const MAX_FALSE_ALARMS = 3;

export interface IndexOptions extends ProjectOptions {
  /** Called for each deleted Observation, with the first 128 bits of its fingerprint, so that its dedup window can end. */
  readonly onGone?: (fingerprint: string, generation: number) => void;
  /** Says which exception covers a finding; by default none does. */
  readonly acceptanceOf?: AcceptanceOf;
  /** Called when the list is complete that follows a step back of the server's revision. */
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
  #listing = false;
  #complete = false;
  #isRewound = false;
  /** Called when the server's revision went back. */
  #onRewound: () => void = () => {};

  constructor(options: IndexOptions) {
    this.#options = options;
    this.#rows = new Rows(options.acceptanceOf ?? (() => ""));
  }

  /** True once the first full list is in. Nothing waits for it: the API server's 409 is the judge. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Stored Observations of this shard. */
  get size(): number {
    return this.#rows.tallies.count;
  }

  /** Counts and bytes in all, by source, and of Active ones by category and severity. */
  get tallies(): Tallies {
    return this.#rows.tallies;
  }

  /** Objects that are set aside: foreign, malformed, misplaced or too large. */
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

  /** True where a stored object is ours, and the same finding or act as the event. */
  isSame(stored: Observation, event: Identified): boolean {
    const { metadata: { annotations }, spec } = stored;
    return foreignness(stored, this.#options) === undefined &&
      annotations?.[ANNOTATIONS.fingerprint] === event.fingerprint &&
      spec.source === event.source && spec.severity === event.severity &&
      (spec.resource?.namespace ?? "") === (event.resource?.namespace ?? "");
  }

  /** True where a stored object is ours. */
  isOurs(stored: Observation): boolean {
    return foreignness(stored, this.#options) === undefined;
  }

  /** The object of that name, where it is known. */
  find(namespace: string, name: string): Row | undefined {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? undefined : this.#rows.row(slot);
  }

  uidOf(namespace: string, name: string): string | undefined {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? undefined : this.#rows.uid(slot);
  }

  /** Notes that a report named a finding; returns it, where it is known. */
  noteReported(namespace: string, name: string, atSeconds: number): Entry | undefined {
    const slot = this.#rows.find(namespace, name);
    if (slot === NONE) return undefined;
    this.#rows.setReportedAtSeconds(slot, atSeconds);
    return new Entry(this.#rows, slot);
  }

  /** When this process last took a finding in from a report; see `Entry.reportedAtSeconds`. */
  reportedAtSeconds(namespace: string, name: string): number {
    const slot = this.#rows.find(namespace, name);
    return slot === NONE ? 0 : this.#rows.reportedAtSeconds(slot);
  }

  /** The hash of what an Observation says, comparable to an event's. */
  contentHashOf(observation: Observation): number {
    const slot = this.#slotOfVersion(observation);
    return slot === NONE ? this.#options.contentHash(observation) : this.#rows.contentHash(slot);
  }

  /** All that is stored. Entries may be removed meanwhile; added ones may be missed. */
  *entries(): Generator<Entry> {
    for (const slot of this.#slots()) yield new Entry(this.#rows, slot);
  }

  /** Findings whose status does not name the exception that covers them now, or names one though none does. */
  *staleAcceptances(): Generator<Entry> {
    for (let slot = 0; slot < this.#rows.end; slot++) {
      if (this.#rows.isAcceptanceStale(slot) && this.#rows.has(slot)) yield new Entry(this.#rows, slot);
    }
  }

  /** Asks again which exception covers each finding, or each of those concerned; returns for how many that changed. */
  judgeAgain(concerned?: Concerned): number {
    return this.#rows.judgeAgain(concerned);
  }

  /** How many findings each exception covers, by `acceptanceText`. */
  acceptedCounts(): ReadonlyMap<string, number> {
    return this.#rows.acceptedCounts();
  }

  /** The exception that covers a stored finding once it is Active; "" where none does. */
  acceptanceFor(observation: Observation): string {
    return this.#options.acceptanceOf?.(acceptableOf(observation), "") ?? "";
  }

  /**
   * What lies in `fallback`, the controller's namespace, though its own namespace has taken the same Observation too: one
   * replica was refused there, and another one was not.
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

  /** True while a full list comes in. */
  get isListing(): boolean {
    return this.#listing;
  }

  /** True from the moment the server's revision went back until a full list is in. */
  get isRewound(): boolean {
    return this.#isRewound;
  }

  /** Calls back when an answer shows that the server's revision went back: a full list is wanted. */
  set onRewound(listener: () => void) {
    this.#onRewound = listener;
  }

  /**
   * Call it before a write, and what it returns with the resourceVersion of the answer. The answer to a write that was sent
   * after a revision had been seen bears a later one, unless etcd was restored from a copy (kubernetes#107457).
   */
  sent(what: "observation" | "lease" = "observation"): (resourceVersion: string | undefined) => void {
    const { observation, lease } = this.#seen;
    // Leases may lie in an etcd of their own: revisions of two are not compared once that proved wrong.
    const isComparable = what === "observation" || this.#falseAlarms < MAX_FALSE_ALARMS;
    const before = Math.max(what === "lease" ? lease : 0, isComparable ? observation : 0);
    const era = this.#era;
    return (resourceVersion) => {
      // What was noticed in the meantime is not noticed again.
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

  /** Notes the API server's answer to a write of ours: read-your-writes. */
  note(observation: Observation): void {
    this.#apply(observation, true);
  }

  /** Notes that the API server has no such object any more; with a uid: only that one. */
  forget(namespace: string, name: string, uid?: string): void {
    const slot = this.#rows.find(namespace, name);
    if (slot !== NONE) {
      if (uid === undefined || this.#rows.hasUid(slot, uid)) this.#remove(slot);
      return;
    }
    // A window may know an object that the index has not seen yet.
    const named = parseName(name);
    if (named) this.#options.onGone?.(named.fingerprint, named.generation);
  }

  #synced(resourceVersion: string): void {
    this.#listing = false;
    this.#complete = true;
    this.#sweep();
    // Nothing was written during the list but by us: a consistent list is never older than what was seen before it.
    if (versionNumber(resourceVersion) < this.#seenBeforeList && this.#seen.observation > 0) {
      this.#rewind();
      return this.#onRewound();
    }
    this.#saw(resourceVersion);
    if (!this.#isRewound) return;
    if (this.#alarmAt > 0 && versionNumber(resourceVersion) >= this.#alarmAt) this.#falseAlarms++;
    this.#alarmAt = 0;
    this.#isRewound = false;
    this.#options.onHealed?.();
  }

  /** No known resourceVersion means anything any more: what is listed next is believed. */
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
    // The watch shows again what the answer to a write has shown. Objects of a full list are read all the same.
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
      // The watch is past this answer already: if the object still existed, it would be known.
      if (!(ownWrite && projection.resourceVersion <= this.#watched)) {
        this.#rows.insert(projection, this.#epoch);
      }
    } else if (projection.resourceVersion < this.#rows.resourceVersion(slot)) {
      this.#rows.setEpoch(slot, this.#epoch);
    } else {
      this.#rows.update(slot, projection, this.#epoch);
    }
  }

  #setAside(observation: Observation, why: Foreign): void {
    const { namespace = "", name = "" } = observation.metadata;
    const key = placeKey(namespace, name);
    if (!this.#foreign.has(key)) this.#options.onForeign?.(observation, why);
    this.#foreign.set(key, this.#epoch);
  }

  /** The slot of an object that is known in just this version. */
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

  /** After a full list: what it did not name is gone. */
  #sweep(): void {
    for (const slot of this.#slots()) if (this.#rows.epoch(slot) !== this.#epoch) this.#remove(slot);
    for (const [key, seenIn] of this.#foreign) if (seenIn !== this.#epoch) this.#foreign.delete(key);
  }

  #remove(slot: number): void {
    const fingerprint = this.#rows.fingerprint(slot);
    const generation = this.#rows.generation(slot);
    this.#rows.remove(slot);
    this.#options.onGone?.(fingerprint, generation);
  }
}

function placeKey(namespace: string, name: string): number {
  return fingerprintKey(sha256(`${namespace}/${name}`));
}
