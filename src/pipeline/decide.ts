/** The decision: every event of every source takes these steps, in this order. Pure and synchronous. */
import type { NormalEvent } from "../model/event.ts";
import type { FilterReason, Outcome } from "../model/outcome.ts";
import type { Dedup, Reservation } from "./dedup.ts";
import type { Generation, Rejection } from "./ports.ts";

/** What becomes of an event; `store/` settles a write, a join decides again once its twin is settled. */
export type Decision =
  | { readonly kind: "drop"; readonly reason: FilterReason; readonly document?: string }
  | { readonly kind: "duplicate"; readonly into: Generation }
  | { readonly kind: "join"; readonly settled: Promise<Outcome> }
  | { readonly kind: "write"; readonly generation: number; readonly reservation: Reservation };

/** The steps of a decision, injected. */
export interface Steps {
  /** The documents' verdict: undefined lets the event through. */
  filter(event: NormalEvent): Rejection | undefined;
  /** False outside this shard's namespaces. */
  inScope(event: NormalEvent): boolean;
  readonly dedup: Dedup;
  /** False where the event would be the next to be evicted. */
  admits(event: NormalEvent): boolean;
}

/** Decides one event. */
export function decide(event: NormalEvent, steps: Steps): Decision {
  return screen(event, steps) ?? settle(event, steps);
}

/** The steps before dedup: what is no news, not ours, or filtered. */
export function screen(event: NormalEvent, steps: Steps): Decision & { kind: "drop" } | undefined {
  if (event.drop) return { kind: "drop", reason: event.drop };
  if (!steps.inScope(event)) return { kind: "drop", reason: "out_of_scope" };
  const rejection = steps.filter(event);
  return rejection && { kind: "drop", ...rejection };
}

function settle(event: NormalEvent, { dedup, admits }: Steps): Decision {
  const decision = dedup.decide(event);
  // The budget is asked last: a repeat needs no room, nor does the end of a finding. Whether that is stored, the store
  // asks the API server: another replica may have written it just now.
  if (decision.kind !== "write" || event.resolved || admits(event)) return decision;
  decision.reservation.settle({ outcome: { kind: "filtered", reason: "budget" } });
  return { kind: "drop", reason: "budget" };
}
