import { sha256 } from "../../src/model/identity.ts";
import { toObservation } from "../../src/pipeline/normalize.ts";
import type { NormalEvent } from "../../src/model/event.ts";
import type { Observation } from "../../src/model/observation.ts";
import type { StoredObservation } from "../../src/store/observations.ts";
import { normalEvent } from "./normal_event.ts";

export interface ObservationFields extends Partial<NormalEvent> {
  /** Makes the fingerprint. */
  readonly id?: string | number;
  readonly generation?: number;
  readonly instance?: string;
  readonly createdAt?: number;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly status?: Observation["status"];
}

/** A stored Observation, with what the test cares about. */
export function storedObservation(fields: ObservationFields = {}): StoredObservation {
  const { id = 0, generation = 0, instance = "default", createdAt = Date.UTC(2026, 0, 1), status, ...event } =
    fields;
  const fingerprint = event.fingerprint ?? sha256(String(id));
  const { namespace = "default" } = event;
  const resource = namespace === "zen-system" ? {} : { resource: { namespace } };
  const observation = toObservation(normalEvent({ ...resource, ...event, fingerprint }), generation, {
    instance,
    eventId: "an-event",
  });
  return {
    ...observation,
    metadata: {
      ...observation.metadata,
      uid: fields.uid ?? crypto.randomUUID(),
      resourceVersion: fields.resourceVersion ?? "1",
      creationTimestamp: new Date(createdAt).toISOString().slice(0, 19) + "Z",
    },
    status: { phase: "Active", occurrences: 1, processed: true, ...status },
  };
}
