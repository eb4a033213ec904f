/** The server's own intake over a store in memory: nothing is written, and every step of every event is kept. */
import type { ExceptionDocument } from "../../exceptions/document.ts";
import { ExceptionIndex } from "../../exceptions/judge.ts";
import { acceptableOf } from "../../model/acceptance.ts";
import { formatSeconds } from "../../model/time.ts";
import { coverageOf, inScopeOf, scopeOf } from "../../app/pipeline.ts";
import type { FilterSet } from "../../filters/filter.ts";
import type { DrawContext, EventFeed, EventSource, NormalEvent, Payload } from "../../model/event.ts";
import type { Observation } from "../../model/observation.ts";
import {
  FAIL_REASON_MEANINGS,
  FILTER_REASON_MEANINGS,
  type FilterReason,
  type Outcome,
  type PayloadError,
} from "../../model/outcome.ts";
import { createDedup, widen } from "../../pipeline/dedup.ts";
import { createIntake } from "../../pipeline/intake.ts";
import { NO_LIMITS } from "../../pipeline/limits.ts";
import { type EventSettings, toObservation } from "../../pipeline/normalize.ts";
import type {
  Generation,
  ObservationStore,
  Recorder,
  Step,
  StoredIndex,
  Written,
} from "../../pipeline/ports.ts";
import type { Settings } from "../../settings.ts";

/** One step of one event, for people. */
export interface ExplainedStep {
  readonly step: "draw" | "normalize" | "scope" | "filter" | "dedup" | "budget" | "create" | "exception";
  readonly verdict: string;
  readonly detail: string;
}

/** One event, explained. */
export interface ExplainedEvent {
  readonly outcome: Outcome["kind"];
  readonly reason: string | null;
  readonly steps: readonly ExplainedStep[];
  /** The object that is created; null where none is. */
  readonly observation: Observation | null;
}

export interface DryRunOptions {
  readonly source: EventSource;
  /** The feed that payloads are taken from. */
  readonly feed: EventFeed;
  readonly context: DrawContext;
  readonly filters: FilterSet;
  readonly exceptions?: readonly ExceptionDocument[];
  /** Milliseconds since the epoch: an exception that ended by then accepts nothing. */
  readonly now?: number;
  readonly settings:
    & EventSettings
    & Pick<Settings, "podNamespace" | "instance" | "dedupMaxSize" | "watchNamespaces" | "watchClusterScoped">;
}

/** Takes payloads one after another; what one creates, the next ones repeat. */
export interface DryRun {
  /** Resolves once every event of the payload has its outcome. */
  take(payload: Payload): Promise<void>;
  /** Every event so far, in the order they were drawn. */
  readonly events: readonly ExplainedEvent[];
  /** Everything that could not be read so far. */
  readonly errors: readonly PayloadError[];
  /** Why payloads, or items of them, are no input: `ClusterComplianceReport is a summary of others`. Each once. */
  readonly skipped: ReadonlySet<string>;
}

/** In place of the id that the server gives each create. */
const EVENT_ID = "explained";
const MAX_SKIPPED = 100;
const UNSETTLED: ExplainedEvent = { outcome: "failed", reason: "internal", steps: [], observation: null };

