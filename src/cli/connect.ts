/** Finds the cluster a command speaks to. */
import { findConnection } from "../kube/auth/connect.ts";
import { createKubeClient, type KubeClient } from "../kube/client.ts";
import type { Settings } from "../settings.ts";
import type { Arguments } from "./args.ts";

/** `--kubeconfig` and `--context`, else as kubectl does. */
export async function connect(
  { kubeconfig, context }: Pick<Arguments, "kubeconfig" | "context">,
  settings: Settings,
): Promise<KubeClient> {
  const connection = await findConnection({
    kubeconfig,
    context,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
  });
  return createKubeClient(connection);
}
