/** One loop, one decision, one settlement: how the events of a payload get their outcomes. */
import { errorMessage } from "../model/error_message.ts";
import type {
  DrawContext,
  Drawn,
  DrawnEvent,
  EventFeed,
  EventSource,
  NormalEvent,
  Payload,
} from "../model/event.ts";
import { isObject, sizeOf } from "../model/json.ts";
import {
  FAIL_REASONS,
  type FailReason,
  type FilterReason,
  isFinal,
  notWritten,
  type Outcome,
  type PayloadError,
} from "../model/outcome.ts";
import type { Limits, WriteSlot } from "./limits.ts";
import { type EventSettings, normalize } from "./normalize.ts";
import type {
  Generation,
  ObservationStore,
  Recorder,
  Rejection,
  Step,
  Ticket,
  WriteContext,
  Written,
} from "./ports.ts";
import type { Dedup, Reservation } from "./dedup.ts";

/** Events, and parts that cannot be read, taken from one payload. */
export const MAX_EVENTS_PER_PAYLOAD = 10_000;
/**
 * How much the events of a payload hold at most, in UTF-16 units: this, or four times what the payload itself holds. A
 * long text that many events repeat would otherwise cost its length times their number.
 */
const MAX_DRAWN_UNITS = 16 * 2 ** 20, MAX_DRAWN_TIMES = 4;
/** What each value counts beside its text. */
const VALUE_UNITS = 8;
/** Payload errors kept for the answer; all are counted. */
const MAX_ERRORS_KEPT = 100;

/** Parts of what was sent at once, parsed one by one as they are taken. Never throws. */
export type PayloadParts = AsyncIterable<Payload>;

/** The feed, deadline and origin of a payload. */
export interface TakeContext {
  /** The feed that brought it. What is posted waits no longer than the request's deadline. */
  readonly feed: EventFeed;
  /** Aborted at the request's deadline or at shutdown. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** Called when the whole payload waits for a rate, a retry or an equal event, and when it continues. */
  readonly onWaiting?: (isWaiting: boolean) => void;
  /** Called with the namespace that all events without an outcome belong to, at each change; undefined: there are several, or none. */
  readonly onOnlyNamespace?: ((namespace: string | undefined) => void) | undefined;
  /** Tells two reports of one finding apart; by default source, kind, namespace and name of the payload's object. */
  readonly origin?: string;
}

export interface IntakeOptions {
  readonly settings: EventSettings;
  /** Returns what `draw` reads besides the payload, as it is now. */
  readonly context: () => DrawContext;
  readonly steps: Steps;
  readonly limits: Limits;
  readonly store: ObservationStore;
  readonly recorder: Recorder;
}

/** Takes payloads in. */
export interface Intake {
  /** Resolves once every event of the payload, or of all parts of one, has its outcome. Never rejects. */
  take(source: EventSource, payload: Payload | PayloadParts, context: TakeContext): Promise<IntakeResult>;
}

/** The outcomes of the events of a payload. */
export interface IntakeResult {
  readonly received: number;
  readonly created: number;
  readonly deduped: number;
  readonly filtered: number;
  readonly failed: number;
  readonly byReason: {
    readonly filtered: Readonly<Partial<Record<FilterReason, number>>>;
    readonly failed: Readonly<Partial<Record<FailReason, number>>>;
  };
  /**
   * Events that may be stored when they are sent again: `failed` with a reason that is not final, `filtered{rate_limit}`,
   * and one for the items that were not looked at before the deadline.
   */
  readonly undecided: number;
  /** The first of them; `payloadErrorCount` counts all. */
  readonly payloadErrors: readonly PayloadError[];
  readonly payloadErrorCount: number;
  /** The findings that hold now by this payload, and are stored or may be. Empty for pushed payloads. */
  readonly fingerprints: readonly string[];
  /** Those that hold, too, and are filtered: stored from before, or not stored. */
  readonly filteredFingerprints: readonly string[];
  /** Set where the tool shows a part of its findings alone: those that it does not show are not over. */
  readonly isPartial?: true;
}

