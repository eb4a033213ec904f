/** Rows of the index: found by fingerprint, newest generation first, or by name. */
import { type AcceptableFinding, policyOf } from "../../model/acceptance.ts";
import { nameFingerprint, observationName, parseName } from "../../model/identity.ts";
import { CATEGORIES, type Category, SEVERITIES, type Severity } from "../../model/observation.ts";
import type { Generation, Identified } from "../../pipeline/ports.ts";
import {
  type AcceptanceOf,
  Columns,
  type Concerned,
  hexText,
  Interned,
  keyOfWords,
  nameWords,
  type Projection,
  type Row,
  uidText,
  uidWords,
} from "./projection.ts";

const SEVERITY_BITS = 7;
const CATEGORY_SHIFT = 3;
const RESOLVED = 1 << 6;
const FINDING = 1 << 7;
const PUSHED = 1 << 8;
const FIX_KNOWN = 1 << 9;

/** No such slot. */
export const NONE = -1;

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
  readonly #rules = new Interned();
  readonly #workloads = new Interned();
  readonly #resources = new Interned();
  readonly #acceptances = new Interned();
  readonly #acceptanceOf: AcceptanceOf;
  /** The slot of the first of each chain. */
  readonly #heads = new Map<number, number>();
  #used = 0;
  #free = 0;

  constructor(acceptanceOf: AcceptanceOf) {
    this.#acceptanceOf = acceptanceOf;
  }

  /** Bytes of the columns, which are outside the JavaScript heap. */
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

  /** The fields of a finding that exceptions match. */
  acceptable(slot: number): AcceptableFinding {
    const columns = this.#columns;
    const traits = columns.traits[slot] ?? 0;
    return {
      source: this.source(slot),
      severity: SEVERITIES[traits & SEVERITY_BITS] ?? "UNKNOWN",
      belongsTo: this.belongsTo(slot),
      rule: this.#rules.text(columns.rule[slot] ?? 0),
      workload: this.#workloads.text(columns.workload[slot] ?? 0),
      resource: this.#resources.text(columns.resource[slot] ?? 0),
      isFixKnown: (traits & FIX_KNOWN) !== 0,
    };
  }

  acceptance(slot: number): string {
    return this.#acceptances.text(this.#columns.acceptance[slot] ?? 0);
  }

  storedAcceptance(slot: number): string {
    return this.#acceptances.text(this.#columns.storedAcceptance[slot] ?? 0);
  }

  /** True if the status names another exception than the one that covers the finding now. */
  isAcceptanceStale(slot: number): boolean {
    const { acceptance, storedAcceptance } = this.#columns;
    return acceptance[slot] !== storedAcceptance[slot];
  }

  /** How many findings each exception covers, by `acceptanceText`. */
  acceptedCounts(): Map<string, number> {
    const { acceptance } = this.#columns;
    const counts = new Uint32Array(this.#acceptances.end);
    for (let slot = 0; slot < this.#used; slot++) {
      if (this.has(slot)) counts[acceptance[slot] ?? 0] = (counts[acceptance[slot] ?? 0] ?? 0) + 1;
    }
    const found = new Map<string, number>();
    for (const [text, id] of this.#acceptances.entries()) if (text !== "") found.set(text, counts[id] ?? 0);
    return found;
  }

  /** Determines again which exception covers each finding, or each of those concerned; returns how many changed. */
  judgeAgain(concerned?: Concerned): number {
    const isConcerned = concerned ? this.#concerns(concerned) : () => true;
    let changed = 0;
    for (let slot = 0; slot < this.#used; slot++) {
      if (isConcerned(slot) && this.has(slot) && this.#judge(slot)) changed++;
    }
    return changed;
  }

  /** Returns a check of slots that compares only ids of interned texts. */
  #concerns({ namespaces, rules, resources }: Concerned): (slot: number) => boolean {
    const columns = this.#columns;
    const belongsTo = this.#namespaces.flags((text) => namespaces.has(text));
    const ofRule = this.#rules.flags((text) => rules.has(text) || rules.has(policyOf(text)));
    const ofResource = this.#resources.flags((text) => resources.has(text));
    return (slot) =>
      belongsTo[columns.belongsTo[slot] ?? 0] === 1 &&
      (ofRule[columns.rule[slot] ?? 0] === 1 || ofResource[columns.resource[slot] ?? 0] === 1);
  }

  /** Determines which exception covers the finding; true if that changed. */
  #judge(slot: number): boolean {
    const columns = this.#columns;
    const before = columns.acceptance[slot] ?? 0;
    const text = this.#acceptedBy(slot);
    if (text === this.#acceptances.text(before)) return false;
    this.tallies.remove(this.#counted(slot));
    columns.acceptance[slot] = this.#acceptances.take(text);
    this.#acceptances.release(before);
    this.tallies.add(this.#counted(slot));
    return true;
  }

  /** The exception that covers a slot. Occurrences and Resolved findings have none. */
  #acceptedBy(slot: number): string {
    if (!this.finding(slot) || this.resolved(slot)) return "";
    return this.#acceptanceOf(this.acceptable(slot), this.storedAcceptance(slot));
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
      rule: this.#rules.text(columns.rule[slot] ?? 0),
      acceptance: this.acceptance(slot),
      storedAcceptance: this.storedAcceptance(slot),
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

  hasKey(key: number): boolean {
    return this.#heads.has(key);
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
    const release = this.#heldTexts(slot);
    this.tallies.remove(this.#counted(slot));
    this.#write(slot, projection, epoch);
    release();
  }

  remove(slot: number): void {
    const columns = this.#columns;
    this.tallies.remove(this.#counted(slot));
    this.#unlink(slot);
    this.#heldTexts(slot)();
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
      (projection.pushed ? PUSHED : 0) | (projection.isFixKnown ? FIX_KNOWN : 0);
    columns.rule[slot] = this.#rules.take(projection.rule);
    columns.workload[slot] = this.#workloads.take(projection.workload);
    columns.resource[slot] = this.#resources.take(projection.resource);
    columns.storedAcceptance[slot] = this.#acceptances.take(projection.storedAcceptance);
    columns.acceptance[slot] = this.#acceptances.take(this.#acceptedBy(slot));
    columns.epoch[slot] = epoch;
    this.tallies.add(this.#counted(slot));
  }

  /** Notes the interned texts that a row holds now; what it returns releases them. */
  #heldTexts(slot: number): () => void {
    const columns = this.#columns;
    const held = ([
      [this.#sources, columns.source],
      [this.#eventTypes, columns.eventType],
      [this.#namespaces, columns.namespace],
      [this.#namespaces, columns.belongsTo],
      [this.#rules, columns.rule],
      [this.#workloads, columns.workload],
      [this.#resources, columns.resource],
      [this.#acceptances, columns.acceptance],
      [this.#acceptances, columns.storedAcceptance],
    ] as const).map(([texts, column]) => [texts, column[slot] ?? 0] as const);
    return () => held.forEach(([texts, id]) => texts.release(id));
  }

  #counted(slot: number): Counted {
    const traits = this.#columns.traits[slot] ?? 0;
    return {
      source: this.source(slot),
      namespace: this.belongsTo(slot),
      severity: traits & SEVERITY_BITS,
      category: (traits >> CATEGORY_SHIFT) & 7,
      resolved: (traits & RESOLVED) !== 0,
      accepted: this.acceptance(slot) !== "",
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

/** The fields of a row that the tallies count by. */
interface Counted {
  readonly source: string;
  /** The namespace it belongs to. */
  readonly namespace: string;
  /** Index into SEVERITIES. */
  readonly severity: number;
  /** Index into CATEGORIES. */
  readonly category: number;
  readonly resolved: boolean;
  /** An exception covers it. */
  readonly accepted: boolean;
  readonly bytes: number;
}

/**
 * The Observations of one source in one namespace. The lists count by severity, in the order of SEVERITIES. `active` counts
 * those that are not Resolved, `accepted` those among them that an exception covers.
 */
export interface NamespaceTally {
  readonly count: number;
  readonly bytes: number;
  readonly active: readonly number[];
  readonly accepted: readonly number[];
  readonly resolved: readonly number[];
}

/** The Observations of one source. */
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
  readonly accepted: number[];
  readonly resolved: number[];
}

interface MutableSourceTally {
  count: number;
  bytes: number;
  readonly namespaces: Map<string, MutableTally>;
}

/** Counts Observations and their bytes: in total, by source and by namespace; Active ones also by category and severity. */
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

  /** The number of Active Observations for each category and severity, 0 included. Accepted ones are not counted. */
  *active(): Generator<{ category: Category; severity: Severity; count: number }> {
    for (const [row, category] of CATEGORIES.entries()) {
      for (const [column, severity] of SEVERITIES.entries()) {
        yield { category, severity, count: this.#active[row * SEVERITIES.length + column] ?? 0 };
      }
    }
  }

  #change({ source, namespace, severity, category, resolved, accepted, bytes }: Counted, by: 1 | -1): void {
    this.#count += by;
    this.#bytes += by * bytes;
    if (resolved) this.#resolved += by;
    else if (!accepted) bump(this.#active, category * SEVERITIES.length + severity, by);
    const tally = this.#sources.get(source) ?? { count: 0, bytes: 0, namespaces: new Map() };
    tally.count += by;
    tally.bytes += by * bytes;
    const share = tally.namespaces.get(namespace) ??
      { count: 0, bytes: 0, active: zeros(), accepted: zeros(), resolved: zeros() };
    share.count += by;
    share.bytes += by * bytes;
    bump(resolved ? share.resolved : share.active, severity, by);
    if (accepted) bump(share.accepted, severity, by);
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
