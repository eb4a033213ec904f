/** The cluster a script works on: the embedded development API server, one named explicitly, or the user's own. */
import { type Connection, fixedConnection, NetworkError } from "../../src/kube/api.ts";
import { type ClusterChoice, findConnection, kubeconfigConnection } from "../../src/kube/auth/kubeconfig.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { startDevCluster } from "../../src/devcluster/mod.ts";
import { errorMessage } from "../../src/model/error_message.ts";
import { environment } from "../../src/settings.ts";

/** A cluster that answered. */
export interface OpenCluster extends AsyncDisposable {
  readonly api: KubeClient;
  readonly connection: Connection;
  readonly description: string;
}

/** A cluster that other programs can be pointed at. */
export interface NamedCluster extends OpenCluster {
  /** Path of a kubeconfig file for it. */
  readonly kubeconfig: string;
}

/** `--kubeconfig` and `--context`. */
export interface KubeconfigFlags {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

/** The options that name a cluster, for `runScript()`. */
export const CLUSTER_OPTIONS = { kubeconfig: { type: "string" }, context: { type: "string" } } as const;

/**
 * Opens the cluster of the flags, or starts the embedded API server. An exported KUBECONFIG is ignored: a cluster gets
 * sample alerts only where it is named.
 */
export async function openSampleCluster({ kubeconfig, context }: KubeconfigFlags): Promise<NamedCluster> {
  if (kubeconfig === undefined && context === undefined) return await startEmbedded();
  const path = kubeconfig ?? `${environment("HOME") ?? ""}/.kube/config`;
  const connection = await kubeconfigConnection({
    paths: [path],
    ...(context === undefined ? {} : { context }),
  });
  return { ...await connect(connection), kubeconfig: path };
}

/** Opens the cluster that kubectl would use: the flags, else KUBECONFIG, ~/.kube/config, a Pod's service account. */
export async function openUsersCluster(flags: KubeconfigFlags): Promise<OpenCluster> {
  return await connect(await findConnection(usersChoice(flags)));
}

/** The cluster that kubectl would use. */
export function usersChoice({ kubeconfig, context }: KubeconfigFlags): ClusterChoice {
  return {
    kubeconfig,
    context,
    kubeconfigEnv: environment("KUBECONFIG"),
    home: environment("HOME"),
    serviceHost: environment("KUBERNETES_SERVICE_HOST"),
    servicePort: environment("KUBERNETES_SERVICE_PORT"),
    serviceAccountFolder: environment("SERVICE_ACCOUNT_FOLDER"),
  };
}

async function startEmbedded(): Promise<NamedCluster> {
  const embedded = startDevCluster({ port: 0 });
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-" });
  const kubeconfig = `${folder}/kubeconfig`;
  await Deno.writeTextFile(kubeconfig, embedded.kubeconfig());
  const cluster = await connect(fixedConnection({ server: embedded.url }));
  return {
    api: cluster.api,
    connection: cluster.connection,
    description: `embedded development API server at ${embedded.url}`,
    kubeconfig,
    async [Symbol.asyncDispose]() {
      await cluster[Symbol.asyncDispose]();
      await embedded[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** Throws, with the address, where nothing answers there. */
async function connect(connection: Connection): Promise<OpenCluster> {
  const { server } = await connection.endpoint();
  const api = createKubeClient(connection);
  try {
    await api.getPath("/version");
  } catch (error) {
    // A server that refuses this path is there all the same.
    if (error instanceof NetworkError) {
      api.close();
      throw new Error(
        `Cannot reach the API server "${server}" (${connection.description}): ${rootCause(error)}. ` +
          "Start it, or name another cluster with --kubeconfig and --context",
      );
    }
  }
  return {
    api,
    connection,
    description: connection.description,
    [Symbol.asyncDispose]: () => Promise.resolve(api.close()),
  };
}

function rootCause(error: unknown): string {
  return error instanceof Error && error.cause !== undefined ? rootCause(error.cause) : errorMessage(error);
}
