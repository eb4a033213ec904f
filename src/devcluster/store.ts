import type { JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { expired } from "./errors.ts";

/** One version of an object: its JSON without `apiVersion` and `kind`, so that all served versions share it. */
export interface Stored {
  readonly key: string;
  readonly revision: number;
  readonly body: string;
}

/** One write. `current` of a DELETED is the last state under the revision of the deletion. */
export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly current: Stored;
  readonly previous?: Stored;
}

/** How much history each collection keeps for watches and consistent lists. */
export interface HistoryLimits {
  readonly maxChanges: number;
  readonly maxBytes: number;
}

/** The revisions of all collections: one counter, as in etcd. */
export class Store {
  #collections = new Map<string, Collection>();
  #revision = 1;

  constructor(readonly limits: HistoryLimits) {}

  get revision(): number {
    return this.#revision;
  }

  /** @internal The next revision, taken by a write. */
  advance(): number {
    return ++this.#revision;
  }

  /** The objects of one resource, `group/plural`; made when first asked for. */
  collection(resource: string): Collection {
    let collection = this.#collections.get(resource);
    if (!collection) this.#collections.set(resource, collection = new Collection(this));
    return collection;
  }

  collections(): Iterable<Collection> {
    return this.#collections.values();
  }

  /** Removes a resource: its watches end. */
  drop(resource: string): void {
    this.#collections.get(resource)?.end();
    this.#collections.delete(resource);
  }

  /** Forgets all history: a watch or a continued list from before now gets 410. */
  compact(): void {
    for (const collection of this.#collections.values()) collection.compact();
  }
}

/** The objects of one resource, in key order (`namespace/name` or `name`), and their recent changes. */
export class Collection {
  #entries = new Map<string, Stored>();
  #keys: string[] = [];
  #log: Change[] = [];
  #logBytes = 0;
  #compacted: number;
  #waiting = new Set<() => void>();
  #ended = false;

  constructor(readonly store: Store) {
    this.#compacted = 0;
  }

  get size(): number {
    return this.#keys.length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get(key: string): Stored | undefined {
    return this.#entries.get(key);
  }

  /** Writes `object` (without apiVersion and kind) under a new revision, which goes into its metadata. */
  put(key: string, object: JsonObject): Stored {
    const previous = this.#entries.get(key);
    const current = this.#stamp(key, object);
    if (!previous) this.#keys.splice(this.#lowerBound(key), 0, key);
    this.#entries.set(key, current);
    this.#record(previous ? { type: "MODIFIED", current, previous } : { type: "ADDED", current });
    return current;
  }

  /** Removes an object; `object` is its last state. */
  remove(key: string, object: JsonObject): Stored | undefined {
    const previous = this.#entries.get(key);
    if (!previous) return undefined;
    const current = this.#stamp(key, object);
    this.#entries.delete(key);
    this.#keys.splice(this.#lowerBound(key), 1);
    this.#record({ type: "DELETED", current, previous });
    return current;
  }

  /** Objects whose key starts with `prefix` and comes after `after`, in order, as they were at `revision`. */
  *range(prefix: string, { after = "", revision = this.store.revision } = {}): Generator<Stored> {
    const past = this.#statesAt(revision);
    const gone: Stored[] = [];
    for (const [key, stored] of past) if (stored && !this.#entries.has(key)) gone.push(stored);
    gone.sort((a, b) => a.key < b.key ? -1 : 1);
    const start = after === "" ? prefix : `${after}\0`;
    let next = gone.findIndex((stored) => stored.key >= start);
    if (next < 0) next = gone.length;
    for (let index = this.#lowerBound(start); index <= this.#keys.length; index++) {
      const key = this.#keys[index];
      const here = key?.startsWith(prefix) ? key : undefined;
      for (let stored = gone[next]; stored?.key.startsWith(prefix); stored = gone[++next]) {
        if (here !== undefined && here < stored.key) break;
        yield stored;
      }
      if (here === undefined) return;
      const stored = past.has(here) ? past.get(here) : this.#entries.get(here);
      if (stored) yield stored;
    }
  }

  /** How many objects have this key prefix now. */
  count(prefix: string): number {
    return prefix === "" ? this.size : this.#lowerBound(`${prefix}\uffff`) - this.#lowerBound(prefix);
  }

  /** The first change after `revision`, if there is one yet; throws 410 where it is forgotten. */
  changeAfter(revision: number): Change | undefined {
    return this.#log[this.#indexAfter(revision)];
  }

  /** Calls `wake` once at the next change, or when the collection ends. */
  onChange(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  compact(): void {
    this.#log = [];
    this.#logBytes = 0;
    this.#compacted = this.store.revision;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #stamp(key: string, object: JsonObject): Stored {
    const revision = this.store.advance();
    if (isObject(object.metadata)) object.metadata.resourceVersion = String(revision);
    return { key, revision, body: JSON.stringify(object) };
  }

  #record(change: Change): void {
    this.#log.push(change);
    this.#logBytes += change.previous?.body.length ?? 0;
    const { maxChanges, maxBytes } = this.store.limits;
    if (this.#log.length > maxChanges || this.#logBytes > maxBytes) {
      const forgotten = this.#log.splice(0, Math.ceil(this.#log.length / 2));
      this.#compacted = forgotten.at(-1)!.current.revision;
      for (const { previous } of forgotten) this.#logBytes -= previous?.body.length ?? 0;
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #statesAt(revision: number): Map<string, Stored | undefined> {
    const past = new Map<string, Stored | undefined>();
    if (revision >= this.store.revision) return past;
    for (let index = this.#indexAfter(revision); index < this.#log.length; index++) {
      const { current, previous } = this.#log[index]!;
      if (!past.has(current.key)) past.set(current.key, previous);
    }
    return past;
  }

  #indexAfter(revision: number): number {
    if (revision < this.#compacted) {
      throw expired(`too old resource version: ${revision} (${this.#compacted})`);
    }
    let low = 0;
    for (let high = this.#log.length; low < high;) {
      const middle = (low + high) >>> 1;
      if (this.#log[middle]!.current.revision > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #lowerBound(key: string): number {
    let low = 0;
    for (let high = this.#keys.length; low < high;) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
