/** One loop, one decision, one record: how the events of a payload get their outcomes. */
import type { Clock } from "../model/clock.ts";
import type { Drawn, DrawnEvent, NormalEvent, Payload } from "../model/event.ts";
import { isObject } from "../model/json.ts";
import type { Outcome, PayloadError } from "../model/outcome.ts";
import { createGate, type GateOptions } from "./gate.ts";
import { decide, type Decision, type Steps } from "./decide.ts";
import { createPace } from "./pace.ts";
import type { ObservationStore, RateLimiter, Recorder, Ticket, WriteContext, Written } from "./ports.ts";
import { count, countError, type IntakeResult, newTally, resultOf, type Tally } from "./tally.ts";

export type { IntakeResult } from "./tally.ts";

export const MAX_EVENTS_PER_PAYLOAD = 10_000;

/** A source as it runs: its generator, and the profile its events are normalised by. */
export interface SourceRuntime {
  readonly name: string;
  /** True for webhooks: they wait no longer than their deadline. */
  readonly pushed: boolean;
  draw(payload: Payload): Iterable<Drawn>;
  normalize(drawn: DrawnEvent, payload: Payload): NormalEvent;
}

/** What a payload comes with. */
export interface TakeContext {
  /** Aborted at the request's deadline or at shutdown. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** Tells two reports of one finding apart; by default source, kind, namespace and name of the payload's object. */
  readonly origin?: string;
}

export interface IntakeOptions {
  readonly steps: Steps;
  readonly limiter: RateLimiter;
  readonly store: ObservationStore;
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** Writes under way at once. */
  readonly writes?: GateOptions;
}

/** Takes payloads in. */
export interface Intake {
  /** Resolves once every event of the payload has its outcome. Never rejects. */
  take(source: SourceRuntime, payload: Payload, context: TakeContext): Promise<IntakeResult>;
  /** Writes under way. */
  readonly writing: number;
}

/** A payload on its way. */
interface Batch {
  readonly source: SourceRuntime;
  readonly write: WriteContext;
  readonly tally: Tally;
  /** Set by the first token that did not come in time: what comes after it was not written for the same reason. */
  throttled: boolean;
}

/** An event in the books. */
interface Entry {
  readonly event: NormalEvent;
  readonly batch: Batch;
  readonly ticket: Ticket;
}

type WriteDecision = Decision & { kind: "write" };

/**
 * Why nothing further of a payload is taken, once it has brought what one may. What cannot be read is bounded as events
 * are: eight million mistakes in one body would hold up everything else for minutes.
 */
export function excessOf(
  drawn: Drawn,
  { events, errors }: { readonly events: number; readonly errors: number },
): PayloadError | undefined {
  const [count, what] = "error" in drawn ? [errors, "parts that cannot be read"] : [events, "events"];
  if (count < MAX_EVENTS_PER_PAYLOAD) return undefined;
  const message = `more than ${MAX_EVENTS_PER_PAYLOAD} ${what}, the rest is not taken`;
  return { reason: "too_many_events", path: "", message };
}

