/** Connects a command to its cluster. */
import { type ClusterChoice, findConnection } from "../kube/auth/kubeconfig.ts";
import type { Connection, Endpoint } from "../kube/api.ts";
import { createKubeClient, type KubeClient } from "../kube/client.ts";
import type { Settings } from "../settings.ts";
import { type ClusterFlags, usage } from "./command.ts";

/** Finds the cluster of `--kubeconfig` and `--context`, else the one that kubectl uses, as the user of `--as`. */
export async function connectionOf(flags: ClusterFlags, settings: Settings): Promise<Connection> {
  const headers = impersonation(flags);
  const connection = await findConnection(clusterChoice(flags, settings));
  if (headers === undefined) return connection;
  return {
    ...connection,
    async endpoint(options) {
      const endpoint = await connection.endpoint(options);
      return { ...endpoint, headers: { ...endpoint.headers, ...headers } };
    },
  };
}

/** The flags, and the settings that name a cluster where there are none. */
export function clusterChoice({ kubeconfig, context }: ClusterFlags, settings: Settings): ClusterChoice {
  return {
    kubeconfig,
    context,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
    serviceAccountFolder: settings.serviceAccountFolder,
  };
}

function impersonation({ as, asGroup = [], asUid }: ClusterFlags): Endpoint["headers"] {
  if (as === undefined) {
    if (asGroup.length === 0 && asUid === undefined) return undefined;
    throw usage("", "--as-group and --as-uid take --as, the name of the user");
  }
  return {
    "Impersonate-User": as,
    ...(asGroup.length > 0 && { "Impersonate-Group": asGroup }),
    ...(asUid !== undefined && { "Impersonate-Uid": asUid }),
  };
}

/** A client of that cluster. */
export async function connect(flags: ClusterFlags, settings: Settings): Promise<KubeClient> {
  return createKubeClient(await connectionOf(flags, settings));
}