/** A payload under way. */
interface Batch {
  readonly source: EventSource;
  readonly feed: EventFeed;
  readonly write: WriteContext;
  readonly tally: Tally;
  /** Writes, and waits for twins. They never reject; each may add further ones. */
  readonly underWay: Promise<void>[];
  /** Set by the first token that did not come in time: the events after it are not written for the same reason. */
  throttled: boolean;
  /** It brought as many events, or errors, as one may. */
  isFull: boolean;
  /** What its further events may hold; see `MAX_DRAWN_UNITS`. */
  unitsLeft: number;
  readonly onWaiting: TakeContext["onWaiting"];
  readonly onOnlyNamespace: TakeContext["onOnlyNamespace"];
  /** The loop over its events, and writes that do not wait outside. */
  atWork: number;
  /** Events without an outcome, by namespace. */
  readonly undecided: Map<string, number>;
  onlyNamespace: string | undefined;
}

/** An event in the books. */
interface Entry {
  readonly event: NormalEvent;
  readonly batch: Batch;
  readonly ticket: Ticket;
}

type WriteDecision = Decision & { kind: "write" };

/** Creates the intake of a process. */
export function createIntake({ steps, limits, store, recorder, settings, context }: IntakeOptions): Intake {
  async function take(
    source: EventSource,
    payload: Payload | PayloadParts,
    { feed, signal, correlationId, origin = originOf(source, payload), onWaiting, onOnlyNamespace }:
      TakeContext,
  ): Promise<IntakeResult> {
    const write: WriteContext = { signal, correlationId, origin, pushed: feed.type === "post" };
    const tally = newTally();
    const batch: Batch = {
      source,
      feed,
      write,
      tally,
      underWay: [],
      throttled: false,
      isFull: false,
      unitsLeft: MAX_DRAWN_UNITS,
      onWaiting,
      onOnlyNamespace,
      atWork: 1,
      undecided: new Map(),
      onlyNamespace: undefined,
    };
    if (write.pushed) limits.slices.arrived();
    for await (const part of "body" in payload ? [payload] : payload) {
      // A part that yields no event takes its time too.
      await limits.slices.pause();
      for (const event of drawEvents(batch, part)) {
        await limits.slices.pause();
        if (event === undefined) {
          // What was not looked at has no outcome: the sender has to come again.
          if (!signal.aborted) continue;
          tally.isCutShort = true;
          break;
        }
        const entry = open(event, batch);
        await carryOut(entry, decide);
      }
      if (batch.isFull || tally.isCutShort) break;
    }
    noteAtWork(batch, -1);
    for (const work of batch.underWay) await work;
    return resultOf(batch.tally);
  }

  /**
   * Draws and normalises; what cannot be read is an error of the source, its readable parts are kept. Yields undefined
   * for an item that is no finding or cannot be read.
   */
  function* drawEvents(batch: Batch, payload: Payload): Generator<NormalEvent | undefined> {
    const { source, tally } = batch;
    let isMeasured = false;
    /** True if the event holds no more than is left for the events of its payload. */
    const fits = (event: DrawnEvent) => {
      const units = unitsOf(event);
      if (units > batch.unitsLeft && !isMeasured) {
        isMeasured = true;
        batch.unitsLeft += MAX_DRAWN_TIMES * unitsOf(payload.body);
      }
      batch.unitsLeft -= units;
      return batch.unitsLeft >= 0;
    };
    try {
      for (const drawn of source.draw(payload, context())) {
        if ("note" in drawn) {
          if (drawn.note === "partial") tally.isPartial = true;
          else yield undefined;
          continue;
        }
        const excess = excessOf(drawn, tally) ??
          ("event" in drawn && !fits(drawn.event) ? TOO_LONG : undefined);
        if (excess) {
          batch.isFull = true;
          return payloadError(batch, excess);
        }
        if ("error" in drawn) {
          payloadError(batch, at(payload, drawn.error));
          yield undefined;
        } else {
          const event = normalized(batch, drawn.event, payload);
          if (event) yield event;
        }
      }
    } catch (error) {
      const message = `Cannot draw further events: ${errorMessage(error)}`;
      payloadError(batch, at(payload, { reason: "wrong_shape", path: "", message }));
    }
  }

  function normalized(batch: Batch, drawn: DrawnEvent, payload: Payload): NormalEvent | undefined {
    const { source, feed } = batch;
    try {
      return normalize(drawn, payload, { source, feed, settings });
    } catch (error) {
      const message = `Cannot normalize an event: ${errorMessage(error)}`;
      payloadError(batch, at(payload, { reason: "invalid_value", path: "", message }));
      return undefined;
    }
  }

  function payloadError({ source, tally, write }: Batch, error: PayloadError): void {
    countError(tally, error);
    recorder.payloadError(source.name, error, write.correlationId);
  }

  function open(event: NormalEvent, batch: Batch): Entry {
    const { tally, write: { correlationId } } = batch;
    tally.received++;
    noteUndecided(batch, event, 1);
    return { event, batch, ticket: recorder.open(event, correlationId) };
  }

  /** Decides and acts. Resolves as soon as the next event may: tokens and write slots are taken in the order of events. */
  async function carryOut(entry: Entry, decideBy: typeof decide): Promise<void> {
    const { event, batch, ticket } = entry;
    let decision: Decision;
    try {
      decision = decideBy(event, steps, ticket.step);
    } catch (error) {
      return settle(entry, { kind: "failed", reason: "internal", message: errorMessage(error) });
    }
    switch (decision.kind) {
      case "drop":
        return settle(entry, { kind: "filtered", reason: decision.reason }, decision.document);
      case "fail":
        return settle(entry, decision.outcome);
      case "duplicate":
        store.repeat(event, decision.into, batch.write);
        return settle(entry, { kind: "deduped" });
      case "resent":
        return settle(entry, { kind: "deduped" });
      case "twin":
        batch.underWay.push(followTwin(entry, decision.settled));
        return;
      case "write":
        return await startWrite(entry, decision);
    }
  }

  /** Takes a token and a write slot, and starts to write; where one of them does not come in time, settles the event. */
  async function startWrite(entry: Entry, decision: WriteDecision): Promise<void> {
    const { batch, event } = entry;
    const { source, write: { signal, pushed } } = batch;
    const tenant = { source: source.name, namespace: namespaceOf(event) };
    if (!signal.aborted) {
      const token = limits.rate.take(tenant, signal);
      const isTaken = typeof token === "boolean" ? token : await idle(batch, token);
      if (!isTaken && pushed) batch.throttled = true;
    }
    const slot = signal.aborted ? undefined : await limits.slots.take(tenant, signal);
    if (slot) {
      batch.underWay.push(write(entry, decision, slot));
      return;
    }
    const outcome: Outcome = batch.throttled
      ? { kind: "filtered", reason: "rate_limit" }
      : notWritten(signal);
    decision.reservation.settle({ outcome });
    settle(entry, outcome);
  }

  async function write(
    entry: Entry,
    { generation, reservation }: WriteDecision,
    slot: WriteSlot,
  ): Promise<void> {
    const { event, batch, ticket } = entry;
    let written: Written;
    noteAtWork(batch, 1);
    try {
      const outside = (wait: () => Promise<boolean>) => idle(batch, slot.outside(wait));
      written = await store.write(event, generation, { ...batch.write, outside });
    } catch (error) {
      written = { outcome: { kind: "failed", reason: "internal", message: errorMessage(error) } };
    } finally {
      slot.release();
      noteAtWork(batch, -1);
    }
    ticket.step?.({ step: "write", written });
    reservation.settle(written);
    settle(entry, written.outcome);
  }

  /** A twin fails as the first one failed. Else dedup decides again: the first one is stored, or ended nothing. */
  async function followTwin(entry: Entry, settled: Promise<Outcome>): Promise<void> {
    const outcome = await inTime(settled, entry.batch.write.signal);
    const fails = outcome.kind === "failed" ||
      (outcome.kind === "filtered" && outcome.reason === "rate_limit");
    if (fails) settle(entry, outcome);
    else await carryOut(entry, dedup);
  }

  function settle({ batch, event, ticket }: Entry, outcome: Outcome, document?: string): void {
    if (outcome.kind === "created" || outcome.kind === "deduped") steps.dedup.noteTaken(event);
    ticket.settle(outcome, document);
    count(batch.tally, outcome);
    if (event.kind === "finding" && !event.resolved && !batch.write.pushed) {
      const isFiltered = outcome.kind === "filtered" && outcome.reason !== "rate_limit";
      batch.tally[isFiltered ? "filteredFingerprints" : "fingerprints"].push(event.fingerprint);
    }
    noteUndecided(batch, event, -1);
  }

  return { take };
}

