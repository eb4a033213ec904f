/** The Observation as a resource of the `KubeApi`. */
import { GROUP, KIND, type Observation, PLURAL, VERSION_NAME } from "../model/observation.ts";
import { answerAbout, hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../kube/api.ts";
import type { ReportScope } from "../model/view.ts";
import { workloadKey } from "../model/identity.ts";

/** The resource Observations are served as. */
export const OBSERVATIONS: ResourceType = {
  group: GROUP,
  version: VERSION_NAME,
  plural: PLURAL,
  kind: KIND,
  namespaced: true,
};

/** An Observation as the API server hands it out. */
export type StoredObservation = Observation & KubeObject;

/** The workload and container that a stored finding is about; undefined if the Observation is gone. */
export async function storedScope(
  api: Pick<KubeApi, "get">,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): Promise<ReportScope | undefined> {
  try {
    const stored = await api.get<StoredObservation>(OBSERVATIONS, name, { namespace });
    const { resource = {}, details = {} } = answerAbout({ namespace, name }, stored).spec;
    const { container } = details;
    return { workload: workloadKey(resource), part: typeof container === "string" ? container : "" };
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}
