/** The rows of the index: typed arrays, one entry a slot, off the JavaScript heap. */

const FIRST_CAPACITY = 1_024;

/**
 * Columns grow together by doubling. 99 bytes a slot, and 8 for its share of the hash table: what a million
 * Observations cost is known beforehand.
 */
export class Columns {
  capacity = FIRST_CAPACITY;
  /** Four words each. */
  fingerprint: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  uid: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  /** NaN where the server's is no number. */
  resourceVersion: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Milliseconds since the epoch. */
  firstSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  lastSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Seconds since the epoch: Kubernetes says no more. */
  createdAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  resolvedAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** 0: none of its own. */
  ttlSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  bytes: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  generation: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  contentHash: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  namespace: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** The next older generation of the fingerprint, or the next free slot, as slot + 1; 0 ends the chain. */
  next: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  source: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  eventType: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** Bits: 0–2 severity, 3–5 category, 6 resolved, 7 finding, 8 pushed through a door. */
  traits: Uint16Array = new Uint16Array(FIRST_CAPACITY);
  /** 0: free; else the list in which the object was last seen. */
  epoch: Uint8Array = new Uint8Array(FIRST_CAPACITY);

  /** Doubles the capacity. */
  grow(): void {
    this.capacity *= 2;
    const { capacity } = this;
    this.fingerprint = widened(this.fingerprint, new Uint32Array(capacity * 4));
    this.uid = widened(this.uid, new Uint32Array(capacity * 4));
    this.resourceVersion = widened(this.resourceVersion, new Float64Array(capacity));
    this.firstSeenAt = widened(this.firstSeenAt, new Float64Array(capacity));
    this.lastSeenAt = widened(this.lastSeenAt, new Float64Array(capacity));
    this.createdAtSeconds = widened(this.createdAtSeconds, new Uint32Array(capacity));
    this.resolvedAtSeconds = widened(this.resolvedAtSeconds, new Uint32Array(capacity));
    this.ttlSeconds = widened(this.ttlSeconds, new Uint32Array(capacity));
    this.bytes = widened(this.bytes, new Uint32Array(capacity));
    this.generation = widened(this.generation, new Uint32Array(capacity));
    this.contentHash = widened(this.contentHash, new Uint32Array(capacity));
    this.namespace = widened(this.namespace, new Uint32Array(capacity));
    this.next = widened(this.next, new Uint32Array(capacity));
    this.source = widened(this.source, new Uint32Array(capacity));
    this.eventType = widened(this.eventType, new Uint32Array(capacity));
    this.traits = widened(this.traits, new Uint16Array(capacity));
    this.epoch = widened(this.epoch, new Uint8Array(capacity));
  }

  /** Bytes held. */
  get byteLength(): number {
    return Object.values(this).reduce<number>(
      (sum, column) => sum + (ArrayBuffer.isView(column) ? column.byteLength : 0),
      0,
    );
  }
}

function widened<T extends { set(from: ArrayLike<number>): void }>(from: ArrayLike<number>, to: T): T {
  to.set(from);
  return to;
}

/** Strings kept once, with the number of their users: what nobody uses any more is forgotten. */
export class Interned {
  readonly #ids = new Map<string, number>();
  readonly #texts: (string | undefined)[] = [];
  readonly #users: number[] = [];
  readonly #free: number[] = [];

  /** The id of a text, one more user of it. */
  take(text: string): number {
    let id = this.#ids.get(text);
    if (id === undefined) {
      id = this.#free.pop() ?? this.#texts.length;
      this.#ids.set(text, id);
      this.#texts[id] = text;
      this.#users[id] = 0;
    }
    this.#users[id] = (this.#users[id] ?? 0) + 1;
    return id;
  }

  /** One user less. */
  release(id: number): void {
    const users = (this.#users[id] ?? 0) - 1;
    this.#users[id] = users;
    if (users > 0) return;
    const text = this.#texts[id];
    if (text !== undefined) this.#ids.delete(text);
    this.#texts[id] = undefined;
    this.#free.push(id);
  }

  text(id: number): string {
    return this.#texts[id] ?? "";
  }
}