/** Waits for `work` of others. */
async function idle<T>(batch: Batch, work: Promise<T>): Promise<T> {
  noteAtWork(batch, -1);
  try {
    return await work;
  } finally {
    noteAtWork(batch, 1);
  }
}

function noteAtWork(batch: Batch, by: 1 | -1): void {
  batch.atWork += by;
  const isChange = by === 1 ? batch.atWork === 1 : batch.atWork === 0;
  if (isChange) batch.onWaiting?.(batch.atWork === 0);
}

function noteUndecided(batch: Batch, event: NormalEvent, by: 1 | -1): void {
  const { undecided, onOnlyNamespace } = batch;
  if (!onOnlyNamespace) return;
  const namespace = namespaceOf(event);
  const count = (undecided.get(namespace) ?? 0) + by;
  if (count > 0) undecided.set(namespace, count);
  else undecided.delete(namespace);
  const [first] = undecided.keys();
  const only = undecided.size === 1 ? first : undefined;
  if (only === batch.onlyNamespace) return;
  batch.onlyNamespace = only;
  onOnlyNamespace(only);
}

function namespaceOf({ resource }: NormalEvent): string {
  return resource?.namespace ?? "";
}

/** The twin's outcome; its deadline may lie beyond ours. */
function inTime(settled: Promise<Outcome>, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const late = () => resolve(notWritten(signal));
    if (signal.aborted) return late();
    signal.addEventListener("abort", late, { once: true });
    void settled.then((outcome) => {
      signal.removeEventListener("abort", late);
      resolve(outcome);
    });
  });
}

