/** Finds the cluster a command speaks to. */
import { findConnection } from "../kube/auth/connect.ts";
import { createTransport, type Transport } from "../kube/transport.ts";
import { namesProxy, type Settings } from "../settings.ts";
import type { Arguments } from "./args.ts";

/** `--kubeconfig` and `--context`, else as kubectl does. */
export async function connect(
  { kubeconfig, context }: Pick<Arguments, "kubeconfig" | "context">,
  settings: Settings,
): Promise<Transport> {
  const connection = await findConnection({
    kubeconfig,
    context,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
  });
  return createTransport(connection, { environmentProxy: namesProxy() });
}
