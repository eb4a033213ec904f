/** Which events repeat a stored Observation: findings while it exists, occurrences within a sliding window. */
import { LRUCache } from "lru-cache";
import type { NormalEvent } from "../model/event.ts";
import { nameFingerprint } from "../model/identity.ts";
import type { Outcome } from "../model/outcome.ts";
import type { Generation, StoredIndex, Written } from "./ports.ts";

/** This process writes one fingerprint, and nothing else may until this is settled. */
export interface Reservation {
  /** Resolves with the outcome of the write; twins wait for it. Never rejects. */
  readonly settled: Promise<Outcome>;
  /** Ends the reservation. A stored generation is kept as the open window; a failure leaves no trace. */
  settle(written: Written): void;
}

/** The decision of dedup on one event. */
export type DedupDecision =
  | { readonly kind: "duplicate"; readonly into: Generation }
  /** A twin is being written: wait, then fail as it failed, or ask again. */
  | { readonly kind: "twin"; readonly settled: Promise<Outcome> }
  | { readonly kind: "write"; readonly generation: number; readonly reservation: Reservation };

export interface DedupOptions {
  readonly index: StoredIndex;
  /** Windows kept; an evicted one costs a request, never a second Observation. */
  readonly maxSize: number;
  /** Called at each eviction. */
  readonly onEvict?: () => void;
}

/** Dedup of one process. */
export interface Dedup {
  /** Decides one event. `write` reserves its fingerprint; a duplicate widens the window it is in. */
  decide(event: NormalEvent): DedupDecision;
  /** True where the request that the event tells of is stored or counted already: its batch was sent again. */
  isResent(event: NormalEvent): boolean;
  /** Notes that the event was stored or counted. */
  noteTaken(event: NormalEvent): void;
  /** Closes the window of a generation that was deleted. */
  forget(fingerprint: string, generation: number): void;
  /** Fill of the window cache, 0 to 1. */
  usage(): number;
  /** Writes under way. */
  readonly inFlight: number;
}

/** Creates the dedup of a process. */
export function createDedup({ index, maxSize, onEvict }: DedupOptions): Dedup {
  // Keyed by the part that names hold: the watch of Observations knows names, not fingerprints.
  const windows = new LRUCache<string, Generation>({
    max: maxSize,
    dispose: (_window, _key, reason) => {
      if (reason === "evict") onEvict?.();
    },
  });
  const reserved = new Map<string, Reservation>();
  const requests = new LRUCache<string, true>({ max: maxSize });

  function known(event: NormalEvent): Generation | undefined {
    const stored = index.newest(event);
    const window = windows.get(keyOf(event.fingerprint));
    if (!stored || !window) return stored ?? window;
    if (stored.generation !== window.generation) {
      return stored.generation > window.generation ? stored : window;
    }
    // The window has the repeats that are not flushed yet, the index those that other replicas flushed.
    return {
      ...stored,
      firstSeenAt: Math.min(stored.firstSeenAt, window.firstSeenAt),
      lastSeenAt: Math.max(stored.lastSeenAt, window.lastSeenAt),
    };
  }

  function reserve(event: NormalEvent): Reservation {
    const key = keyOf(event.fingerprint);
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const reservation: Reservation = {
      settled: promise,
      settle({ outcome, generation }) {
        if (reserved.get(key) !== reservation) return;
        reserved.delete(key);
        const stored = outcome.kind === "created" || outcome.kind === "deduped";
        if (stored && generation && hasWindow(event)) windows.set(key, generation);
        resolve(outcome);
      },
    };
    reserved.set(key, reservation);
    return reservation;
  }

  return {
    decide(event) {
      const twin = reserved.get(keyOf(event.fingerprint));
      if (twin) return { kind: "twin", settled: twin.settled };
      const newest = known(event);
      const verdict = judge(event, newest);
      if (verdict.kind === "write") {
        return { kind: "write", generation: verdict.generation, reservation: reserve(event) };
      }
      if (verdict.kind === "duplicate" && hasWindow(event)) {
        windows.set(keyOf(event.fingerprint), widen(verdict.into, event));
      }
      return verdict;
    },
    isResent: ({ requestKey }) => requestKey !== undefined && requests.get(requestKey) === true,
    noteTaken({ requestKey }) {
      if (requestKey !== undefined) requests.set(requestKey, true);
    },
    forget(fingerprint, generation) {
      const key = keyOf(fingerprint);
      const window = windows.peek(key);
      if (window && window.generation <= generation) windows.delete(key);
    },
    usage: () => windows.size / maxSize,
    get inFlight() {
      return reserved.size;
    },
  };
}

function keyOf(fingerprint: string): string {
  return nameFingerprint(fingerprint);
}

/** False for findings and audit events: they hold as long as they are stored, which the index tells. */
function hasWindow(event: NormalEvent): boolean {
  return event.kind === "occurrence" && event.windowMs !== Infinity;
}

type Verdict =
  | { readonly kind: "duplicate"; readonly into: Generation }
  | { readonly kind: "write"; readonly generation: number };

function judge(event: NormalEvent, newest: Generation | undefined): Verdict {
  if (event.kind === "finding") {
    return newest ? { kind: "duplicate", into: newest } : { kind: "write", generation: 0 };
  }
  if (!newest) return { kind: "write", generation: 1 };
  return isOver(newest, event)
    ? { kind: "write", generation: newest.generation + 1 }
    : { kind: "duplicate", into: newest };
}

/**
 * True where `event` comes after the window of `generation`. An event from before it belongs to an older window, which may be
 * gone, and is counted in the newest.
 */
export function isOver(generation: Generation, event: NormalEvent): boolean {
  return event.at > generation.lastSeenAt + event.windowMs;
}

/** The window of `generation` with `event` in it. */
export function widen(generation: Generation, event: NormalEvent): Generation {
  const within = event.at >= generation.firstSeenAt - event.windowMs;
  return {
    ...generation,
    firstSeenAt: within ? Math.min(generation.firstSeenAt, event.at) : generation.firstSeenAt,
    lastSeenAt: Math.max(generation.lastSeenAt, event.at),
  };
}
