/** The cluster an operator's script works on, found as kubectl finds it. */
import type { KubeApi } from "../../src/kube/api.ts";
import { findConnection } from "../../src/kube/auth/connect.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { environment } from "../../src/settings.ts";

export interface UsersCluster extends Disposable {
  readonly api: KubeApi;
  readonly description: string;
}

/** `--kubeconfig` and `--context`, else KUBECONFIG, else ~/.kube/config. */
export async function openUsersCluster(
  { kubeconfig, context }: {
    readonly kubeconfig?: string | undefined;
    readonly context?: string | undefined;
  },
): Promise<UsersCluster> {
  const connection = await findConnection({
    kubeconfig,
    context,
    kubeconfigEnv: environment("KUBECONFIG"),
    home: environment("HOME"),
    serviceHost: environment("KUBERNETES_SERVICE_HOST"),
    servicePort: environment("KUBERNETES_SERVICE_PORT"),
  });
  const api = createKubeClient(connection);
  return { api, description: connection.description, [Symbol.dispose]: () => api.close() };
}
