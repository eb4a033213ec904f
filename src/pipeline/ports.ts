/** The seams between the pure pipeline and the layers above that do I/O. */
import type { NormalEvent } from "../model/event.ts";
import type { Category, Severity } from "../model/observation.ts";
import type { FilterReason, Outcome, PayloadError } from "../model/outcome.ts";

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
  /** The newest stored generation of a fingerprint (64 hex), in whatever namespace. */
  newest(fingerprint: string): Generation | undefined;
}

/** What is at stake while an event is written. */
export interface WriteContext {
  /** Aborted at the request's deadline or at shutdown. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** Who says so: one report, ConfigMap or endpoint. Two origins of one finding must not overwrite each other for ever. */
  readonly origin: string;
  /** True where no view lists what still holds (webhooks): such a finding lives by its lastSeenAt. */
  readonly pushed: boolean;
}

/** How a write ended, and the generation it found or made, where there is one. */
export interface Written {
  readonly outcome: Outcome;
  readonly generation?: Generation;
}

/** Settles writes and takes notes of repeats. Implemented by store/. */
export interface ObservationStore {
  /** Creates generation `generation` (0: finding) of `event`, or finds that it is already there. Never throws. */
  write(event: NormalEvent, generation: number, context: WriteContext): Promise<Written>;
  /** An event deduped into a stored generation: counts it, refreshes lastSeenAt, replaces changed content, reactivates. */
  repeat(event: NormalEvent, into: Generation, context: Pick<WriteContext, "origin" | "pushed">): void;
}

/** A write that only a rejected deadline may cut short, one token an event, per source. */
export interface RateLimiter {
  /** Resolves true with a token taken, false where `signal` aborted first. */
  take(source: string, signal: AbortSignal): Promise<boolean>;
}

/** A filter's no: the reason, and the document that says so. */
export interface Rejection {
  readonly reason: FilterReason;
  readonly document?: string;
}

/** One event in the books. */
export interface Ticket {
  /** Closes it. Outcomes are final: called once. */
  settle(outcome: Outcome, document?: string): void;
}

/** What is known of an event for its log line. */
export interface EventNote {
  readonly correlationId: string;
  readonly fingerprint: string;
  readonly eventType: string;
  /** The identity, readable: what a failed event is looked up by. */
  readonly identity: string;
  readonly receivedAt: number;
}

/** The books (SPEC section 2): every event is opened once and settled once. Implemented by telemetry/. */
export interface Recorder {
  open(source: string, category: Category, severity: Severity, note: EventNote): Ticket;
  payloadError(source: string, error: PayloadError, correlationId: string): void;
}
