/** Events as filters see them, from what a reader knows. */
import type { NormalEvent } from "../../model/event.ts";
import { ANNOTATIONS, LABELS } from "../../model/observation.ts";
import { parseTime } from "../../model/time.ts";
import { BUILT_IN } from "../../sources/registry.ts";
import type { StoredObservation } from "../../store/observations.ts";

/** The event that an Observation was made of. */
export function eventOf({ metadata, spec }: StoredObservation): NormalEvent {
  const at = parseTime(spec.detectedAt ?? metadata.creationTimestamp ?? "")?.ms ?? 0;
  const rule = spec.rule ?? "";
  const { neverDroppedByTenants } = BUILT_IN.get(spec.source) ?? {};
  return {
    source: spec.source,
    kind: metadata.labels?.[LABELS.kind] === "occurrence" ? "occurrence" : "finding",
    category: spec.category,
    severity: spec.severity,
    eventType: spec.eventType,
    message: spec.message ?? "",
    ...(spec.resource && { resource: spec.resource }),
    details: spec.details ?? {},
    detectedAt: spec.detectedAt ?? "",
    rule,
    rules: rule === "" ? [] : [rule],
    fingerprint: metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "",
    identity: metadata.annotations?.[ANNOTATIONS.identity] ?? "",
    at,
    receivedAt: at,
    namespace: metadata.namespace ?? "",
    ttlSeconds: spec.ttlSecondsAfterCreation ?? 0,
    windowMs: 0,
    countRepeats: false,
    contentHash: 0,
    resolved: false,
    ...(neverDroppedByTenants && { neverDroppedByTenants }),
  };
}

/** An event of which only the rule and the namespace it belongs to are known. */
export function eventOfRule(rule: string, namespace: string | undefined): NormalEvent {
  return eventOf({
    metadata: {},
    spec: {
      source: "",
      category: "security",
      severity: "UNKNOWN",
      eventType: "",
      rule,
      ...(namespace !== undefined && { resource: { namespace } }),
    },
  } as StoredObservation);
}
