/** Connects a command to its cluster. */
import { findConnection } from "../kube/auth/kubeconfig.ts";
import type { Connection } from "../kube/auth/connection.ts";
import { createKubeClient, type KubeClient } from "../kube/client.ts";
import type { Settings } from "../settings.ts";
import type { ClusterFlags } from "./command.ts";

/** Finds the cluster of `--kubeconfig` and `--context`, else the one that kubectl uses. */
export async function connectionOf(
  { kubeconfig, context }: ClusterFlags,
  settings: Settings,
): Promise<Connection> {
  return await findConnection({
    kubeconfig,
    context,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
    serviceAccountFolder: settings.serviceAccountFolder,
  });
}

/** A client of that cluster. */
export async function connect(flags: ClusterFlags, settings: Settings): Promise<KubeClient> {
  return createKubeClient(await connectionOf(flags, settings));
}
