/** The cluster a script works on: the embedded development API server, or one named explicitly. */
import type { KubeApi } from "../../src/kube/api.ts";
import { fixedConnection } from "../../src/kube/auth/connection.ts";
import { kubeconfigConnection } from "../../src/kube/auth/kubeconfig.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { startDevCluster } from "../../src/devcluster/mod.ts";

export interface Cluster extends AsyncDisposable {
  readonly api: KubeApi;
  readonly description: string;
  /** Path of a kubeconfig file for it. */
  readonly kubeconfig: string;
}

export interface ClusterOptions {
  /** Only what was given explicitly: an exported KUBECONFIG is nobody's wish to get sample alerts. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  /** Port of the embedded server; 0 takes a free one. */
  readonly port?: number;
}

/** Opens the named cluster, or starts the embedded one. */
export async function openCluster({ kubeconfig, context, port = 0 }: ClusterOptions): Promise<Cluster> {
  if (kubeconfig !== undefined || context !== undefined) return await openNamed(kubeconfig, context);
  const embedded = await startDevCluster({ port });
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-" });
  const path = `${folder}/kubeconfig`;
  await Deno.writeTextFile(path, embedded.kubeconfig());
  const api = createKubeClient(fixedConnection({ server: embedded.url }));
  return {
    api,
    description: `embedded development API server at ${embedded.url}`,
    kubeconfig: path,
    async [Symbol.asyncDispose]() {
      api.close();
      await embedded[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function openNamed(kubeconfig: string | undefined, context: string | undefined): Promise<Cluster> {
  const path = kubeconfig ?? `${Deno.env.get("HOME") ?? ""}/.kube/config`;
  const connection = await kubeconfigConnection({
    paths: [path],
    ...(context === undefined ? {} : { context }),
  });
  const api = createKubeClient(connection);
  return {
    api,
    description: connection.description,
    kubeconfig: path,
    [Symbol.asyncDispose]() {
      api.close();
      return Promise.resolve();
    },
  };
}