/**
 * Why nothing further of a payload is taken, if so. Parts that cannot be read are bounded as events are: eight million
 * mistakes in one body would hold up everything else for minutes.
 */
function excessOf(
  drawn: Drawn,
  { received, errorCount }: Tally,
): PayloadError | undefined {
  const [count, what] = "error" in drawn ? [errorCount, "parts that cannot be read"] : [received, "events"];
  if (count < MAX_EVENTS_PER_PAYLOAD) return undefined;
  const message = `more than ${MAX_EVENTS_PER_PAYLOAD} ${what}, the rest is not taken`;
  return { reason: "too_many_events", path: "", message };
}

function unitsOf(value: unknown): number {
  const { values, text } = sizeOf(value);
  return VALUE_UNITS * values + text;
}

const TOO_LONG: PayloadError = {
  reason: "too_many_events",
  path: "",
  message: "the events hold more than 16 MiB and four times what the payload holds, the rest is not taken",
};

/** The error with its place in all that was sent. */
function at({ path = "" }: Payload, error: PayloadError): PayloadError {
  if (path === "") return error;
  const dot = error.path === "" || error.path.startsWith("[") ? "" : ".";
  return { ...error, path: `${path}${dot}${error.path}` };
}

/** Reports of one name and different kinds are different origins: both report APIs write such. */
function originOf(source: EventSource, payload: Payload | PayloadParts): string {
  if (!("body" in payload)) return source.name;
  const { origin, body } = payload;
  const kind = isObject(body) ? `${body["apiVersion"] ?? ""}/${body["kind"] ?? ""}` : "";
  return `${source.name} ${kind} ${origin.namespace ?? ""}/${origin.name ?? ""}`;
}

