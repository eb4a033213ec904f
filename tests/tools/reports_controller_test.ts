/** Kyverno's reports-controller on a real API server, through rollouts of the Deployments that it reports. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { valueIn } from "../support/chart.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import { Reaper, ServerProcess } from "../support/server_process.ts";
import { startProgram } from "./program.ts";
import { checkReport } from "./report.ts";

const KYVERNO = "kyverno";
const SHOP = "shop";
const APPS = `/apis/apps/v1/namespaces/${SHOP}`;
const REPORTS = `/apis/wgpolicyk8s.io/v1alpha2/namespaces/${SHOP}/policyreports`;
const DEPLOYMENTS = 6;
const ROLLOUTS = 3;
const TIMEOUT_MS = 180_000;

Deno.test("what Kyverno reports of Deployments, ReplicaSets and Pods is stored once for each Deployment, through rollouts", async () => {
  const kyverno = await ensureTool("reports-controller");
  await using cluster = await startEnvtest({
    controllerManager: true,
    controllers: ["deployment-controller", "replicaset-controller"],
  });
  await ensureNamespaces(cluster, [KYVERNO, SHOP]);
  await applyObjects(cluster, await kyvernosObjects(dirname(kyverno)));
  await applyObjects(cluster, [
    POLICY,
    ...Array.from({ length: DEPLOYMENTS }, (_, index) => deployment(index)),
    pod("alone"),
  ]);
  await using reaper = await Reaper.start("zen-kyverno-");
  const controller = new ServerProcess(reaper, "reports-controller", [
    ...["env", `KYVERNO_NAMESPACE=${KYVERNO}`, "KYVERNO_POD_NAME=reports-controller"] as const,
    ...[`KYVERNO_SERVICEACCOUNT_NAME=${KYVERNO}`, "KYVERNO_DEPLOYMENT=kyverno"],
    ...["INIT_CONFIG=kyverno", "METRICS_CONFIG=kyverno-metrics"],
    kyverno,
    ...[`--kubeconfig=${cluster.kubeconfigPath}`, "--disableMetrics=true", "--enableTuf=false"],
  ]);
  await controller.start();
  try {
    await controller.ready(async () => (await scanned(cluster, 1)) !== false, TIMEOUT_MS);
    await using _app = await startProgram(cluster, { env: { RESOLVE_GRACE_SECONDS: "1" } });
    let names: readonly string[] = [];
    for (let rollout = 0; rollout <= ROLLOUTS; rollout++) {
      if (rollout > 0) await rollOut(cluster, rollout);
      const found = await eventually(`the reports of all that runs after ${rollout} rollouts`, async () => {
        return await scanned(cluster, rollout + 1);
      }, { timeoutMs: TIMEOUT_MS });
      await eventually("all of it to be stored", async () => {
        const there = new Set((await stored(cluster, "Active")).map(({ key }) => key));
        assertEquals(found.filter((key) => !there.has(key)), []);
        return true;
      }, { timeoutMs: TIMEOUT_MS });
      const there = await stored(cluster, "Active");
      checkReport(`Kyverno's reports, ${rollout} rollouts`, found, there.map(({ key }) => key));
      // A rollout makes new ReplicaSets and Pods; the findings are the old ones.
      if (rollout > 0) assertEquals(there.map(({ name }) => name), names);
      names = there.map(({ name }) => name);
      assertEquals(
        names.length,
        2 * (DEPLOYMENTS + 1),
        "one finding a rule for each Deployment and for the Pod",
      );
    }
    assertEquals(await stored(cluster, "Resolved"), []);

    await cluster.expect("DELETE", `${APPS}/deployments/web-0`);
    await eventually("the findings of a deleted Deployment to be Resolved", async () => {
      const resolved = (await stored(cluster, "Resolved")).map(({ key }) => key);
      assertEquals(resolved, RULES.map((rule) => `Deployment/web-0 ${rule}`));
      return true;
    }, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    throw new Error(`${error}\n${await controller.logTail()}`, { cause: error });
  } finally {
    await controller.stop("SIGKILL");
  }
});

const RULES = ["workload-rules/has-owner", "workload-rules/has-requests"];

/** Two rules for Pods, from which Kyverno derives those for controllers. */
const POLICY: JsonObject = {
  apiVersion: "kyverno.io/v1",
  kind: "ClusterPolicy",
  metadata: { name: "workload-rules" },
  spec: {
    background: true,
    rules: [
      rule("has-owner", { metadata: { labels: { owner: "?*" } } }),
      rule("has-requests", { spec: { containers: [{ resources: { requests: { memory: "?*" } } }] } }),
    ],
  },
};

function rule(name: string, pattern: JsonObject): JsonObject {
  const match = { any: [{ resources: { kinds: ["Pod"] } }] };
  const validate = { failureAction: "Audit", message: `${name} is wanted`, pattern };
  return { name, match, validate };
}

