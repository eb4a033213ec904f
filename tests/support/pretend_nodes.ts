/**
 * What nodes and controllers do for a release where the API server runs alone: the Deployment becomes available, and a test
 * Pod runs the program here, as the Pod's ServiceAccount, and ends as the program does.
 */
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { valueIn } from "./chart.ts";
import type { RealCluster } from "./cluster.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const PAUSE_MS = 200;

export interface PretendNodes extends AsyncDisposable {
  /** Names of the test Pods that ran. */
  readonly ran: readonly string[];
  /** What the last of them printed. */
  readonly said: string;
}

/** Starts doing so for the release whose Deployment is `name`. */
export function pretendNodes(
  cluster: RealCluster,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): PretendNodes {
  const stop = new AbortController();
  const ran: string[] = [];
  const seen = new Set<string>();
  let said = "";
  const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;

  async function rollOut(): Promise<void> {
    const { status, body } = await cluster.ask("GET", deployment);
    const generation = valueIn(body, "metadata", "generation");
    if (status !== 200 || valueIn(body, "status", "observedGeneration") === generation) return;
    const count = Number(valueIn(body, "spec", "replicas"));
    const counts = {
      replicas: count,
      updatedReplicas: count,
      readyReplicas: count,
      availableReplicas: count,
    };
    await setStatus(deployment, { observedGeneration: generation ?? 0, ...counts });
  }

  async function runTestPods(): Promise<void> {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    const { body } = await cluster.expect("GET", pods);
    for (const pod of (Array.isArray(body.items) ? body.items : []).filter(isObject)) {
      const uid = String(valueIn(pod, "metadata", "uid"));
      if (valueIn(pod, "metadata", "annotations", "helm.sh/hook") !== "test" || seen.has(uid)) continue;
      seen.add(uid);
      const podName = String(valueIn(pod, "metadata", "name"));
      const success = await runProgram(pod);
      await setStatus(`${pods}/${podName}`, { phase: success ? "Succeeded" : "Failed" });
      ran.push(podName);
    }
  }

  async function runProgram(pod: JsonObject): Promise<boolean> {
    const account = String(valueIn(pod, "spec", "serviceAccountName"));
    const token = await cluster.serviceAccountToken(namespace, account);
    const kubeconfig = await Deno.makeTempFile({ suffix: ".kubeconfig" });
    await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: { token } }));
    const [container] = listOf(valueIn(pod, "spec", "containers"));
    const env = Object.fromEntries(
      listOf(valueIn(container, "env")).map((variable) => [
        String(valueIn(variable, "name")),
        String(valueIn(variable, "value") ?? namespace),
      ]),
    );
    const args = listOf(valueIn(container, "args")).map(String);
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, ...args, "--kubeconfig", kubeconfig],
      env,
      stdin: "null",
    }).output();
    await Deno.remove(kubeconfig);
    said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    return success;
  }

  async function setStatus(path: string, status: JsonObject): Promise<void> {
    const contentType = "application/merge-patch+json";
    await cluster.ask("PATCH", `${path}/status`, { body: { status }, contentType });
  }

  const working = (async () => {
    while (!stop.signal.aborted) {
      await rollOut();
      await runTestPods();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();
  return {
    ran,
    get said() {
      return said;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await working;
    },
  };
}

function listOf(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value : [];
}
