/** A real kube-apiserver with its etcd, for tests. `scripts/envtest` says where the programs come from. */
import { type BinaryName, ensureBinaries } from "../../scripts/envtest/build.ts";
import { type ClusterState, RealCluster } from "./cluster.ts";
import {
  apiServerArguments,
  choosePorts,
  controllerArguments,
  controllersKubeconfig,
  type ControlPlaneOptions,
  etcdArguments,
  writeControlPlaneFiles,
} from "./control_plane.ts";
import { eventually } from "./eventually.ts";
import { Reaper, ServerProcess } from "./server_process.ts";

/** Names the file that says where a server shared by the whole run is; see `sharedEnvtest()`. */
export const SHARED_STATE_VARIABLE = "ZEN_TEST_CLUSTER_STATE";

const START_TIMEOUT_MS = 120_000;

/** A cluster of one's own: its parts can be killed and started again, on the same port, with the same data. */
export class Envtest extends RealCluster implements AsyncDisposable {
  readonly #reaper: Reaper;
  readonly #etcd: ServerProcess;
  readonly #apiServer: ServerProcess;
  readonly #controllers: ServerProcess | undefined;
  /** Where etcd answers its clients. */
  readonly etcdUrl: string;

  constructor(state: ClusterState, reaper: Reaper, processes: Processes) {
    super(state);
    this.etcdUrl = processes.etcdUrl;
    this.#reaper = reaper;
    this.#etcd = processes.etcd;
    this.#apiServer = processes.apiServer;
    this.#controllers = processes.controllers;
  }

  /** Temporary; removed at the end. */
  get folder(): string {
    return this.#reaper.folder;
  }

  get apiServerLogPath(): string {
    return this.#apiServer.logPath;
  }

  async start(): Promise<void> {
    await this.startEtcd();
    await this.startApiServer();
    await this.#controllers?.start();
  }

  async startEtcd(): Promise<void> {
    await this.#etcd.start();
  }

  async killEtcd(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    await this.#etcd.stop(signal);
  }

  /** Starts it and waits until it is ready. */
  async startApiServer(): Promise<void> {
    await this.#apiServer.start();
    await this.#apiServer.ready(async () => {
      if ((await this.ask("GET", "/readyz")).status !== 200) return false;
      // Ready comes before the server has made its own objects. It makes these two last; there is no EndpointSlice of its own address,
      // since `--endpoint-reconciler-type=none` makes none.
      for (const path of ["/api/v1/namespaces/default", "/api/v1/namespaces/default/services/kubernetes"]) {
        if ((await this.ask("GET", path)).status !== 200) return false;
      }
      return true;
    }, START_TIMEOUT_MS);
  }

  async killApiServer(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    await this.#apiServer.stop(signal);
  }

  async restartApiServer(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    await this.killApiServer(signal);
    await this.startApiServer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    for (const server of [this.#controllers, this.#apiServer, this.#etcd]) await server?.stop("SIGKILL");
    await this.#reaper[Symbol.asyncDispose]();
  }
}

interface Processes {
  readonly etcdUrl: string;
  readonly etcd: ServerProcess;
  readonly apiServer: ServerProcess;
  readonly controllers: ServerProcess | undefined;
}

/** Builds what is missing, starts a server of one's own and waits until it is ready. */
export async function startEnvtest(options: ControlPlaneOptions = {}): Promise<Envtest> {
  for (let attempt = 1;; attempt++) {
    const envtest = await prepare(options);
    try {
      await envtest.start();
      if (options.controllerManager) await aggregatedRoles(envtest);
      return envtest;
    } catch (error) {
      await envtest[Symbol.asyncDispose]();
      // Between choosing a port and using it another process can take it.
      if (attempt < 3 && error instanceof Error && error.message.includes("address already in use")) continue;
      throw error;
    }
  }
}

/**
 * The server all test files of a run share (`deno task test:cluster` starts it), or one of this file's own.
 * Call it at the top of a file, outside the tests, and use namespaces of your own.
 */
export async function sharedEnvtest(): Promise<RealCluster> {
  const path = Deno.env.get(SHARED_STATE_VARIABLE);
  return path ? new RealCluster(JSON.parse(await Deno.readTextFile(path))) : await startEnvtest();
}

async function prepare(options: ControlPlaneOptions): Promise<Envtest> {
  const binaries = await ensureBinaries([
    "etcd",
    "kube-apiserver",
    ...(options.controllerManager ? ["kube-controller-manager" as const] : []),
  ]);
  const reaper = await Reaper.start("zen-envtest-");
  const { folder } = reaper;
  const ports = choosePorts();
  const process = (name: BinaryName, args: readonly string[]) =>
    new ServerProcess(reaper, name, [binaries[name], ...args]);
  const state = await writeControlPlaneFiles(folder, ports, options);
  const envtest = new Envtest(state, reaper, {
    etcdUrl: `http://127.0.0.1:${ports.etcd}`,
    etcd: process("etcd", etcdArguments(folder, ports)),
    apiServer: process("kube-apiserver", apiServerArguments(folder, ports, options)),
    controllers: options.controllerManager
      ? process("kube-controller-manager", controllerArguments(folder, options))
      : undefined,
  });
  await Deno.writeTextFile(state.kubeconfigPath, envtest.kubeconfig(), { mode: 0o600 });
  if (options.controllerAccounts) {
    const as = envtest.clientCert("system:kube-controller-manager");
    await Deno.writeTextFile(controllersKubeconfig(folder), envtest.kubeconfig({ as }), { mode: 0o600 });
  }
  return envtest;
}

/** The roles view, edit and admin are empty until the controller that aggregates them has run. */
async function aggregatedRoles(envtest: Envtest): Promise<void> {
  await eventually("the aggregated role view", async () => {
    const { body } = await envtest.ask("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view");
    return Array.isArray(body.rules) && body.rules.length > 0;
  }, { timeoutMs: START_TIMEOUT_MS });
}
