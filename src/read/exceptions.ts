/** Reads ObservationExceptions with the user's own rights. */
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { hasStatus, type KubeApi, type KubeObject, listedObjects } from "../kube/api.ts";

const PAGE_SIZE = 500;

/** The exceptions of a namespace, or of all; undefined where the user may not list them or the cluster does not serve them. */
export async function listExceptions(
  api: KubeApi,
  { namespace }: { readonly namespace?: string | undefined },
): Promise<readonly KubeObject[] | undefined> {
  try {
    return await Array.fromAsync(
      listedObjects((page) =>
        api.list(OBSERVATION_EXCEPTIONS, { limit: PAGE_SIZE, ...(namespace && { namespace }), ...page })
      ),
    );
  } catch (error) {
    if (hasStatus(error, 403) || hasStatus(error, 404)) return undefined;
    throw error;
  }
}

/** The sentence where `listExceptions` gives nothing. */
export const EXCEPTIONS_UNREADABLE =
  "ObservationExceptions are left out: you may not list observationexceptions.zen.kube-zen.io, or the cluster does not serve them";
