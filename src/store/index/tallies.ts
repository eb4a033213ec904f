/** Sums over the index, kept as rows come and go. */
import { CATEGORIES, type Category, SEVERITIES, type Severity } from "../../model/observation.ts";

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
