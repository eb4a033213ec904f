/** A hash table over the fingerprints of slots; in each place a chain from a fingerprint's newest generation to its oldest. */
import type { Columns } from "./columns.ts";
import { mix } from "./fingerprint_table.ts";

/** No such slot. */
export const NONE = -1;

/** Finds slots by fingerprint. The chains themselves are the column `next`. */
export class Chains {
  readonly #columns: Columns;
  readonly #seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  /** Places hold slot + 1; there are twice as many places as slots. */
  #heads: Uint32Array;

  constructor(columns: Columns) {
    this.#columns = columns;
    this.#heads = new Uint32Array(columns.capacity * 2);
  }

  get byteLength(): number {
    return this.#heads.byteLength;
  }

  /** The slot of a fingerprint's newest generation, by its four words, or NONE. */
  newest(words: ArrayLike<number>): number {
    return (this.#heads[this.#place(words)] ?? 0) - 1;
  }

  /** The slot of the next older generation, or NONE. */
  older(slot: number): number {
    return (this.#columns.next[slot] ?? 0) - 1;
  }

  /** Puts a slot, whose columns are written, into its chain. */
  link(slot: number): void {
    const { generation, next } = this.#columns;
    const place = this.#placeOf(slot);
    let newer = NONE;
    let older = (this.#heads[place] ?? 0) - 1;
    while (older !== NONE && (generation[older] ?? 0) > (generation[slot] ?? 0)) {
      newer = older;
      older = this.older(older);
    }
    next[slot] = older + 1;
    if (newer === NONE) this.#heads[place] = slot + 1;
    else next[newer] = slot + 1;
  }

  /** Takes a slot out of its chain. */
  unlink(slot: number): void {
    const { next } = this.#columns;
    const place = this.#placeOf(slot);
    const older = next[slot] ?? 0;
    if (this.#heads[place] === slot + 1) {
      if (older === 0) this.#close(place);
      else this.#heads[place] = older;
      return;
    }
    let newer = (this.#heads[place] ?? 0) - 1;
    while (newer !== NONE && next[newer] !== slot + 1) newer = this.older(newer);
    if (newer !== NONE) next[newer] = older;
  }

  /** Makes room for as many slots as the columns have now. */
  grow(): void {
    const heads = this.#heads;
    this.#heads = new Uint32Array(this.#columns.capacity * 2);
    for (const head of heads) if (head !== 0) this.#heads[this.#placeOf(head - 1)] = head;
  }

  /** Empties a place and moves back into it whatever was pushed past it, so that no tombstones pile up. */
  #close(place: number): void {
    const mask = this.#heads.length - 1;
    let hole = place;
    for (let at = (hole + 1) & mask; this.#heads[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(this.#wordsOf((this.#heads[at] ?? 0) - 1));
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#heads[hole] = this.#heads[at] ?? 0;
      hole = at;
    }
    this.#heads[hole] = 0;
  }

  #wordsOf(slot: number): Uint32Array {
    return this.#columns.fingerprint.subarray(slot * 4, slot * 4 + 4);
  }

  #placeOf(slot: number): number {
    return this.#place(this.#wordsOf(slot));
  }

  /** The place of a fingerprint's chain, or the empty one where it would go. */
  #place(words: ArrayLike<number>): number {
    const mask = this.#heads.length - 1;
    let at = this.#home(words);
    while (this.#heads[at] !== 0 && !this.#matches((this.#heads[at] ?? 0) - 1, words)) at = (at + 1) & mask;
    return at;
  }

  // Senders can choose fingerprints by trial: without a secret they could aim many at one place.
  #home(words: ArrayLike<number>): number {
    return mix((words[0] ?? 0) ^ this.#seed, words[1] ?? 0) & (this.#heads.length - 1);
  }

  #matches(slot: number, words: ArrayLike<number>): boolean {
    const { fingerprint } = this.#columns;
    for (let word = 0; word < 4; word++) if (fingerprint[slot * 4 + word] !== words[word]) return false;
    return true;
  }
}
