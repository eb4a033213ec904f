/** The release under test: its Pods, its leader, what they use, and what is stored. */
import { join } from "node:path";
import { CGROUP_ROOT } from "../../scripts/node/machine.ts";
import { type NodeCluster, objects } from "../../scripts/node/cluster.ts";
import { exec } from "../../scripts/support/run.ts";
import { at, isObject, type JsonObject } from "../../src/model/json.ts";
import { alertedPods } from "../support/alerts.ts";
import { eventually } from "../support/eventually.ts";

const CHART = new URL("../../helm/zen-watcher", import.meta.url).pathname;
export const NAMESPACE = "zen-system";
export const NAME = "zen-watcher";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1";
const READY_TIMEOUT_MS = 180_000;

/** A Pod of the release. */
export interface Pod {
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly address: string;
  readonly ready: boolean;
  readonly restarts: number;
  /** When its container started and when it became Ready, to the second; NaN before that. */
  readonly startedMs: number;
  readonly readyMs: number;
}

/** The release, by Helm and by the API server. */
export class Release {
  readonly cluster: NodeCluster;
  /** The path of helm. */
  readonly program: string;
  readonly name: string;
  readonly namespace: string;
  readonly #selector: string;
  readonly #deployment: string;

  constructor(cluster: NodeCluster, program: string, { name = NAME, namespace = NAMESPACE } = {}) {
    this.cluster = cluster;
    this.program = program;
    this.name = name;
    this.namespace = namespace;
    this.#selector = `app.kubernetes.io/name=${NAME},app.kubernetes.io/instance=${name}`;
    this.#deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
  }

  async helm(...args: readonly string[]): Promise<string> {
    const env = { KUBECONFIG: this.cluster.kubeconfigPath };
    return await exec(this.program, [...args, "--namespace", this.namespace], { env });
  }

  async install(): Promise<void> {
    await this.helm("install", this.name, CHART, "--create-namespace");
  }

  /** Changes values of the release and waits until its Pods have them. */
  async upgrade(...sets: readonly string[]): Promise<void> {
    const values = sets.flatMap((set) => ["--set", set]);
    await this.helm("upgrade", this.name, CHART, "--reuse-values", "--wait", "--timeout=3m", ...values);
    await this.untilReady();
  }

