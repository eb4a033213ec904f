/** The decision: every event of every source takes these steps, in this order. Pure and synchronous. */
import type { NormalEvent } from "../model/event.ts";
import type { FilterReason, Outcome } from "../model/outcome.ts";
import type { Dedup, Reservation } from "./dedup.ts";
import type { Generation, Rejection, Step } from "./ports.ts";

/** What becomes of an event. The intake settles a write's reservation, and decides a join again once the twin is settled. */
export type Decision =
  | { readonly kind: "drop"; readonly reason: FilterReason; readonly document?: string }
  | { readonly kind: "duplicate"; readonly into: Generation }
  | { readonly kind: "join"; readonly settled: Promise<Outcome> }
  /** Its outcome is not for a filter or the store to say: it comes again. */
  | { readonly kind: "fail"; readonly outcome: Outcome }
  | { readonly kind: "write"; readonly generation: number; readonly reservation: Reservation };

/** The steps of a decision, injected. */
export interface Steps {
  /** False outside this shard's namespaces. */
  inScope(event: NormalEvent): boolean;
  /** The filters' verdict; undefined lets the event through. */
  filter(event: NormalEvent): Rejection | undefined;
  readonly dedup: Dedup;
  /** Whether the storage budget has room for the event. */
  admits(event: NormalEvent): Admission;
}

/** `refused` where the event would be the next to be evicted; `later` where room for it is being made. */
export type Admission = "admitted" | "refused" | "later";

const NO_ROOM_YET: Outcome = {
  kind: "failed",
  reason: "unavailable",
  message: "the storage budget is used up, and room is being made",
};

/** Decides one event. `onStep` is called for each step as it is taken. */
export function decide(event: NormalEvent, steps: Steps, onStep?: (step: Step) => void): Decision {
  onStep?.({ step: "draw", drop: event.drop });
  if (event.drop) return { kind: "drop", reason: event.drop };
  const inScope = steps.inScope(event);
  onStep?.({ step: "scope", inScope });
  if (!inScope) return { kind: "drop", reason: "out_of_scope" };
  const rejection = steps.filter(event);
  onStep?.({ step: "filter", rejection });
  if (rejection) return { kind: "drop", ...rejection };
  return dedup(event, steps, onStep);
}

/**
 * The steps from dedup on. They are taken again after a twin was written; the ones before are not, so that filters count
 * an event once.
 */
export function dedup(event: NormalEvent, steps: Steps, onStep?: (step: Step) => void): Decision {
  const decision = steps.dedup.decide(event);
  if (decision.kind === "join") {
    onStep?.({ step: "dedup", verdict: "twin" });
    return decision;
  }
  if (decision.kind === "duplicate") {
    onStep?.({ step: "dedup", verdict: "duplicate", into: decision.into });
    return decision;
  }
  onStep?.({ step: "dedup", verdict: "new", generation: decision.generation });
  // The end of a finding needs no room, and a repeat is past this step. Whether that finding is stored, the store finds
  // out: another replica may have written it just now.
  if (event.resolved) return decision;
  const admission = steps.admits(event);
  onStep?.({ step: "budget", admitted: admission === "admitted" });
  if (admission === "admitted") return decision;
  if (admission === "later") {
    decision.reservation.settle({ outcome: NO_ROOM_YET });
    return { kind: "fail", outcome: NO_ROOM_YET };
  }
  decision.reservation.settle({ outcome: { kind: "filtered", reason: "budget" } });
  return { kind: "drop", reason: "budget" };
}
