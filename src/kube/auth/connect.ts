/** Finds the cluster, as kubectl does. */
import { delimiter, join } from "node:path";
import type { Clock } from "../../model/clock.ts";
import { inClusterConnection, SERVICE_ACCOUNT_FOLDER } from "./credentials.ts";
import type { Connection } from "./connection.ts";
import { kubeconfigConnection } from "./kubeconfig.ts";

/** Flags and environment, handed in: nothing here reads either. */
export interface ClusterChoice {
  /** `--kubeconfig`. */
  readonly kubeconfig?: string | undefined;
  /** `--context`. */
  readonly context?: string | undefined;
  /** `KUBECONFIG`: files, separated as paths are. */
  readonly kubeconfigEnv?: string | undefined;
  /** `HOME`. */
  readonly home?: string | undefined;
  /** `KUBERNETES_SERVICE_HOST`. */
  readonly serviceHost?: string | undefined;
  /** `KUBERNETES_SERVICE_PORT`. */
  readonly servicePort?: string | undefined;
  readonly serviceAccountFolder?: string | undefined;
  readonly clock?: Clock;
}

/** `--kubeconfig` and `--context`, else the Pod's service account, else `KUBECONFIG`, else `~/.kube/config`. */
export async function findConnection(choice: ClusterChoice): Promise<Connection> {
  const { kubeconfig, context, serviceHost, servicePort } = choice;
  const clock = choice.clock ? { clock: choice.clock } : {};
  if (kubeconfig) {
    return await kubeconfigConnection({ paths: [kubeconfig], ...(context ? { context } : {}), ...clock });
  }
  const folder = choice.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER;
  if (!context && serviceHost && servicePort && await isFile(join(folder, "token"))) {
    return await inClusterConnection({ host: serviceHost, port: servicePort, folder, ...clock });
  }
  const paths = await defaultPaths(choice);
  if (paths.length > 0) {
    return await kubeconfigConnection({ paths, ...(context ? { context } : {}), ...clock });
  }
  throw new Error(
    "Cannot find a cluster: no --kubeconfig, no service account of a Pod, no KUBECONFIG and no ~/.kube/config",
  );
}

async function defaultPaths({ kubeconfigEnv, home }: ClusterChoice): Promise<string[]> {
  const named = (kubeconfigEnv ?? "").split(delimiter).filter((path) => path !== "");
  if (named.length > 0) return named;
  const path = home ? join(home, ".kube", "config") : undefined;
  return path !== undefined && await isFile(path) ? [path] : [];
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
