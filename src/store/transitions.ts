/**
 * Logs findings that were created, resolved or reopened, many in one line, because one report can create or end hundreds.
 * Resolved and reopened ones are also counted one by one in metrics, and announced by an Event.
 */
import { type Clock, parseTime, seenTimes } from "../model/time.ts";
import { API_VERSION, KIND, type Observation, type ResolvedReason } from "../model/observation.ts";
import type { EventDraft, ObjectReference } from "../kube/events.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** A change of a finding that this process wrote. `observation` is the created object, or the object before it was resolved or reopened. */
export type Transition =
  & { readonly observation: Observation; readonly at: number }
  & (
    | { readonly kind: "created" }
    | { readonly kind: "resolved"; readonly reason: ResolvedReason }
    | { readonly kind: "reopened" }
  );

export interface TransitionsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "findingsResolved" | "findingsReopened" | "findingResolution">;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  readonly record: (event: EventDraft) => void;
  /** The Lease that the Events are about, so that they are in the controller's namespace. */
  readonly regarding: ObjectReference;
}

/** The transitions of a process. */
export interface Transitions {
  note(transition: Transition): void;
  /** Logs the batches that have waited long enough; with `all`, every batch. */
  tell(options?: { readonly all?: boolean }): void;
}

/** Transitions for one log line and one Event. */
interface Batch {
  readonly beganAt: number;
  newestAt: number;
  findings: number;
  readonly sources: Record<string, number>;
  readonly reasons: Record<string, number>;
  readonly names: string[];
  readonly first: ObjectReference;
}

/** A batch is logged when nothing was added for QUIET_MS, or when it is LONGEST_MS old. */
const QUIET_MS = 5_000;
const LONGEST_MS = 60_000;
/** Most names in one line. */
const MAX_NAMES = 10;

/** Creates the transitions of a process. */
export function createTransitions(options: TransitionsOptions): Transitions {
  const { clock, log, metrics, sourceLabel, record, regarding } = options;
  const batches = new Map<Transition["kind"], Batch>();

  function count(transition: Transition, source: string): void {
    if (transition.kind === "created") return;
    const { severity } = transition.observation.spec;
    if (transition.kind === "reopened") return metrics.findingsReopened.inc({ source, severity });
    metrics.findingsResolved.inc({ source, severity, reason: transition.reason });
    metrics.findingResolution.observe({ source, severity }, openSeconds(transition));
  }

  function tellBatch(kind: Transition["kind"], batch: Batch): void {
    const { findings, sources, reasons, names } = batch;
    if (kind === "created") {
      log.info("Findings created", { findings, sources, names });
    } else if (kind === "resolved") {
      log.info("Findings resolved", { findings, sources, reasons, names });
      recordEvent(batch, { reason: "FindingsResolved", what: `resolved (${listOf(reasons)})` });
    } else {
      log.info("Findings reported again", { findings, sources, names });
      recordEvent(batch, { reason: "FindingsReopened", what: "reported again" });
    }
  }

  function recordEvent(
    { findings, sources, names: [name], first }: Batch,
    { reason, what }: { readonly reason: string; readonly what: string },
  ): void {
    const message = findings === 1
      ? `1 finding ${what}: ${name}`
      : `${findings} findings ${what}: ${listOf(sources)}; first ${name}`;
    record({ regarding, related: first, type: "Normal", reason, message });
  }

  return {
    note(transition) {
      const { metadata: { namespace = "", name = "", uid }, spec } = transition.observation;
      const source = sourceLabel(spec.source);
      count(transition, source);
      const now = clock.monotonic();
      const batch: Batch = batches.get(transition.kind) ?? {
        beganAt: now,
        newestAt: now,
        findings: 0,
        sources: {},
        reasons: {},
        names: [],
        first: { apiVersion: API_VERSION, kind: KIND, namespace, name, ...(uid !== undefined && { uid }) },
      };
      batches.set(transition.kind, batch);
      batch.newestAt = now;
      batch.findings++;
      batch.sources[source] = (batch.sources[source] ?? 0) + 1;
      if (transition.kind === "resolved") {
        batch.reasons[transition.reason] = (batch.reasons[transition.reason] ?? 0) + 1;
      }
      if (batch.names.length < MAX_NAMES) batch.names.push(`${namespace}/${name}`);
    },
    tell({ all = false } = {}) {
      const now = clock.monotonic();
      for (const [kind, batch] of batches) {
        const isDue = now - batch.newestAt >= QUIET_MS || now - batch.beganAt >= LONGEST_MS;
        if (!all && !isDue) continue;
        batches.delete(kind);
        tellBatch(kind, batch);
      }
    },
  };
}

/** How long a finding was open, since it was first seen or last reopened. */
function openSeconds({ observation, at }: Transition): number {
  const reopenedAt = parseTime(observation.status?.reopenedAt ?? "")?.ms ?? -Infinity;
  const openedAt = Math.max(seenTimes(observation).firstSeenAt, reopenedAt);
  return Math.max(0, at - openedAt) / 1_000;
}

/** `trivy 12, kyverno 3`. */
function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).sort(([, one], [, other]) => other - one)
    .map(([what, count]) => `${what} ${count}`).join(", ");
}