  /** Replaces every Pod, as `kubectl rollout restart` does. */
  async rollOut(): Promise<void> {
    const restartedAt = new Date().toISOString();
    await this.cluster.expect("PATCH", this.#deployment, {
      contentType: "application/merge-patch+json",
      body: {
        spec: {
          template: { metadata: { annotations: { "kubectl.kubernetes.io/restartedAt": restartedAt } } },
        },
      },
    });
    await this.untilReady();
  }

  /** Waits until the Deployment has what it wants, and no Pod of another version. */
  async untilReady(): Promise<void> {
    await eventually("the release to be Ready", async () => {
      const { body } = await this.cluster.ask("GET", this.#deployment);
      const { metadata, spec, status } = body;
      if (!isObject(metadata) || !isObject(spec) || !isObject(status)) return false;
      const { observedGeneration, updatedReplicas, readyReplicas, replicas } = status;
      return observedGeneration === metadata.generation &&
        [updatedReplicas, readyReplicas, replicas].every((count) => count === spec.replicas) &&
        await this.#onlyReady(Number(spec.replicas));
    }, { timeoutMs: READY_TIMEOUT_MS, found: () => podStates(this.cluster, this.namespace) });
  }

  /** True where there are so many Pods, all of them Ready and none of them going. */
  async #onlyReady(count: number): Promise<boolean> {
    const pods = await this.pods();
    return pods.length === count && pods.every(({ ready }) => ready);
  }

  /** Its Pods, by name. */
  async pods(): Promise<Pod[]> {
    const path = `/api/v1/namespaces/${this.namespace}/pods?labelSelector=${
      encodeURIComponent(this.#selector)
    }`;
    const { body } = await this.cluster.expect("GET", path);
    return objects(body.items).map(podOf).sort((a, b) => a.name.localeCompare(b.name));
  }

  /** The Pod that leads. */
  async leader(): Promise<Pod> {
    return await eventually("a Pod to lead", async () => {
      const { body } = await this.cluster.expect(
        "GET",
        `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases`,
      );
      const holders = objects(body.items).map(({ spec }) =>
        isObject(spec) ? String(spec.holderIdentity) : ""
      );
      return (await this.pods()).find(({ name }) => holders.some((holder) => holder.startsWith(name)));
    }, { timeoutMs: 60_000 });
  }

  /** Lets a Pod of a node lead: the leader elsewhere goes, and releases the lease. */
  async leadOn(node: string): Promise<void> {
    await eventually(`a Pod on ${node} to lead`, async () => {
      const leader = await this.leader();
      if (leader.node === node) return true;
      await this.cluster.ask("DELETE", `/api/v1/namespaces/${this.namespace}/pods/${leader.name}`);
      await this.untilReady();
      return false;
    }, { timeoutMs: READY_TIMEOUT_MS });
  }

  /** The address of a port of the Service. */
  async url(port = 8080): Promise<string> {
    const { body } = await this.cluster.expect(
      "GET",
      `/api/v1/namespaces/${this.namespace}/services/${this.name}`,
    );
    return `http://${isObject(body.spec) ? body.spec.clusterIP : ""}:${port}`;
  }

  /** What senders show. */
  async token(): Promise<string> {
    const { body } = await this.cluster.expect("GET", `/api/v1/namespaces/${this.namespace}/secrets`);
    const secret = objects(body.items).find(({ metadata, data }) =>
      isObject(metadata) && String(metadata.name).startsWith(this.name) && isObject(data) &&
      data.token !== undefined
    );
    return atob(secret && isObject(secret.data) ? String(secret.data.token) : "");
  }

  /** The Pods that stored alerts of a namespace are about, doubles included. */
  async storedAlerts(namespace: string): Promise<string[]> {
    const found: JsonObject[] = [];
    let next = "";
    do {
      const path = `${OBSERVATIONS}/namespaces/${namespace}/observations?limit=1000&continue=${next}`;
      const { body } = await this.cluster.expect("GET", path);
      found.push(...objects(body.items));
      next = isObject(body.metadata) && body.metadata.continue ? String(body.metadata.continue) : "";
    } while (next !== "");
    return alertedPods(found);
  }

  /** How many Observations are stored in all. */
  async count(): Promise<number> {
    const { body } = await this.cluster.expect("GET", `${OBSERVATIONS}/observations?limit=1`, {
      accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    });
    const remaining = isObject(body.metadata) ? Number(body.metadata.remainingItemCount ?? 0) : 0;
    return objects(body.items).length + remaining;
  }

  /** The process ids of a Pod's program `name`, as this process sees them. */
  async processes({ uid }: Pick<Pod, "uid">, name: string): Promise<number[]> {
    const found: number[] = [];
    for (const folder of await containersOf("pids", uid)) {
      const text = await Deno.readTextFile(join(folder, "cgroup.procs"));
      for (const pid of text.trim().split("\n").filter(Boolean).map(Number)) {
        const command = await Deno.readTextFile(`/proc/${pid}/comm`).catch(() => "");
        if (command.startsWith(name)) found.push(pid);
      }
    }
    return found;
  }

  /** Ends a Pod's program as the kernel would. */
  async kill(pod: Pod): Promise<void> {
    const pids = await this.processes(pod, NAME);
    if (pids.length === 0) throw new Error(`Cannot kill "${pod.name}": no process of it is here`);
    for (const pid of pids) Deno.kill(pid, "SIGKILL");
    await eventually(`${pod.name} to be started again`, async () => {
      const now = (await this.pods()).find(({ name }) => name === pod.name);
      return now !== undefined && now.restarts > pod.restarts;
    }, { timeoutMs: 60_000 });
  }
}

/** CPU seconds and memory by container, from the kernel's cgroups. */
export class Usage {
  readonly #release: Release;
  readonly #cpu = new Map<string, { readonly first: number; last: number }>();
  readonly #startedAt = performance.now();
  readonly #timer: ReturnType<typeof setInterval>;
  #reading = Promise.resolve();
  #memory = 0;

  constructor(release: Release) {
    this.#release = release;
    this.#timer = setInterval(() => this.#reading = this.#reading.then(() => this.#read()), 1_000);
  }

