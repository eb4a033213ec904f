/** One Observation as readers show it, without its details: small, so that tens of thousands fit into memory. */
import { workloadNameOf } from "../model/acceptance.ts";
import { isObject, type Json } from "../model/json.ts";
import { ANNOTATIONS, LABELS, type Observation, type Phase, type Severity } from "../model/observation.ts";
import { formatTime, seenTimes } from "../model/time.ts";

/** What a reader shows in one line. Texts that are absent are "". */
export interface Row {
  readonly name: string;
  /** Where it is stored. */
  readonly storedIn: string;
  /** Where it belongs to: the affected resource's namespace. */
  readonly namespace: string;
  readonly source: string;
  readonly severity: Severity;
  readonly category: string;
  readonly eventType: string;
  readonly rule: string;
  readonly kind: string;
  readonly resource: string;
  readonly workload: string;
  readonly image: string;
  readonly message: string;
  readonly phase: Phase;
  readonly occurrences: number;
  readonly firstSeenAt: string;
  readonly lastSeenAt: string;
  readonly resolvedAt: string;
  /** A `ResolvedReason`; "" while it is not Resolved, or where an older version resolved it. */
  readonly resolvedReason: string;
  readonly reopenedAt: string;
  /** The same for one finding for ever, in every cluster of that name. */
  readonly fingerprint: string;
  /** `finding` or `occurrence`. */
  readonly type: string;
}

/** Projects an Observation. */
export function toRow(observation: Observation): Row {
  const { metadata, spec, status } = observation;
  const { firstSeenAt, lastSeenAt } = seenTimes(observation);
  return {
    name: metadata.name ?? "",
    storedIn: metadata.namespace ?? "",
    namespace: namespaceOf(observation),
    source: spec.source,
    severity: spec.severity,
    category: spec.category,
    eventType: spec.eventType,
    rule: spec.rule ?? "",
    kind: spec.resource?.kind ?? "",
    resource: spec.resource?.name ?? "",
    workload: workloadNameOf(observation) ?? "",
    image: imageOf(spec.details),
    message: spec.message ?? "",
    phase: status?.phase ?? "Active",
    occurrences: status?.occurrences ?? 1,
    firstSeenAt: timeText(firstSeenAt),
    lastSeenAt: timeText(lastSeenAt),
    resolvedAt: status?.resolvedAt ?? "",
    resolvedReason: status?.resolvedReason ?? "",
    reopenedAt: status?.reopenedAt ?? "",
    fingerprint: metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "",
    type: metadata.labels?.[LABELS.kind] ?? "",
  };
}

/** The namespace that an Observation belongs to, wherever it is stored. */
export function namespaceOf({ metadata, spec }: Observation): string {
  return spec.resource?.namespace ?? metadata.namespace ?? "";
}

/** `Deployment/web`, or the part there is. */
export function resourceNameOf({ kind, resource }: Pick<Row, "kind" | "resource">): string {
  return [kind, resource].filter((part) => part !== "").join("/");
}

function timeText(ms: number): string {
  return ms === 0 ? "" : formatTime(ms);
}

function imageOf(details: Json | undefined): string {
  const image = isObject(details) ? details["image"] : undefined;
  return typeof image === "string" ? image : "";
}
