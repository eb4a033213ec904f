/** Share of events that passed, over a sliding time, in a ring of buckets. */

const BUCKETS = 30;

interface Bucket {
  /** Number of the time slice it counts. */
  slice: number;
  passed: number;
  total: number;
}

/** Counts passes and drops of one source over the last `windowMs`. */
export class PassRate {
  readonly #sliceMs: number;
  readonly #buckets: Bucket[] = Array.from({ length: BUCKETS }, () => ({ slice: -1, passed: 0, total: 0 }));

  constructor(windowMs: number) {
    this.#sliceMs = windowMs / BUCKETS;
  }

  add(passed: boolean, atMs: number): void {
    const slice = Math.floor(atMs / this.#sliceMs);
    const bucket = this.#buckets[slice % BUCKETS];
    if (!bucket) return;
    if (bucket.slice !== slice) Object.assign(bucket, { slice, passed: 0, total: 0 });
    bucket.total++;
    if (passed) bucket.passed++;
  }

  /** 0 to 1; undefined where nothing was counted in the window. */
  rate(atMs: number): number | undefined {
    const now = Math.floor(atMs / this.#sliceMs);
    let passed = 0;
    let total = 0;
    for (const bucket of this.#buckets) {
      if (bucket.slice <= now - BUCKETS || bucket.slice > now) continue;
      passed += bucket.passed;
      total += bucket.total;
    }
    return total === 0 ? undefined : passed / total;
  }
}
