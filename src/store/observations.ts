/** The Observation as a resource of the `KubeApi`. */
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

/** The workload and container that a stored finding is about; undefined if the Observation is gone. */
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

/** The object of a request. With `eventId`, only the object that this create has sent. */
interface Asked {
  readonly namespace: string;
  readonly name: string;
  readonly eventId?: string;
}

/**
 * Returns the answer if it is about the requested object, else throws a NetworkError, which is retried. A connection can
 * get out of step and deliver the answer to another request.
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
