/** What a reader chooses: the part that the API server filters by, and the check of each Observation that it sends. */
import { labelValue } from "../model/identity.ts";
import { LABELS, type Observation, type Phase, type Severity } from "../model/observation.ts";
import { parseTime, seenTimes } from "../model/time.ts";
import { workloadNameOf } from "../model/acceptance.ts";
import { phaseAt, subjectNamespaceOf } from "./row.ts";

/** Absent fields choose everything. */
export interface Selection {
  /** The namespace that findings belong to, wherever they are stored. */
  readonly namespace?: string | undefined;
  readonly rule?: string | undefined;
  readonly workload?: string | undefined;
  readonly severities?: readonly Severity[] | undefined;
  readonly source?: string | undefined;
  /** A kind of affected resource. */
  readonly kind?: string | undefined;
  /** See `phaseAt`. */
  readonly phase?: Phase | undefined;
  /** Milliseconds since the epoch, at which exceptions hold or not; by default the time of the check. */
  readonly nowMs?: number | undefined;
  /** Milliseconds since the epoch: first seen then or later. */
  readonly sinceMs?: number | undefined;
  /** First seen before. */
  readonly untilMs?: number | undefined;
  /** Open at this time: first seen before and not resolved by then. */
  readonly openAtMs?: number | undefined;
  /** A label selector as kubectl takes it. */
  readonly labels?: string | undefined;
}

/** The label selector of a selection. Severity and source are labels as well as fields, and labels need no newer API server. */
export function labelSelectorOf(selection: Selection): string {
  const { rule, workload, severities, source, labels } = selection;
  const terms = [
    ...(labels ? [labels] : []),
    ...(rule === undefined ? [] : [`${LABELS.rule}=${labelValue(rule)}`]),
    ...(workload === undefined ? [] : [`${LABELS.workload}=${labelValue(workload)}`]),
    ...(severities === undefined ? [] : [`${LABELS.severity} in (${severities.join(",")})`]),
    ...(source === undefined ? [] : [`${LABELS.source}=${labelValue(source)}`]),
  ];
  return terms.join(",");
}

/** The field selector of a selection; an API server before 1.31 knows none of these fields. */
export function fieldSelectorOf({ kind, phase }: Selection): string {
  return [
    ...(kind === undefined ? [] : [`spec.resource.kind=${kind}`]),
    // What is stored as Accepted is Active again where its exception has expired: the check decides.
    ...(phase === undefined
      ? []
      : [phase === "Resolved" ? "status.phase=Resolved" : "status.phase!=Resolved"]),
  ].join(",");
}

/** Checks what the API server could not, or did not: labels are shortened, and anyone may have written them. */
export function isSelected(observation: Observation, selection: Selection): boolean {
  const { spec } = observation;
  const { namespace, rule, workload, severities, source, kind, phase, nowMs } = selection;
  const { sinceMs, untilMs, openAtMs } = selection;
  if (namespace !== undefined && subjectNamespaceOf(observation) !== namespace) return false;
  if (rule !== undefined && spec.rule !== rule) return false;
  if (
    workload !== undefined && workloadNameOf(observation) !== workload && !hasWorkload(observation, workload)
  ) {
    return false;
  }
  if (severities !== undefined && !severities.includes(spec.severity)) return false;
  if (source !== undefined && spec.source !== source) return false;
  if (kind !== undefined && spec.resource?.kind !== kind) return false;
  if (phase !== undefined && phaseAt(observation, nowMs ?? Date.now()) !== phase) return false;
  if (openAtMs !== undefined && !isOpenAt(observation, openAtMs)) return false;
  if (sinceMs === undefined && untilMs === undefined) return true;
  const seenMs = seenTimes(observation).firstSeenAt;
  return seenMs >= (sinceMs ?? -Infinity) && seenMs < (untilMs ?? Infinity);
}

function isOpenAt(observation: Observation, ms: number): boolean {
  if (seenTimes(observation).firstSeenAt > ms) return false;
  const { phase, resolvedAt = "" } = observation.status ?? {};
  return phase !== "Resolved" || (parseTime(resolvedAt)?.ms ?? 0) > ms;
}

function hasWorkload({ metadata }: Observation, workload: string): boolean {
  return metadata.labels?.[LABELS.workload] === labelValue(workload);
}