/** The outcomes of the events of a payload so far. */
interface Tally {
  received: number;
  created: number;
  deduped: number;
  readonly filtered: Partial<Record<FilterReason, number>>;
  readonly failed: Partial<Record<FailReason, number>>;
  readonly errors: PayloadError[];
  errorCount: number;
  readonly fingerprints: string[];
  readonly filteredFingerprints: string[];
  isPartial: boolean;
  /** The deadline came before all items were looked at. */
  isCutShort: boolean;
}

function newTally(): Tally {
  return {
    received: 0,
    created: 0,
    deduped: 0,
    filtered: {},
    failed: {},
    errors: [],
    errorCount: 0,
    fingerprints: [],
    filteredFingerprints: [],
    isPartial: false,
    isCutShort: false,
  };
}

function count(tally: Tally, outcome: Outcome): void {
  switch (outcome.kind) {
    case "created":
    case "deduped":
      tally[outcome.kind]++;
      return;
    case "filtered":
      tally.filtered[outcome.reason] = (tally.filtered[outcome.reason] ?? 0) + 1;
      return;
    case "failed":
      tally.failed[outcome.reason] = (tally.failed[outcome.reason] ?? 0) + 1;
      return;
  }
}

function countError(tally: Tally, error: PayloadError): void {
  tally.errorCount++;
  if (tally.errors.length < MAX_ERRORS_KEPT) tally.errors.push(error);
  // The sender must learn of it, else it believes that everything was taken.
  else if (error.reason === "too_many_events") tally.errors[MAX_ERRORS_KEPT - 1] = error;
}

/** Failures that may pass, so that the event should come again. */
const PASSING = FAIL_REASONS.filter((reason) => !isFinal(reason));

function resultOf(tally: Tally): IntakeResult {
  const { received, created, deduped, filtered, failed, errors, errorCount } = tally;
  const unfinished = tally.isCutShort ? 1 : 0;
  const mayPass = PASSING.reduce((sum, reason) => sum + (failed[reason] ?? 0), 0);
  return {
    received,
    created,
    deduped,
    filtered: total(filtered),
    failed: total(failed),
    byReason: { filtered, failed },
    undecided: mayPass + (filtered.rate_limit ?? 0) + unfinished,
    payloadErrors: errors,
    payloadErrorCount: errorCount,
    fingerprints: tally.fingerprints,
    filteredFingerprints: tally.filteredFingerprints,
    ...(tally.isPartial ? { isPartial: true } : {}),
  };
}

function total(counts: Readonly<Partial<Record<string, number>>>): number {
  return Object.values(counts).reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

/** What becomes of an event. The intake settles a write's reservation, and decides a twin again once the first one is settled. */
type Decision =
  | { readonly kind: "drop"; readonly reason: FilterReason; readonly document?: string }
  | { readonly kind: "duplicate"; readonly into: Generation }
  /** The request is stored or counted already: nothing is to be done. */
  | { readonly kind: "resent" }
  | { readonly kind: "twin"; readonly settled: Promise<Outcome> }
  /** The event fails without a write, for example while the storage budget makes room. */
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
  if (steps.dedup.isResent(event)) {
    onStep?.({ step: "dedup", verdict: "resent" });
    return { kind: "resent" };
  }
  const decision = steps.dedup.decide(event);
  if (decision.kind === "twin") {
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
