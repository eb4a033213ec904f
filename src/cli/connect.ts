/** Connects a command to its cluster. */
import { type ClusterChoice, findConnection, ImpersonationError } from "../kube/auth/kubeconfig.ts";
import type { Connection } from "../kube/api.ts";
import { createKubeClient, type KubeClient } from "../kube/client.ts";
import { hasStatus } from "../kube/api.ts";
import { type Backoff, retry } from "../kube/retry.ts";
import type { Settings } from "../settings.ts";
import { type ClusterFlags, FlagError } from "./command.ts";

/** Finds the cluster of `--kubeconfig` and `--context`, else the one that kubectl uses, as the user of `--as`. */
export async function connectionOf(flags: ClusterFlags, settings: Settings): Promise<Connection> {
  try {
    return await findConnection(clusterChoice(flags, settings));
  } catch (error) {
    throw error instanceof ImpersonationError ? new FlagError(error.message) : error;
  }
}

/** The flags, and the settings that name a cluster where there are none. */
export function clusterChoice(flags: ClusterFlags, settings: Settings): ClusterChoice {
  const { kubeconfig, context, as, asGroup, asUid } = flags;
  return {
    kubeconfig,
    context,
    as,
    asGroup,
    asUid,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
    serviceAccountFolder: settings.serviceAccountFolder,
  };
}

/** A client of that cluster. */
export async function connect(flags: ClusterFlags, settings: Settings): Promise<KubeClient> {
  return patientClient(await connectionOf(flags, settings));
}

/** Requests sent again before the answer that the API server has too many is taken; kubectl sends as many. */
const MOST_RETRIES = 10;
/** As long as the API server asks for, up to 10 s; a second where it does not say. */
const BUSY_WAIT: Backoff = { next: (retryAfterMs = 1_000) => Math.min(retryAfterMs, 10_000), reset() {} };

/** A client that waits as long as a busy API server asks for, and reads again. */
export function patientClient(connection: Connection): KubeClient {
  const client = createKubeClient(connection);
  return {
    ...client,
    list: (type, options) => again(() => client.list(type, options), options?.signal),
    get: (type, name, options) => again(() => client.get(type, name, options), options?.signal),
    getPath: (path, options) => again(() => client.getPath(path, options), options?.signal),
    async *listBytes(type, options) {
      const [pieces, first] = await again(async () => {
        const pieces = client.listBytes(type, options)[Symbol.asyncIterator]();
        return [pieces, await pieces.next()] as const;
      }, options?.signal);
      try {
        for (let next = first; !next.done; next = await pieces.next()) yield next.value;
      } finally {
        await pieces.return?.();
      }
    },
  };
}

function again<T>(read: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return retry(read, {
    retryable: (error) => hasStatus(error, 429),
    maxAttempts: MOST_RETRIES + 1,
    backoff: BUSY_WAIT,
    ...(signal && { signal }),
  });
}
