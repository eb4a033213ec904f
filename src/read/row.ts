/** One Observation as readers show it, without its details: small, so that tens of thousands fit into memory. */
import { workloadNameOf } from "../model/acceptance.ts";
import { isObject, type Json } from "../model/json.ts";
import { ANNOTATIONS, LABELS, type Observation, type Phase, type Severity } from "../model/observation.ts";
import { formatTime, parseTime, seenTimes } from "../model/time.ts";

/** What a reader shows in one line. Texts that are absent are "". */
export interface ObservationRow {
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
  /** See `phaseAt`. */
  readonly phase: Phase;
  /** `namespace/name` of the ObservationException that its status names, though that may have expired. */
  readonly exception: string;
  readonly acceptedSince: string;
  readonly acceptedUntil: string;
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

/** The fields of a row, in the order of columns. */
export const ROW_FIELDS: readonly (keyof ObservationRow)[] = [
  "name",
  "storedIn",
  "namespace",
  "source",
  "severity",
  "category",
  "eventType",
  "rule",
  "kind",
  "resource",
  "workload",
  "image",
  "message",
  "phase",
  "exception",
  "acceptedSince",
  "acceptedUntil",
  "occurrences",
  "firstSeenAt",
  "lastSeenAt",
  "resolvedAt",
  "resolvedReason",
  "reopenedAt",
  "fingerprint",
  "type",
];

/** Projects an Observation. `now`, in milliseconds since the epoch, decides whether an exception still holds. */
export function toRow(
  observation: Observation,
  { now = Date.now() }: { readonly now?: number } = {},
): ObservationRow {
  const { metadata, spec, status } = observation;
  const { firstSeenAt, lastSeenAt } = seenTimes(observation);
  const exception = status?.phase === "Accepted" ? status.exception : undefined;
  return {
    name: metadata.name ?? "",
    storedIn: metadata.namespace ?? "",
    namespace: subjectNamespaceOf(observation),
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
    phase: phaseAt(observation, now),
    exception: exception ? `${exception.namespace}/${exception.name}` : "",
    acceptedSince: exception?.since ?? "",
    acceptedUntil: exception?.expiresAt ?? "",
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

/** The phase as it is stored, and Active where the exception has expired and nothing has written that yet. */
export function phaseAt({ status }: Observation, now: number): Phase {
  const { phase = "Active", exception } = status ?? {};
  if (phase !== "Accepted") return phase;
  return (parseTime(exception?.expiresAt ?? "")?.ms ?? 0) > now ? "Accepted" : "Active";
}

/** The namespace that an Observation belongs to, wherever it is stored. */
export function subjectNamespaceOf({ metadata, spec }: Observation): string {
  return spec.resource?.namespace ?? metadata.namespace ?? "";
}

/** `shop/Deployment/web`, or the parts there are. */
export function placeOf(
  { namespace, kind, resource }: Pick<ObservationRow, "namespace" | "kind" | "resource">,
): string {
  return [namespace, kind, resource].filter((part) => part !== "").join("/");
}

/** `Deployment/web`, or the part there is. */
export function resourceNameOf({ kind, resource }: Pick<ObservationRow, "kind" | "resource">): string {
  return [kind, resource].filter((part) => part !== "").join("/");
}

/** RFC 3339; "" for 0. */
export function timeText(ms: number): string {
  return ms === 0 ? "" : formatTime(ms);
}

function imageOf(details: Json | undefined): string {
  const image = isObject(details) ? details["image"] : undefined;
  return typeof image === "string" ? image : "";
}
