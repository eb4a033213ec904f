/** The server's own pipeline over given payloads, off line: every step of every event, said. */
import type { NormalEvent, Payload } from "../model/event.ts";
import type { Observation } from "../model/observation.ts";
import { FILTER_REASON_MEANINGS, type Outcome, type PayloadError } from "../model/outcome.ts";
import { createDedup } from "../pipeline/dedup.ts";
import type { FilterSet } from "../filters/filter.ts";
import { excessOf, type SourceRuntime } from "../pipeline/intake.ts";
import { decide, type Decision, type Steps } from "../pipeline/decide.ts";
import { toObservation } from "../pipeline/normalize.ts";
import type { Generation, StoredIndex } from "../pipeline/ports.ts";

/** One step of one event. */
export interface Step {
  readonly step: "draw" | "normalize" | "filter" | "dedup" | "create";
  readonly verdict: string;
  readonly detail: string;
}

/** One event, explained. */
export interface ExplainedEvent {
  readonly outcome: Outcome["kind"];
  readonly reason: string | null;
  readonly steps: readonly Step[];
  /** The object that is created; null where none is. */
  readonly observation: Observation | null;
}

/** What became of one payload. */
export interface Simulated {
  readonly events: readonly ExplainedEvent[];
  readonly errors: readonly PayloadError[];
}

export interface SimulationOptions {
  readonly runtime: SourceRuntime;
  readonly filters: FilterSet;
  readonly instance: string;
}

/** Takes payloads in order; what one creates, the next ones repeat. */
export interface Simulation {
  take(payload: Payload): Simulated;
}

/** Stands for the id the server gives each create. */
const EVENT_ID = "explained";

/** Creates a simulation that begins with nothing stored. */
export function createSimulation({ runtime, filters, instance }: SimulationOptions): Simulation {
  const stored = new Map<string, Generation>();
  const index: StoredIndex = { newest: (fingerprint) => stored.get(fingerprint) };
  const steps: Steps = {
    filter: (event) => {
      const verdict = filters.evaluate(event);
      return verdict.pass ? undefined : { reason: verdict.reason, document: verdict.document };
    },
    inScope: () => true,
    dedup: createDedup({ index, maxSize: 100_000 }),
    admits: () => true,
  };

  function explain(event: NormalEvent): ExplainedEvent {
    const decision = decide(event, steps);
    const drawn = drawStep(event);
    if (decision.kind === "drop" && event.drop) {
      const detail = `${drawn.detail}: ${FILTER_REASON_MEANINGS[decision.reason]}`;
      return filtered(decision.reason, [{ ...drawn, verdict: "drop", detail }]);
    }
    const said = [drawn, normalizeStep(event), ...filterSteps(filters, event)];
    switch (decision.kind) {
      case "drop":
        return filtered(decision.reason, said);
      case "duplicate":
        said.push({ step: "dedup", verdict: "duplicate", detail: `repeats ${nameOf(decision.into)}` });
        return { outcome: "deduped", reason: null, steps: said, observation: null };
      case "join":
        throw new Error("Cannot wait for a twin where events are taken one after the other");
      case "write":
        return event.resolved ? endNothing(decision, said) : create(event, decision, said);
    }
  }

  function endNothing({ reservation }: Decision & { kind: "write" }, said: readonly Step[]): ExplainedEvent {
    reservation.settle({ outcome: { kind: "filtered", reason: "not_relevant" } });
    return filtered("not_relevant", [...said, resolvedStep()]);
  }

  function create(event: NormalEvent, decision: Decision & { kind: "write" }, said: Step[]): ExplainedEvent {
    const { generation } = decision;
    const observation = toObservation(event, generation, {
      instance,
      eventId: EVENT_ID,
      pushed: runtime.pushed,
    });
    const { name = "", namespace = "" } = observation.metadata;
    const window: Generation = {
      namespace,
      name,
      generation,
      firstSeenAt: event.at,
      lastSeenAt: event.at,
      active: true,
      contentHash: event.contentHash,
    };
    stored.set(event.fingerprint, window);
    decision.reservation.settle({ outcome: { kind: "created" }, generation: window });
    const first = generation <= 1
      ? "the first of its fingerprint"
      : `generation ${generation}: the window is over`;
    return {
      outcome: "created",
      reason: null,
      steps: [
        ...said,
        { step: "dedup", verdict: "new", detail: first },
        { step: "create", verdict: "created", detail: nameOf(window) },
      ],
      observation,
    };
  }

  return {
    take(payload) {
      const events: ExplainedEvent[] = [];
      const errors: PayloadError[] = [];
      try {
        for (const drawn of runtime.draw(payload)) {
          const excess = excessOf(drawn, { events: events.length, errors: errors.length });
          if (excess) {
            errors.push(excess);
            break;
          }
          if ("error" in drawn) errors.push(drawn.error);
          else events.push(explain(runtime.normalize(drawn.event, payload)));
        }
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        errors.push({ reason: "wrong_shape", path: "", message: `Cannot draw further events: ${message}` });
      }
      return { events, errors };
    },
  };
}

function drawStep(event: NormalEvent): Step {
  const { kind, name, namespace } = event.resource ?? {};
  const where = [namespace, name].filter(Boolean).join("/");
  const on = kind || where ? ` on ${[kind, where].filter(Boolean).join(" ")}` : "";
  const rules = event.rules.length > 0 ? `, rule ${event.rules.join(", ")}` : "";
  return { step: "draw", verdict: "drawn", detail: `${event.eventType}${on}${rules}` };
}

function normalizeStep(event: NormalEvent): Step {
  const detail = `source ${event.source}, severity ${event.severity}, category ${event.category}, ` +
    `namespace ${event.namespace}, fingerprint ${event.fingerprint.slice(0, 32)}`;
  return { step: "normalize", verdict: "normalized", detail };
}

function filterSteps(filters: FilterSet, event: NormalEvent): Step[] {
  const asked = filters.explain(event).filter(({ verdict }) => verdict !== "not_applicable");
  if (asked.length === 0) return [{ step: "filter", verdict: "pass", detail: "no filter applies" }];
  return asked.map(({ document, verdict, detail, dimensions }) => {
    const failed = dimensions.filter((dimension) => dimension.verdict === "error");
    const errors = failed.map((dimension) => `; ${dimension.dimension}: ${dimension.detail}`).join("");
    return { step: "filter", verdict, detail: `${document}: ${detail}${errors}` };
  });
}

function resolvedStep(): Step {
  return { step: "dedup", verdict: "drop", detail: "the end of a finding that is not stored is no news" };
}

function filtered(
  reason: Extract<Outcome, { kind: "filtered" }>["reason"],
  steps: readonly Step[],
): ExplainedEvent {
  return { outcome: "filtered", reason, steps, observation: null };
}

function nameOf({ namespace, name }: Generation): string {
  return `${namespace}/${name}`;
}
