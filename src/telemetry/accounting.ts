/** Every outcome becomes metrics and a log line here, and nowhere else: no event ends unseen, none is counted twice. */
import type { Clock } from "../model/time.ts";
import type { NormalEvent } from "../model/event.ts";
import type { Category } from "../model/observation.ts";
import type { Outcome, PayloadError, PayloadErrorReason } from "../model/outcome.ts";
import type { EventContext, Recorder, Ticket } from "../pipeline/ports.ts";
import { logger } from "./logging.ts";
import type { Metrics } from "./metrics.ts";

/** One source's books: `events = created + deduped + filtered + failed + inFlight`, at every moment. */
export interface Account {
  readonly events: number;
  readonly created: number;
  readonly deduped: number;
  readonly filtered: number;
  readonly failed: number;
  readonly inFlight: number;
}

type Tally = { -readonly [K in keyof Account]: Account[K] };

export interface Books extends Recorder {
  /** Every source's account, read in one synchronous step. */
  accounts(): Readonly<Record<string, Account>>;
  /** A source as a label value: beyond 100 of them `other`. */
  readonly sourceLabel: (source: string) => string;
}

const log = logger("pipeline");

export interface BooksOptions {
  /** Sources that keep their names, however many others there are. */
  readonly known?: readonly string[];
  /** Called for each part of a payload that could not be read. */
  readonly onPayloadError?: (source: string, reason: PayloadErrorReason) => void;
}

/** Opens the books of this process. */
export function createBooks(
  metrics: Metrics,
  clock: Pick<Clock, "now">,
  { known = [], onPayloadError }: BooksOptions = {},
): Books {
  const tallies = new Map<string, Tally>();
  const labelOf = metrics.sourceLabel;
  for (const source of known) labelOf(source);
  const tallyOf = (label: string): Tally => {
    let tally = tallies.get(label);
    if (!tally) {
      tally = { events: 0, created: 0, deduped: 0, filtered: 0, failed: 0, inFlight: 0 };
      tallies.set(label, tally);
    }
    return tally;
  };

  function open(event: NormalEvent, context: EventContext): Ticket {
    const { source } = context;
    const { category, severity, fingerprint, receivedAt } = event;
    const label = labelOf(source);
    const tally = tallyOf(label);
    tally.events++;
    tally.inFlight++;
    metrics.events.inc({ source: label, category, severity });
    metrics.eventsInFlight.set({ source: label }, tally.inFlight);
    let settled = false;
    return {
      settle(outcome, document) {
        if (settled) throw new Error(`Cannot settle event "${fingerprint}": it has its outcome already`);
        settled = true;
        tally.inFlight--;
        tally[outcome.kind]++;
        metrics.eventsInFlight.set({ source: label }, tally.inFlight);
        metrics.eventProcessingDuration.observe(
          { source: label },
          Math.max(0, clock.now() - receivedAt) / 1_000,
        );
        count(metrics, { label, category, outcome });
        if (tally.created + tally.deduped > 0) {
          metrics.dedupEffectiveness.set({ source: label }, tally.deduped / (tally.created + tally.deduped));
        }
        say(event, { outcome, context, document });
      },
    };
  }

  return {
    open,
    sourceLabel: labelOf,
    payloadError(source, error, correlationId) {
      metrics.payloadErrors.inc({ source: labelOf(source), reason: error.reason });
      onPayloadError?.(source, error.reason);
      log.warn("Part of a payload could not be read", { source, ...payloadFields(error), correlationId });
    },
    accounts: () => Object.fromEntries([...tallies].map(([source, tally]) => [source, { ...tally }])),
  };
}

function count(metrics: Metrics, event: { label: string; category: Category; outcome: Outcome }): void {
  const { label: source, category, outcome } = event;
  switch (outcome.kind) {
    case "created":
      metrics.observationsCreated.inc({ source });
      metrics.eventsWritten.inc({ source, category });
      return;
    case "deduped":
      metrics.observationsDeduped.inc({ source });
      return;
    case "filtered":
      metrics.observationsFiltered.inc({ source, reason: outcome.reason });
      return;
    case "failed":
      metrics.eventsFailures.inc({ source, reason: outcome.reason });
      return;
    default:
      return unreachable(outcome);
  }
}

function say({ eventType, fingerprint, identity }: NormalEvent, { outcome, context, document }: {
  outcome: Outcome;
  context: EventContext;
  document: string | undefined;
}): void {
  const { source, correlationId } = context;
  const fields = { source, eventType, fingerprint, correlationId };
  switch (outcome.kind) {
    case "created":
      return log.debug("Event created an Observation", fields);
    case "deduped":
      return log.debug("Event repeats an Observation", fields);
    case "filtered":
      return log.debug("Event filtered", { ...fields, reason: outcome.reason, document });
    case "failed": {
      const failure = { ...fields, reason: outcome.reason, identity, error: outcome.message };
      // What time mends will come again; what nothing mends is lost unless somebody reads this line.
      return outcome.reason === "unavailable"
        ? log.warn("Event could not be stored now", failure)
        : log.error("Event can never be stored", failure);
    }
    default:
      return unreachable(outcome);
  }
}

function payloadFields({ reason, path, message }: PayloadError) {
  return { reason, path, error: message };
}

function unreachable(outcome: never): never {
  throw new Error(`Cannot record outcome ${JSON.stringify(outcome)}`);
}
