/** A hash table from 64-bit keys to 32-bit numbers in one typed array: 12 bytes a place, at most two thirds of them taken. */

const WORDS = 3;
const FIRST_PLACES = 64;

/** Keys are two 32-bit words of a hash; 0,0 is read as 0,1. */
export class FingerprintTable {
  #places = FIRST_PLACES;
  #table = new Uint32Array(FIRST_PLACES * WORDS);
  #size = 0;
  // Keys may be chosen by whoever sends events: without a secret they could all be aimed at one place.
  readonly #seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;

  get size(): number {
    return this.#size;
  }

  get byteLength(): number {
    return this.#table.byteLength;
  }

  get(high: number, low: number): number | undefined {
    const at = this.#find(high, key(high, low));
    return this.#taken(at) ? this.#table[at * WORDS + 2] : undefined;
  }

  set(high: number, low: number, value: number): void {
    const lowKey = key(high, low);
    let at = this.#find(high, lowKey);
    if (!this.#taken(at)) {
      if ((this.#size + 1) * 3 > this.#places * 2) {
        this.#rebuild(this.#places * 2);
        at = this.#find(high, lowKey);
      }
      this.#size++;
    }
    this.#table.set([high, lowKey, value], at * WORDS);
  }

  delete(high: number, low: number): void {
    let hole = this.#find(high, key(high, low));
    if (!this.#taken(hole)) return;
    this.#size--;
    // Whatever was pushed past the hole moves back into it, so that no tombstones pile up.
    for (let at = this.#after(hole); this.#taken(at); at = this.#after(at)) {
      const home = this.#home(this.#word(at, 0), this.#word(at, 1));
      if (((at - home) & (this.#places - 1)) < ((at - hole) & (this.#places - 1))) continue;
      this.#table.copyWithin(hole * WORDS, at * WORDS, at * WORDS + WORDS);
      hole = at;
    }
    this.#table.fill(0, hole * WORDS, hole * WORDS + WORDS);
    if (this.#places > FIRST_PLACES && this.#size * 8 < this.#places) this.#rebuild(this.#places / 2);
  }

  clear(): void {
    this.#places = FIRST_PLACES;
    this.#table = new Uint32Array(FIRST_PLACES * WORDS);
    this.#size = 0;
  }

  /** Deletes every entry whose value does not pass. */
  keep(passes: (value: number) => boolean): void {
    const old = this.#table;
    const places = this.#places;
    this.clear();
    for (let at = 0; at < places; at++) {
      const [high = 0, low = 0, value = 0] = old.subarray(at * WORDS, at * WORDS + WORDS);
      if ((high !== 0 || low !== 0) && passes(value)) this.set(high, low, value);
    }
  }

  #rebuild(places: number): void {
    const old = this.#table;
    this.#places = places;
    this.#table = new Uint32Array(places * WORDS);
    for (let from = 0; from < old.length; from += WORDS) {
      const high = old[from] ?? 0, low = old[from + 1] ?? 0;
      if (high === 0 && low === 0) continue;
      this.#table.set([high, low, old[from + 2] ?? 0], this.#find(high, low) * WORDS);
    }
  }

  /** The place of a key, or the free one where it would go. */
  #find(high: number, low: number): number {
    let at = this.#home(high, low);
    while (this.#taken(at) && !(this.#word(at, 0) === high && this.#word(at, 1) === low)) {
      at = this.#after(at);
    }
    return at;
  }

  #home(high: number, low: number): number {
    return mix(high ^ this.#seed, low) & (this.#places - 1);
  }

  #after(at: number): number {
    return (at + 1) & (this.#places - 1);
  }

  #taken(at: number): boolean {
    return this.#word(at, 0) !== 0 || this.#word(at, 1) !== 0;
  }

  #word(at: number, word: number): number {
    return this.#table[at * WORDS + word] ?? 0;
  }
}

function key(high: number, low: number): number {
  return high === 0 && low === 0 ? 1 : low;
}

/** Spreads two words over 32 bits. */
export function mix(high: number, low: number): number {
  let hash = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ low;
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 16), 0x27d4eb2f);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** The words of the first `count` × 32 bits of a fingerprint in hex. */
export function hexWords(fingerprint: string, count: number): number[] {
  const words: number[] = [];
  for (let word = 0; word < count; word++) {
    words.push(Number.parseInt(fingerprint.slice(word * 8, word * 8 + 8), 16) >>> 0);
  }
  return words;
}

/** The first 64 bits of each fingerprint, two words each. */
export function packed(fingerprints: readonly string[]): Uint32Array {
  const words = new Uint32Array(fingerprints.length * 2);
  fingerprints.forEach((fingerprint, index) => words.set(hexWords(fingerprint, 2), index * 2));
  return words;
}

/** What either of two packed sets holds, once. */
export function union(before: Uint32Array, added: Uint32Array): Uint32Array {
  const words = new Map<string, readonly [number, number]>();
  for (const part of [before, added]) {
    for (let at = 0; at < part.length; at += 2) {
      const pair = [part[at] ?? 0, part[at + 1] ?? 0] as const;
      words.set(pair.join(), pair);
    }
  }
  return Uint32Array.from([...words.values()].flat());
}

/** A word as eight hex digits. */
export function word(value: number): string {
  return value.toString(16).padStart(8, "0");
}
