import { isObject, type JsonObject } from "../model/json.ts";
import { StatusError } from "./errors.ts";

/** One version of an object: its JSON without `apiVersion` and `kind`, so that all served versions share it. */
export type Stored = { readonly key: string; readonly revision: number; readonly body: string };

/** One write. `current` of a DELETED is the last state under the revision of the deletion. */
export type Change = {
  type: "ADDED" | "MODIFIED" | "DELETED";
  current: Stored;
  previous: Stored | undefined;
};

/** The revision all collections share, as in etcd, and how much history each keeps. */
export type Revisions = { revision: number; readonly maxChanges: number };

/** The objects of one resource, in key order (`namespace/name` or `name`), and their recent changes. */
export class Collection {
  ended = false;
  readonly #entries = new Map<string, Stored>();
  readonly #keys: string[] = [];
  readonly #waiting = new Set<() => void>();
  #log: Change[] = [];
  #compacted: number;

  constructor(readonly revisions: Revisions) {
    this.#compacted = revisions.revision;
  }

  get(key: string): Stored | undefined {
    return this.#entries.get(key);
  }

  /** How many objects have this key prefix now. */
  count(prefix = ""): number {
    return lowerBound(this.#keys, `${prefix}\uffff`) - lowerBound(this.#keys, prefix);
  }

  /** Writes `object` (without apiVersion and kind) under a new revision, which goes into its metadata. */
  put(key: string, object: JsonObject): Stored {
    const previous = this.#entries.get(key);
    const current = this.#stamp(key, object);
    if (!previous) this.#keys.splice(lowerBound(this.#keys, key), 0, key);
    this.#entries.set(key, current);
    this.#record({ type: previous ? "MODIFIED" : "ADDED", current, previous });
    return current;
  }

  /** Removes an object; `object` is its last state. */
  remove(key: string, object: JsonObject): void {
    const previous = this.#entries.get(key);
    if (!this.#entries.delete(key)) return;
    this.#keys.splice(lowerBound(this.#keys, key), 1);
    this.#record({ type: "DELETED", current: this.#stamp(key, object), previous });
  }

  /** Objects whose key starts with `prefix` and comes after `after`, in order, as they were at `revision`. */
  *range(prefix: string, { after = "", revision = this.revisions.revision } = {}): Generator<Stored> {
    const since = this.#log.slice(this.#indexAfter(revision)).reverse();
    const past = new Map(since.map(({ current, previous }) => [current.key, previous]));
    const gone = [...past.keys()].filter((key) => !this.#entries.has(key));
    const keys = gone.length > 0 ? [...this.#keys, ...gone].sort() : this.#keys;
    const start = lowerBound(keys, after === "" ? prefix : `${after}\0`);
    for (let index = start, key = keys[index]; key?.startsWith(prefix); key = keys[++index]) {
      const stored = past.has(key) ? past.get(key) : this.#entries.get(key);
      if (stored) yield stored;
    }
  }

  /** The first change after `revision`, if there is one yet; throws 410 where it is forgotten. */
  changeAfter(revision: number): Change | undefined {
    return this.#log[this.#indexAfter(revision)];
  }

  /** Waits for the next change or `wake()`, but no longer than this. */
  async changed(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#waiting.add(resolve);
    await promise;
    this.#waiting.delete(resolve);
    clearTimeout(timer);
  }

  /** Ends its watches: the resource is no more. */
  end(): void {
    this.ended = true;
    this.wake();
  }

  /** Lets all who wait look again. */
  wake(): void {
    for (const resolve of this.#waiting) resolve();
  }

  /** Forgets the history, or the older part of it: what asks for anything before then gets 410. */
  compact(changes = this.#log.length): void {
    this.#log = this.#log.slice(changes);
    this.#compacted = (this.#log[0]?.current.revision ?? this.revisions.revision + 1) - 1;
  }

  #stamp(key: string, object: JsonObject): Stored {
    const revision = ++this.revisions.revision;
    if (isObject(object.metadata)) object.metadata.resourceVersion = String(revision);
    return { key, revision, body: JSON.stringify(object) };
  }

  #record(change: Change): void {
    this.#log.push(change);
    if (this.#log.length > this.revisions.maxChanges) this.compact(this.#log.length >> 1);
    this.wake();
  }

  #indexAfter(revision: number): number {
    if (revision >= this.#compacted) {
      return firstIndex(this.#log, ({ current }) => current.revision > revision);
    }
    throw new StatusError(410, "Expired", `too old resource version: ${revision} (${this.#compacted})`);
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  return firstIndex(keys, (each) => each >= key);
}

/** By halving: `holds` is false for the first items and true from some index on. */
function firstIndex<T>(items: readonly T[], holds: (item: T) => boolean): number {
  let low = 0;
  for (let high = items.length; low < high;) {
    const middle = (low + high) >>> 1;
    if (holds(items[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
