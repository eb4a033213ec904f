/** Observations through the `KubeApi`: the one place where both types meet. */
import { GROUP, KIND, type Observation, PLURAL, VERSION } from "../model/observation.ts";
import type { KubeObject, ResourceType } from "../kube/api.ts";

/** The resource Observations are served as. */
export const OBSERVATIONS: ResourceType = {
  group: GROUP,
  version: VERSION,
  plural: PLURAL,
  kind: KIND,
  namespaced: true,
};

/** An Observation as the API server hands it out. */
export type StoredObservation = Observation & KubeObject;
