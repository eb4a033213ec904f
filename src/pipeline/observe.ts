/** The Observation that an event is stored as. */
import type { NormalEvent } from "../model/event.ts";
import { shortFingerprint } from "../model/identity/fingerprint.ts";
import { labelValue, observationName } from "../model/identity/names.ts";
import {
  ANNOTATIONS,
  API_VERSION,
  KIND,
  LABELS,
  MANAGED_BY,
  type Observation,
} from "../model/observation.ts";

/** What an Observation carries beside its event. */
export interface ObserveContext {
  /** INSTANCE: the shard set it belongs to. */
  readonly instance: string;
  /** Unique to this create, the same in its retries. */
  readonly eventId: string;
  /** Where it goes, if not to the event's own namespace (gone or terminating). */
  readonly namespace?: string;
  /** True where it was pushed, not read from a view. */
  readonly pushed?: boolean;
}

/** The object to create for generation `generation` of the event (0 for a finding). */
export function toObservation(event: NormalEvent, generation: number, context: ObserveContext): Observation {
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: {
      name: observationName(event.source, event.fingerprint, generation),
      namespace: context.namespace ?? event.namespace,
      labels: {
        [LABELS.managedBy]: MANAGED_BY,
        [LABELS.source]: labelValue(event.source),
        [LABELS.severity]: event.severity,
        [LABELS.category]: event.category,
        [LABELS.eventType]: labelValue(event.eventType),
        [LABELS.kind]: event.kind,
        [LABELS.fingerprint]: shortFingerprint(event.fingerprint),
        [LABELS.instance]: labelValue(context.instance),
      },
      annotations: {
        [ANNOTATIONS.fingerprint]: event.fingerprint,
        [ANNOTATIONS.identity]: event.identity,
        [ANNOTATIONS.eventId]: context.eventId,
        ...(context.pushed && event.kind === "finding" && event.door !== undefined && {
          [ANNOTATIONS.pushedThrough]: event.door,
        }),
      },
    },
    spec: {
      source: event.source,
      category: event.category,
      severity: event.severity,
      eventType: event.eventType,
      message: event.message,
      ...(event.resource && { resource: event.resource }),
      ...(Object.keys(event.details).length > 0 && { details: event.details }),
      detectedAt: event.detectedAt,
      ttlSecondsAfterCreation: event.ttlSeconds,
    },
  };
}