function deployment(index: number): JsonObject {
  const labels = { app: `web-${index}` };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: `web-${index}`, namespace: SHOP },
    spec: {
      replicas: 2,
      // No node makes its Pods ready, for which a rolling update would wait.
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "main", image: "none" }] } },
    },
  };
}

function pod(name: string): JsonObject {
  const metadata = { name, namespace: SHOP };
  return { apiVersion: "v1", kind: "Pod", metadata, spec: { containers: [{ name: "main", image: "none" }] } };
}

/** Changes the template of every Deployment. */
async function rollOut(cluster: Envtest, rollout: number): Promise<void> {
  const annotations = { rollout: String(rollout) };
  const body = { spec: { template: { metadata: { annotations } } } };
  for (let index = 0; index < DEPLOYMENTS; index++) {
    const contentType = "application/strategic-merge-patch+json";
    await cluster.expect("PATCH", `${APPS}/deployments/web-${index}`, { body, contentType });
  }
}

/**
 * `Deployment/NAME POLICY/RULE` of what fails, each once, by the real owners of what the reports are about; false until the
 * Deployments have `revisions`, and each object that there is has its report.
 */
async function scanned(cluster: Envtest, revisions: number): Promise<string[] | false> {
  const kinds = [`${APPS}/deployments`, `${APPS}/replicasets`, `/api/v1/namespaces/${SHOP}/pods`];
  const [deployments = [], sets = [], pods = []] = await Promise.all(
    kinds.map((path) => listAll(cluster, path)),
  );
  if (sets.length !== DEPLOYMENTS * revisions || pods.length !== 2 * DEPLOYMENTS + 1) return false;
  const objects = new Map(
    [...deployments, ...sets, ...pods].map((each) => [valueIn(each, "metadata", "uid"), each]),
  );
  const newest = new Set(pods.map((each) => valueIn(each, "metadata", "ownerReferences", 0, "uid") ?? ""));
  if (newest.size !== DEPLOYMENTS + 1) return false;
  const reports = await listAll(cluster, REPORTS);
  const reported = new Set(reports.map((each) => valueIn(each, "scope", "uid")));
  if ([...objects.keys()].some((uid) => !reported.has(uid))) return false;
  if ([...reported].some((uid) => !objects.has(uid))) return false;
  const found = new Set<string>();
  for (const { scope, results } of reports) {
    let about = objects.get(valueIn(scope, "uid"));
    for (
      let owner = about;
      owner;
      owner = objects.get(valueIn(owner, "metadata", "ownerReferences", 0, "uid"))
    ) {
      about = owner;
    }
    // Kinds are absent from the items of a list.
    const kind = deployments.some((each) => each === about) ? "Deployment" : "Pod";
    for (const result of Array.isArray(results) ? results : []) {
      if (valueIn(result, "result") !== "fail") continue;
      const rule = String(valueIn(result, "rule")).replace(/^autogen-/, "");
      found.add(`${kind}/${valueIn(about, "metadata", "name")} ${valueIn(result, "policy")}/${rule}`);
    }
  }
  return [...found];
}

/** The same of what is stored in a phase, in the order of the keys. */
async function stored(cluster: Envtest, phase: string): Promise<{ key: string; name: string }[]> {
  const all = await listAll(cluster, "/apis/zen.kube-zen.io/v1/observations");
  return all.flatMap(({ metadata, spec, status }) => {
    if (valueIn(spec, "source") !== "kyverno" || valueIn(status, "phase") !== phase) return [];
    const [kind, name, rule] = [
      valueIn(spec, "resource", "kind"),
      valueIn(spec, "resource", "name"),
      valueIn(spec, "rule"),
    ];
    return [{ key: `${kind}/${name} ${rule}`, name: String(valueIn(metadata, "name")) }];
  }).sort((a, b) => a.key < b.key ? -1 : 1);
}

/** The CRDs, and the ConfigMaps that Kyverno reads. */
async function kyvernosObjects(folder: string): Promise<JsonObject[]> {
  const files = [join(folder, "install-latest-testing.yaml")];
  for await (const group of Deno.readDir(join(folder, "crds"))) {
    for await (const { name } of Deno.readDir(join(folder, "crds", group.name))) {
      files.push(join(folder, "crds", group.name, name));
    }
  }
  const texts = await Promise.all(files.map((file) => Deno.readTextFile(file)));
  const objects: unknown[] = texts.flatMap((text) => parseAllDocuments(text).map((each) => each.toJS()));
  const wanted = objects.filter(isObject).filter(({ kind, metadata }) =>
    kind === "CustomResourceDefinition" ||
    (kind === "ConfigMap" && valueIn(metadata, "namespace") === KYVERNO)
  );
  const names = new Map(wanted.map((each) => [`${each.kind}/${valueIn(each, "metadata", "name")}`, each]));
  assert(names.has("ConfigMap/kyverno") && names.size > 10, [...names.keys()].join());
  return [...names.values()];
}
