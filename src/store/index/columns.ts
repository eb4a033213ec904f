/** The rows of the index: typed arrays, one entry a slot, off the JavaScript heap. */

const FIRST_CAPACITY = 1_024;

/** Columns grow together by doubling: 127 bytes a slot. */
export class Columns {
  capacity = FIRST_CAPACITY;
  /** Four words each. */
  fingerprint: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  uid: Uint32Array = new Uint32Array(FIRST_CAPACITY * 4);
  /** NaN if the server's is not a number. */
  resourceVersion: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Milliseconds since the epoch. */
  firstSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  lastSeenAt: Float64Array = new Float64Array(FIRST_CAPACITY);
  /** Seconds since the epoch, the precision of Kubernetes. */
  createdAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  resolvedAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** Seconds since the process started; 0: not reported to this process. */
  reportedAtSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** 0: none of its own. */
  ttlSeconds: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  bytes: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  generation: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  contentHash: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  namespace: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  belongsTo: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** The next older generation of the fingerprint, or the next free slot, as slot + 1; 0 ends the chain. */
  next: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  source: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  eventType: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  rule: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  workload: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  resource: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** The exception that covers the finding now, and the one that its status names. */
  acceptance: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  storedAcceptance: Uint32Array = new Uint32Array(FIRST_CAPACITY);
  /** Bits: 0–2 severity, 3–5 category, 6 resolved, 7 finding, 8 pushed through a door, 9 a fix is known. */
  traits: Uint16Array = new Uint16Array(FIRST_CAPACITY);
  /** 0: free; else the list in which the object was last seen. */
  epoch: Uint8Array = new Uint8Array(FIRST_CAPACITY);

  /** Doubles the capacity. */
  grow(): void {
    this.capacity *= 2;
    for (const [name, column] of this.#columns()) Object.assign(this, { [name]: doubled(column) });
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.#columns().reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
  }

  #columns(): [string, Column][] {
    return Object.entries(this).filter((entry): entry is [string, Column] => ArrayBuffer.isView(entry[1]));
  }
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

function doubled(column: Column): Column {
  const Wider = column.constructor as new (length: number) => Column;
  const wider = new Wider(column.length * 2);
  wider.set(column);
  return wider;
}

/** Strings kept once, with the number of their users; a text without users is dropped. */
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

  /** One past the highest id. */
  get end(): number {
    return this.#texts.length;
  }

  /** A flag for each id: 1 if `isWanted` is true for its text. */
  flags(isWanted: (text: string) => boolean): Uint8Array {
    const found = new Uint8Array(this.#texts.length);
    for (const [text, id] of this.#ids) if (isWanted(text)) found[id] = 1;
    return found;
  }

  /** Every text that has users, with its id. */
  entries(): IterableIterator<[string, number]> {
    return this.#ids.entries();
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
