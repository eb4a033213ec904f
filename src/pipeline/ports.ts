/** What the pipeline needs of the layers above it that do I/O. */
import type { NormalEvent } from "../model/event.ts";
import type { FilterReason, Outcome, PayloadError } from "../model/outcome.ts";
import type { Waited } from "./limits.ts";

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

/** What an event and a stored Observation agree in where they are the same finding or act. */
export type Identified = Pick<NormalEvent, "fingerprint" | "source" | "severity" | "resource">;

/** The projected index of stored Observations, as the pipeline reads it. */
export interface StoredIndex {
  /** The newest stored generation of an event's fingerprint, in whatever namespace it may lie. */
  newest(event: Identified): Generation | undefined;
}

/** The deadline of a write, and the origin of its event. */
export interface WriteContext {
  /** Aborted at the request's deadline or at shutdown. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** The report, ConfigMap or endpoint that the event came from. Two origins of one finding must not overwrite each other for ever. */
  readonly origin: string;
  /** True for webhooks: no view lists what still holds, so such a finding lives by its lastSeenAt. */
  readonly pushed: boolean;
  /**
   * Waits without holding a place among the writes under way. The write must end unless the result is `over`. By default
   * `wait` alone.
   */
  readonly outside?: (wait: () => Promise<boolean>) => Promise<Waited>;
}

/** How a write ended, and the generation it found or made, where there is one. */
export interface Written {
  readonly outcome: Outcome;
  readonly generation?: Generation;
}

/** Writes events and counts repeats. Implemented by store/. */
export interface ObservationStore {
  /** Creates generation `generation` (0: finding) of `event`, or finds that it is already there. Never throws. */
  write(event: NormalEvent, generation: number, context: WriteContext): Promise<Written>;
  /** An event deduped into a stored generation: counts it, refreshes lastSeenAt, replaces changed content, reactivates. Never throws. */
  repeat(event: NormalEvent, into: Generation, context: Pick<WriteContext, "origin" | "pushed">): void;
}

/** A filter's rejection: the reason, and the document that rejects. */
export interface Rejection {
  readonly reason: FilterReason;
  readonly document?: string;
}

/** One step of an event's way, with what it came to. In order: draw, scope, filter, dedup, budget, write. */
export type Step =
  /** `drop` is the source's own verdict. */
  | { readonly step: "draw"; readonly drop: FilterReason | undefined }
  | { readonly step: "scope"; readonly inScope: boolean }
  | { readonly step: "filter"; readonly rejection: Rejection | undefined }
  | { readonly step: "dedup"; readonly verdict: "duplicate"; readonly into: Generation }
  | { readonly step: "dedup"; readonly verdict: "new"; readonly generation: number }
  /** An event of the same fingerprint is being written: dedup decides again once that has ended. */
  | { readonly step: "dedup"; readonly verdict: "twin" }
  /** The same request was stored or counted before. */
  | { readonly step: "dedup"; readonly verdict: "resent" }
  | { readonly step: "budget"; readonly admitted: boolean }
  | { readonly step: "write"; readonly written: Written };

/** One event in the books. */
export interface Ticket {
  /** Follows the event's way; absent where only the outcome counts. */
  readonly step?: (step: Step) => void;
  /** Closes it. Outcomes are final: called once. */
  settle(outcome: Outcome, document?: string): void;
}

/** The books: every event is opened once and settled once, with exactly one outcome. Implemented by telemetry/. */
export interface Recorder {
  /** An event is one of its own source, which may be a tool whose results another source's reports carry. */
  open(event: NormalEvent, correlationId: string): Ticket;
  /** `source` is the one whose payload it is. */
  payloadError(source: string, error: PayloadError, correlationId: string): void;
}
