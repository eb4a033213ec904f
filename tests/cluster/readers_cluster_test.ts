/** What readers rely on that only a real API server has: field selectors, or their absence before 1.31, and field managers. */
import { assert, assertEquals } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { startEnvtest } from "../support/envtest.ts";
import { OWN_CRDS } from "../support/crds.ts";
import { loadObjects } from "../support/load_fixture.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { storedObservation } from "../support/observation.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

function observation(rule: string, storedIn: string): JsonObject {
  const resource = { apiVersion: "v1", kind: "Pod", name: "web", namespace: "shop" };
  const { metadata: { name, labels, annotations }, status: _, ...rest } = storedObservation({
    id: rule,
    rule,
    resource,
  });
  return { ...rest, metadata: { name, labels, annotations, namespace: storedIn } } as unknown as JsonObject;
}

Deno.test("get -w shows what belongs to a namespace, wherever it is stored, and what comes; coverage reads when a benchmark ran", async () => {
  await using cluster = await startEnvtest();
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, ["shop", "pay", "zen-system", "kube-bench"]);
  const store = (rule: string, namespace: string) =>
    cluster.expect("POST", `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`, {
      body: observation(rule, namespace),
    });
  await store("CVE-1", "shop");
  await store("CVE-2", "zen-system");
  const [node] = await loadObjects("sources/kube-bench/real/kube-bench/configmap-node-1.json");
  assert(node && isObject(node.metadata));
  const { name, labels } = node.metadata;
  await cluster.expect("POST", "/api/v1/namespaces/kube-bench/configmaps", {
    body: { metadata: { name: name!, labels: labels! }, data: node.data! },
  });
  const command = (...args: string[]) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", MAIN, ...args, "--kubeconfig", cluster.kubeconfigPath],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    });
  await using child = command("get", "-n", "shop", "-w").spawn();
  let printed = "";
  let isStored = false;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    if (!isStored && printed.includes("CVE-1") && printed.includes("CVE-2")) {
      isStored = true;
      await store("CVE-3", "zen-system");
    }
    if (printed.includes("CVE-3")) child.kill("SIGINT");
  }
  assertEquals([(await child.status).code, isStored], [0, true], printed);

  const { stdout } = await command("coverage", "-o", "json").output();
  const { reports, benchmarks, missing } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals([benchmarks["cis-1.12"].fail, missing], [11, []]);
  const read = reports.find(({ source }: { source: string }) => source === "kube-bench");
  assert(Date.parse(read.newest) > 0, JSON.stringify(read));
});