/** Creates a dry run that begins with nothing stored. It has the server's filters, scope and dedup, and no limits. */
export function createDryRun(options: DryRunOptions): DryRun {
  const { source, feed, context, filters, settings } = options;
  const exceptions = new ExceptionIndex();
  for (const exception of options.exceptions ?? []) {
    if (exception.expiresAt > (options.now ?? -Infinity)) exceptions.add(exception);
  }
  const store = createMemoryStore(settings.instance);
  const scope = scopeOf(settings);
  const events: ExplainedEvent[] = [];
  const errors: PayloadError[] = [];
  const skipped = new Set<string>();
  const noted: EventSource = {
    ...source,
    *draw(payload, drawContext) {
      for (const drawn of source.draw(payload, drawContext)) {
        if ("note" in drawn && drawn.why !== undefined && skipped.size < MAX_SKIPPED) skipped.add(drawn.why);
        yield drawn;
      }
    },
  };

  const recorder: Recorder = {
    open(event) {
      // It keeps its place in the order of drawing, whichever event is settled first.
      const place = events.push(UNSETTLED) - 1;
      const taken: Step[] = [];
      return {
        step: (step) => void taken.push(step),
        settle: (outcome) => void (events[place] = explained(event, taken, outcome)),
      };
    },
    payloadError: (_source, error) => void errors.push(error),
  };

  function explained(event: NormalEvent, taken: readonly Step[], outcome: Outcome): ExplainedEvent {
    const steps = taken.flatMap((step) => explainStep(event, step));
    if (outcome.kind === "failed") steps.push(failedStep(taken, outcome));
    const last = taken.at(-1);
    const created = last?.step === "write" && outcome.kind === "created"
      ? last.written.generation
      : undefined;
    const observation = created ? store.observation(created) : null;
    if (observation && event.kind === "finding") steps.push(...exceptionSteps(observation));
    return {
      outcome: outcome.kind,
      reason: "reason" in outcome ? outcome.reason : null,
      steps,
      observation,
    };
  }

  /** The exception that would accept it. */
  function exceptionSteps(observation: Observation): ExplainedStep[] {
    const finding = acceptableOf(observation);
    const found = exceptions.judge(finding, finding.belongsTo || settings.podNamespace);
    if (!found) return [];
    const { namespace, name, expiresAt, reason, justification } = found;
    const detail = `ObservationException ${namespace}/${name} until ${
      formatSeconds(expiresAt)
    }: ${reason}, ${justification}`;
    return [{ step: "exception", verdict: "accepted", detail }];
  }

  function explainStep(event: NormalEvent, step: Step): readonly ExplainedStep[] {
    switch (step.step) {
      case "draw":
        return drawSteps(event, step.drop);
      case "scope":
        return step.inScope && scope.namespaces.length === 0 ? [] : [scopeStep(step.inScope)];
      case "filter":
        return filterSteps(filters, event);
      case "dedup":
        // Dedup decides a twin again: that is a step of its own.
        if (step.verdict === "twin" || event.resolved && step.verdict === "new") return [];
        if (step.verdict === "resent") {
          return [{ step: "dedup", verdict: "duplicate", detail: "the same request again: counted already" }];
        }
        return [step.verdict === "new" ? newStep(step.generation) : duplicateStep(step.into)];
      case "budget":
        return []; // An empty store has room.
      case "write":
        return [writeStep(step.written)];
    }
  }

  function duplicateStep(into: Generation): ExplainedStep {
    const seen = store.occurrences(into);
    const times = seen > 1 ? `, seen ${seen} times` : "";
    return { step: "dedup", verdict: "duplicate", detail: `repeats ${nameOf(into)}${times}` };
  }

  const intake = createIntake({
    steps: {
      inScope: inScopeOf(coverageOf(scope)),
      filter: (event) => {
        const verdict = filters.evaluate(event);
        return verdict.pass ? undefined : { reason: verdict.reason, document: verdict.document };
      },
      dedup: createDedup({ index: store, maxSize: settings.dedupMaxSize }),
      admits: () => "admitted",
    },
    limits: NO_LIMITS,
    store,
    recorder,
    settings,
    context: () => context,
  });
  const { signal } = new AbortController();
  return {
    events,
    errors,
    skipped,
    take: async (payload) =>
      void await intake.take(noted, payload, { feed, signal, correlationId: "explain" }),
  };
}

/** Observations in memory, with what the API server and the status writer would make of them. */
interface MemoryStore extends ObservationStore, StoredIndex {
  observation(generation: Generation): Observation | null;
  /** How often it was seen. */
  occurrences(generation: Generation): number;
}

