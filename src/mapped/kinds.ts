/** The two kinds that are sources by configuration. */
import { GROUP } from "../model/observation.ts";
import type { ResourceType } from "../kube/api.ts";

/** The version of both kinds. */
export const MAPPED_VERSION = "v1alpha1";

/** The resource of Ingesters. */
export const INGESTERS: ResourceType = {
  group: GROUP,
  version: MAPPED_VERSION,
  plural: "ingesters",
  kind: "Ingester",
  namespaced: true,
};
/** The resource of ObservationMappings. */
export const OBSERVATION_MAPPINGS: ResourceType = {
  ...INGESTERS,
  plural: "observationmappings",
  kind: "ObservationMapping",
};