  /** The largest working set of a container in MiB, as kubelet counts it, and millicores of all containers together. */
  async stop(): Promise<{ readonly memoryMib: number; readonly millicores: number }> {
    clearInterval(this.#timer);
    await this.#reading;
    await this.#read();
    const seconds = (performance.now() - this.#startedAt) / 1_000;
    const cpu = [...this.#cpu.values()].reduce((sum, { first, last }) => sum + last - first, 0);
    return { memoryMib: Math.round(this.#memory / 2 ** 20), millicores: Math.round(cpu / 1e6 / seconds) };
  }

  async #read(): Promise<void> {
    const pods = await this.#release.pods().catch(() => []);
    for (const { uid } of pods) {
      try {
        for (const folder of await containersOf("memory", uid)) {
          const usage = Number(await Deno.readTextFile(join(folder, "memory.usage_in_bytes")));
          const stat = await Deno.readTextFile(join(folder, "memory.stat"));
          const [, inactive = "0"] = /^total_inactive_file (\d+)$/m.exec(stat) ?? [];
          this.#memory = Math.max(this.#memory, usage - Number(inactive));
        }
        for (const folder of await containersOf("cpuacct", uid)) {
          const last = Number(await Deno.readTextFile(join(folder, "cpuacct.usage")));
          const known = this.#cpu.get(folder);
          if (known) known.last = last;
          else this.#cpu.set(folder, { first: last, last });
        }
      } catch (error) {
        // A Pod may go while it is read.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }
}

/** The cgroups of a Pod's containers, on whichever node it is. */
async function containersOf(hierarchy: string, uid: string): Promise<string[]> {
  const found: string[] = [];
  for (const node of ["n1", "n2"]) {
    const pods = `${CGROUP_ROOT}/${hierarchy}/zen-node-${node}/kubepods`;
    for (const quality of ["burstable", "besteffort", "."]) {
      const folder = join(pods, quality, `pod${uid}`);
      try {
        for await (const { name, isDirectory } of Deno.readDir(folder)) {
          if (isDirectory) found.push(join(folder, name));
        }
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }
  return found;
}

/** The nodes, the Pods of a namespace and its last Warnings, a line each: why a Pod does not run. */
export async function podStates(cluster: NodeCluster, namespace: string): Promise<string> {
  const lines: string[] = [];
  for (const path of ["nodes", `namespaces/${namespace}/pods`]) {
    const { body } = await cluster.expect("GET", `/api/v1/${path}`);
    for (const { kind, metadata, spec, status } of objects(body.items)) {
      lines.push(
        JSON.stringify({
          kind,
          name: at(metadata, "name"),
          spec: { taints: at(spec, "taints"), node: at(spec, "nodeName") },
          status: {
            phase: at(status, "phase"),
            conditions: at(status, "conditions"),
            containers: at(status, "containerStatuses"),
          },
        }),
      );
    }
  }
  const { body } = await cluster.expect("GET", `/api/v1/namespaces/${namespace}/events?limit=500`);
  const warnings = objects(body.items).filter(({ type }) => type === "Warning").slice(-10);
  return [
    ...lines,
    ...warnings.map(({ reason, message, involvedObject }) =>
      `${at(involvedObject, "name")}: ${reason}: ${message}`
    ),
  ].join("\n");
}

function podOf({ metadata, spec, status }: JsonObject): Pod {
  const meta = isObject(metadata) ? metadata : {};
  const state = isObject(status) ? status : {};
  const ready = objects(state.conditions).find(({ type, status }) => type === "Ready" && status === "True");
  const containers = objects(state.containerStatuses);
  return {
    name: String(meta.name),
    uid: String(meta.uid),
    node: isObject(spec) ? String(spec.nodeName ?? "") : "",
    address: String(state.podIP ?? ""),
    ready: meta.deletionTimestamp === undefined && ready !== undefined,
    restarts: containers.reduce((sum, { restartCount }) => sum + Number(restartCount), 0),
    startedMs: Date.parse(String(at(containers[0], "state", "running", "startedAt"))),
    readyMs: Date.parse(String(ready?.lastTransitionTime)),
  };
}