function createMemoryStore(instance: string): MemoryStore {
  const newest = new Map<string, Generation>();
  const observations = new Map<string, Observation>();
  const occurrences = new Map<string, number>();
  return {
    newest: ({ fingerprint }) => newest.get(fingerprint),
    observation: (generation) => observations.get(nameOf(generation)) ?? null,
    occurrences: (generation) => occurrences.get(nameOf(generation)) ?? 0,
    write(event, generation, { pushed }) {
      // The end of a finding that is not stored: nothing is created for it.
      if (event.resolved) return Promise.resolve({ outcome: { kind: "filtered", reason: "not_relevant" } });
      const observation = toObservation(event, generation, { instance, eventId: EVENT_ID, pushed });
      const { name = "", namespace = "" } = observation.metadata;
      const stored: Generation = {
        namespace,
        name,
        generation,
        firstSeenAt: event.at,
        lastSeenAt: event.at,
        active: true,
        contentHash: event.contentHash,
      };
      newest.set(event.fingerprint, stored);
      observations.set(nameOf(stored), observation);
      occurrences.set(nameOf(stored), 1);
      return Promise.resolve({ outcome: { kind: "created" }, generation: stored });
    },
    repeat(event, into) {
      const stored = newest.get(event.fingerprint);
      if (!stored) return;
      newest.set(event.fingerprint, { ...widen(stored, event), active: !event.resolved });
      // A repeat of an occurrence counts; of a finding only its return does.
      const counts = event.kind === "occurrence" ? event.countRepeats : !stored.active && !event.resolved;
      if (counts) occurrences.set(nameOf(into), (occurrences.get(nameOf(into)) ?? 1) + 1);
    },
  };
}

function drawSteps(event: NormalEvent, drop: FilterReason | undefined): ExplainedStep[] {
  const { kind, name, namespace } = event.resource ?? {};
  const where = [namespace, name].filter(Boolean).join("/");
  const on = kind || where ? ` on ${[kind, where].filter(Boolean).join(" ")}` : "";
  const rules = event.rules.length > 0 ? `, rule ${event.rules.join(", ")}` : "";
  const drawn = `${event.eventType}${on}${rules}`;
  if (drop) {
    return [{ step: "draw", verdict: "drop", detail: `${drawn}: ${FILTER_REASON_MEANINGS[drop]}` }];
  }
  const normal = `source ${event.source}, severity ${event.severity}, category ${event.category}, ` +
    `namespace ${event.namespace}, fingerprint ${event.fingerprint.slice(0, 32)}`;
  return [
    { step: "draw", verdict: "drawn", detail: drawn },
    { step: "normalize", verdict: "normalized", detail: normal },
  ];
}

function scopeStep(inside: boolean): ExplainedStep {
  return inside
    ? { step: "scope", verdict: "pass", detail: "inside WATCH_NAMESPACE" }
    : { step: "scope", verdict: "drop", detail: FILTER_REASON_MEANINGS.out_of_scope };
}

function filterSteps(filters: FilterSet, event: NormalEvent): ExplainedStep[] {
  const asked = filters.explain(event).filter(({ verdict }) => verdict !== "not_applicable");
  if (asked.length === 0) return [{ step: "filter", verdict: "pass", detail: "no filter applies" }];
  return asked.map(({ document, verdict, detail, dimensions }) => {
    const failed = dimensions.filter((dimension) => dimension.verdict === "error");
    const errors = failed.map((dimension) => `; ${dimension.dimension}: ${dimension.detail}`).join("");
    return { step: "filter", verdict, detail: `${document}: ${detail}${errors}` };
  });
}

function newStep(generation: number): ExplainedStep {
  const detail = generation <= 1
    ? "the first of its fingerprint"
    : `generation ${generation}: the window is over`;
  return { step: "dedup", verdict: "new", detail };
}

function writeStep({ outcome, generation }: Written): ExplainedStep {
  if (outcome.kind === "created" && generation) {
    return { step: "create", verdict: "created", detail: nameOf(generation) };
  }
  return { step: "create", verdict: "drop", detail: "the finding that ends here is not stored" };
}

/** The step after the last one that was taken is the one that failed. */
function failedStep(
  taken: readonly Step[],
  { reason, message }: Outcome & { kind: "failed" },
): ExplainedStep {
  const after = {
    draw: "scope",
    scope: "filter",
    filter: "dedup",
    dedup: "budget",
    budget: "create",
    write: "create",
  } as const;
  const last = taken.at(-1)?.step;
  return {
    step: last ? after[last] : "draw",
    verdict: "failed",
    detail: message ?? FAIL_REASON_MEANINGS[reason],
  };
}

function nameOf({ namespace, name }: Generation): string {
  return `${namespace}/${name}`;
}
