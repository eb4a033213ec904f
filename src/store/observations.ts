/** Observations through the `KubeApi`: the one place where both types meet. */
import { ANNOTATIONS, GROUP, KIND, type Observation, PLURAL, VERSION_NAME } from "../model/observation.ts";
import { hasStatus, type KubeApi, type KubeObject, NetworkError, type ResourceType } from "../kube/api.ts";
import { type ReportScope, workloadKey } from "../model/view.ts";

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

/** The workload and container that a stored finding is about; undefined where the Observation is gone. */
export async function storedScope(
  api: Pick<KubeApi, "get">,
  { namespace, name }: Asked,
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

/** The object a request is about. `eventId` is set where only the object of this very create is meant. */
interface Asked {
  readonly namespace: string;
  readonly name: string;
  readonly eventId?: string;
}

/**
 * The answer to a request, if it is about the object that was asked for. Else throws a NetworkError, which is retried:
 * on a connection that is out of step a request is given the answer to another one.
 */
export function answerAbout(asked: Asked, answer: StoredObservation): StoredObservation {
  const { namespace = "", name = "", annotations } = answer.metadata;
  const isAsked = namespace === asked.namespace && name === asked.name &&
    (asked.eventId === undefined || annotations?.[ANNOTATIONS.eventId] === asked.eventId);
  if (isAsked) return answer;
  throw new NetworkError(
    `Cannot believe the answer about "${asked.namespace}/${asked.name}": it is about "${namespace}/${name}"${
      asked.eventId === undefined ? "" : `, event "${annotations?.[ANNOTATIONS.eventId] ?? ""}"`
    }`,
    { fault: "garbled" },
  );
}
