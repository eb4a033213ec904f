/** The rows of a long list by chunks: only what is shown, and a little around it, is fetched and kept. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { FindingPage, FindingRow } from "../protocol.ts";
import { keepFresh } from "./answers.ts";
import { messageOf, request } from "./session.ts";

/** Rows of one request. */
const CHUNK = 100;
const MOST_CHUNKS = 30;

interface Chunk {
  readonly generation: number;
  readonly rows: readonly FindingRow[];
}

/** A list of unknown length: says how many rows there are and gives those that are there. */
class Rows {
  total: number | undefined;
  counts: FindingPage["counts"] | undefined;
  error: string | undefined;
  #chunks = new Map<number, Chunk>();
  #generation = 0;
  #first = 0;
  #last = 0;
  #busy = false;
  #loading = Promise.resolve();

  /** Called after each change of the rows, the total or the error. */
  changed = () => {};
  #signal = AbortSignal.abort();

  constructor(readonly query: string) {}

  rowAt(index: number): FindingRow | undefined {
    return this.#chunks.get(Math.floor(index / CHUNK))?.rows[index % CHUNK];
  }

  /** Says which rows are shown; those that are missing or old are fetched. */
  show(first: number, last: number, signal: AbortSignal): Promise<void> {
    this.#first = first;
    this.#last = last;
    this.#signal = signal;
    if (!this.#busy) this.#loading = this.#load();
    return this.#loading;
  }

  /** Fetches what is shown again, all else when it is shown. */
  async refresh(signal: AbortSignal): Promise<void> {
    this.#generation++;
    await this.show(this.#first, this.#last, signal);
  }

  async #load(): Promise<void> {
    this.#busy = true;
    for (let missing = this.#missing(); missing !== undefined; missing = this.#missing()) {
      const generation = this.#generation;
      const signal = this.#signal;
      if (signal.aborted) break;
      try {
        const path = `/api/findings?${this.query}&offset=${missing * CHUNK}&limit=${CHUNK}`;
        const { total, counts, rows } = await request<FindingPage>(path, { signal });
        this.total = total;
        this.counts = counts;
        this.error = undefined;
        this.#chunks.delete(missing);
        this.#chunks.set(missing, { generation, rows });
      } catch (error) {
        if (signal.aborted) continue;
        this.error = messageOf(error);
        this.changed();
        break;
      }
      const oldest = this.#chunks.keys().next();
      if (this.#chunks.size > MOST_CHUNKS && !oldest.done) this.#chunks.delete(oldest.value);
      this.changed();
    }
    this.#busy = false;
  }

  #missing(): number | undefined {
    const last = Math.min(this.#last, (this.total ?? 1) - 1);
    for (
      let chunk = Math.floor(this.#first / CHUNK);
      chunk <= Math.floor(Math.max(last, 0) / CHUNK);
      chunk++
    ) {
      if (this.#chunks.get(chunk)?.generation !== this.#generation) return chunk;
    }
    return undefined;
  }
}

/** Lists that were shown, by query: going back shows them at once. */
const kept = new Map<string, Rows>();
const MOST_KEPT = 4;

/** The list of a query, kept fresh; while the first rows of a new query load it is the list before. */
export function useRows(
  query: string,
): { readonly rows: Rows; readonly show: (first: number, last: number) => void } {
  const [, setVersion] = useState(0);
  const shown = useRef<Rows | undefined>(undefined);
  const wanted = useRef<Rows | undefined>(undefined);
  const signal = useRef<AbortSignal>(AbortSignal.abort());
  if (wanted.current?.query !== query) {
    wanted.current = kept.get(query) ?? new Rows(query);
  }
  const list = wanted.current;
  if (!shown.current || list.total !== undefined || list.error !== undefined) shown.current = list;
  useEffect(() => {
    const following = wanted.current;
    if (!following) return;
    following.changed = () => setVersion((version) => version + 1);
    kept.delete(query);
    kept.set(query, following);
    const oldest = kept.keys().next();
    if (kept.size > MOST_KEPT && !oldest.done) kept.delete(oldest.value);
    return keepFresh((fresh) => {
      signal.current = fresh;
      return following.refresh(fresh);
    });
  }, [query]);
  return {
    rows: shown.current,
    show: (first, last) => void wanted.current?.show(first, last, signal.current),
  };
}