/** Creates the intake of a process. */
export function createIntake(options: IntakeOptions): Intake {
  const { steps, limiter, store, recorder, clock } = options;
  const gate = createGate(options.writes ?? { limit: 32, perSource: 24 });
  const pace = createPace(clock);

  async function take(source: SourceRuntime, payload: Payload, context: TakeContext): Promise<IntakeResult> {
    const { signal, correlationId, origin = originOf(source, payload) } = context;
    const tally = newTally();
    const batch: Batch = {
      source,
      write: { signal, correlationId, origin, pushed: source.pushed },
      tally,
      throttled: false,
    };
    const underWay: Promise<void>[] = [];
    if (source.pushed) pace.arrived();
    for (const event of drawEvents(batch, payload)) {
      await pace.turn();
      const entry = open(event, batch);
      const decision = decided(entry);
      if (decision.kind === "join") underWay.push(followTwin(entry, decision.settled));
      else if (decision.kind !== "write") settleNow(entry, decision);
      // Tokens and turns are waited for here, one event after the other: that is their order.
      else if (await mayWrite(entry, decision)) underWay.push(write(entry, decision));
    }
    await Promise.all(underWay);
    return resultOf(tally);
  }

  /** Draws and normalises; what cannot be read is an error of the source, its readable parts are kept. */
  function* drawEvents(batch: Batch, payload: Payload): Generator<NormalEvent> {
    const { source, tally } = batch;
    try {
      for (const drawn of source.draw(payload)) {
        const excess = excessOf(drawn, { events: tally.received, errors: tally.errorCount });
        if (excess) return payloadError(batch, excess);
        if ("error" in drawn) payloadError(batch, drawn.error);
        else {
          const event = normalized(batch, drawn.event, payload);
          if (event) yield event;
        }
      }
    } catch (error) {
      payloadError(batch, {
        reason: "wrong_shape",
        path: "",
        message: `Cannot draw further events: ${messageOf(error)}`,
      });
    }
  }

  function normalized(batch: Batch, drawn: DrawnEvent, payload: Payload): NormalEvent | undefined {
    try {
      return batch.source.normalize(drawn, payload);
    } catch (error) {
      const message = `Cannot normalize an event: ${messageOf(error)}`;
      payloadError(batch, { reason: "invalid_value", path: "", message });
      return undefined;
    }
  }

  function payloadError({ source, tally, write }: Batch, error: PayloadError): void {
    countError(tally, error);
    recorder.payloadError(source.name, error, write.correlationId);
  }

  function open(event: NormalEvent, batch: Batch): Entry {
    const { source, category, severity, fingerprint, eventType, identity, receivedAt } = event;
    const { tally, write: { correlationId } } = batch;
    const note = { correlationId, fingerprint, eventType, identity, receivedAt };
    tally.received++;
    if (event.kind === "finding" && !event.resolved && !batch.source.pushed) {
      tally.fingerprints.push(fingerprint);
    }
    return { event, batch, ticket: recorder.open(source, category, severity, note) };
  }

  function decided({ event }: Entry): Decision | { kind: "defect"; message: string } {
    try {
      return decide(event, steps);
    } catch (error) {
      return { kind: "defect", message: messageOf(error) };
    }
  }

  function settleNow(
    entry: Entry,
    decision: Exclude<ReturnType<typeof decided>, { kind: "write" | "join" }>,
  ): void {
    switch (decision.kind) {
      case "drop":
        return settle(entry, { kind: "filtered", reason: decision.reason }, decision.document);
      case "duplicate":
        store.repeat(entry.event, decision.into, entry.batch.write);
        return settle(entry, { kind: "deduped" });
      case "defect":
        return settle(entry, { kind: "failed", reason: "internal", message: decision.message });
    }
  }

  /** Takes a token and a turn at the gate; where neither comes in time, settles the event and says false. */
  async function mayWrite(entry: Entry, decision: WriteDecision): Promise<boolean> {
    const { batch } = entry;
    const { source, write: { signal } } = batch;
    if (!signal.aborted && !await limiter.take(source.name, signal) && source.pushed) batch.throttled = true;
    if (!signal.aborted && await gate.enter(source.name, signal)) return true;
    const outcome: Outcome = batch.throttled
      ? { kind: "filtered", reason: "rate_limit" }
      : { kind: "failed", reason: "unavailable", message: "not written before the deadline" };
    decision.reservation.settle({ outcome });
    settle(entry, outcome);
    return false;
  }

  async function write(entry: Entry, { generation, reservation }: WriteDecision): Promise<void> {
    const { event, batch } = entry;
    let written: Written;
    try {
      written = await store.write(event, generation, batch.write);
    } catch (error) {
      written = { outcome: { kind: "failed", reason: "internal", message: messageOf(error) } };
    } finally {
      gate.leave(batch.source.name);
    }
    reservation.settle(written);
    settle(entry, written.outcome);
  }

  /** A twin fails as the first one failed; else it is decided again: the first one is stored, or was an end that ended nothing. */
  async function followTwin(entry: Entry, settled: Promise<Outcome>): Promise<void> {
    const outcome = await inTime(settled, entry.batch.write.signal);
    const fails = outcome.kind === "failed" ||
      (outcome.kind === "filtered" && outcome.reason === "rate_limit");
    if (fails) return settle(entry, outcome);
    const decision = decided(entry);
    if (decision.kind === "join") return followTwin(entry, decision.settled);
    if (decision.kind !== "write") return settleNow(entry, decision);
    if (await mayWrite(entry, decision)) await write(entry, decision);
  }

  function settle({ batch: { tally }, ticket }: Entry, outcome: Outcome, document?: string): void {
    ticket.settle(outcome, document);
    count(tally, outcome);
  }

  return {
    take,
    get writing() {
      return gate.inside;
    },
  };
}

/** The twin's outcome; its deadline may lie beyond ours. */
function inTime(settled: Promise<Outcome>, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const late = () =>
      resolve({ kind: "failed", reason: "unavailable", message: "not written before the deadline" });
    if (signal.aborted) return late();
    signal.addEventListener("abort", late, { once: true });
    void settled.then((outcome) => {
      signal.removeEventListener("abort", late);
      resolve(outcome);
    });
  });
}

/** Two reports of one name, of different kinds (both report APIs write such), are two origins. */
function originOf(source: SourceRuntime, { origin, body }: Payload): string {
  const kind = isObject(body) ? `${body["apiVersion"] ?? ""}/${body["kind"] ?? ""}` : "";
  return `${source.name} ${kind} ${origin.namespace ?? ""}/${origin.name ?? ""}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
