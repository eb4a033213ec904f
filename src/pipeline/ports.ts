/** The seams between the pure pipeline and the layers above that do I/O. */
import type { NormalEvent } from "../core/event.ts";
import type { Outcome } from "../core/outcome.ts";

/** What dedup knows of one stored generation of a fingerprint. Times in ms since the epoch. */
export interface Generation {
  readonly namespace: string;
  readonly name: string;
  /** 0 for a finding, 1… for an occurrence. */
  readonly generation: number;
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
  readonly active: boolean;
  readonly contentHash: number;
}

/** The projected index of stored Observations, as the pipeline reads it. */
export interface StoredIndex {
  /** True once the first full list is in. Nothing waits for it: the API server's 409 is the judge. */
  readonly complete: boolean;
  /** The newest stored generation of a fingerprint (64 hex), in whatever namespace. */
  newest(fingerprint: string): Generation | undefined;
}

/** What is at stake while an event is written. */
export interface WriteContext {
  /** Aborted at the request's deadline or at shutdown. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
}

/** Settles writes and takes notes of repeats. Implemented by store/. */
export interface ObservationStore {
  /** Creates generation `generation` (0: finding) of `event`, or finds that it is already there. Never throws. */
  write(event: NormalEvent, generation: number, context: WriteContext): Promise<Outcome>;
  /** An event deduped into a stored generation: counts it, refreshes lastSeenAt, replaces changed content, reactivates. */
  repeat(event: NormalEvent, into: Generation): void;
}

/** A write that only a rejected deadline may cut short, one token an event, per source. */
export interface RateLimiter {
  /** Resolves true with a token taken, false where `signal` aborted first. */
  take(source: string, signal: AbortSignal): Promise<boolean>;
}
