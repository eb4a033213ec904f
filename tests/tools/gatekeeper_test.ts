/** Gatekeeper's audit on a real API server, with its default limit of 20 violations a constraint, read by examples/gatekeeper.yaml. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { choosePorts } from "../support/control_plane.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import { Reaper, ServerProcess } from "../support/server_process.ts";
import { startProgram } from "./program.ts";
import { checkReport } from "./report.ts";

const GATEKEEPER = "gatekeeper-system";
const CONSTRAINTS = "/apis/constraints.gatekeeper.sh/v1beta1/unlabelled";
/** Services without a label by namespace: less than the limit, and more. */
const SIZES = { few: 12, many: 32 };
const LIMIT = 20;
const TIMEOUT_MS = 120_000;

Deno.test("what Gatekeeper's audit lists is stored once, and resolved when a whole list shows it no more", async () => {
  const gatekeeper = await ensureTool("gatekeeper");
  await using cluster = await startEnvtest({ controllerManager: true });
  await ensureNamespaces(cluster, [GATEKEEPER, ...Object.keys(SIZES)]);
  await applyObjects(cluster, await crdsOf(join(dirname(gatekeeper), "gatekeeper.yaml")));
  await applyObjects(cluster, [
    // The audit names it as the owner of what it writes.
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "gk-audit", namespace: GATEKEEPER },
      spec: { containers: [{ name: "audit", image: "none" }] },
    },
    ...Object.entries(SIZES).flatMap(([namespace, count]) =>
      Array.from({ length: count }, (_, index) => service(namespace, index))
    ),
    TEMPLATE,
  ]);
  await using reaper = await Reaper.start("zen-gatekeeper-");
  const audit = await startAudit(gatekeeper, { reaper, cluster });
  try {
    await eventually("the constraint's kind to be served", async () => {
      return (await cluster.ask("GET", CONSTRAINTS)).status === 200;
    }, { timeoutMs: TIMEOUT_MS });
    await applyObjects(cluster, Object.keys(SIZES).map(constraint));
    const env = { RESOLVE_GRACE_SECONDS: "1" };
    await using _app = await startProgram(cluster, { example: "gatekeeper.yaml", env });
    await eventually("the audit of both constraints, stored", async () => {
      const [found, there] = [await listed(cluster), new Set(await stored(cluster))];
      assertEquals(found.length, SIZES.few + LIMIT);
      assertEquals(found.filter((key) => !there.has(key)), []);
      return true;
    }, { timeoutMs: TIMEOUT_MS });
    const found = await listed(cluster);
    const there = await stored(cluster);
    checkReport("Gatekeeper's audit", found, there.filter((key) => found.includes(key)));
    assertEquals(there.length, new Set(there).size, "none twice, of those that another audit listed too");
    assertEquals(await stored(cluster, "Resolved"), [], "a part of a list resolves nothing");

    await applyObjects(cluster, [service("few", 0, { owner: "shop" })]);
    await eventually("what is mended to be Resolved", async () => {
      assertEquals(await stored(cluster, "Resolved"), ["few service-0"]);
      return true;
    }, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    throw new Error(`${error}\n${await audit.logTail()}`, { cause: error });
  } finally {
    await audit.stop("SIGKILL");
  }
});

/** A policy that wants the label `owner`, as a ConstraintTemplate. */
const TEMPLATE: JsonObject = {
  apiVersion: "templates.gatekeeper.sh/v1",
  kind: "ConstraintTemplate",
  metadata: { name: "unlabelled" },
  spec: {
    crd: { spec: { names: { kind: "Unlabelled" } } },
    targets: [{
      target: "admission.k8s.gatekeeper.sh",
      rego: `package unlabelled
violation[{"msg": msg}] {
  not input.review.object.metadata.labels.owner
  msg := "the label owner is missing"
}`,
    }],
  },
};

function constraint(namespace: string): JsonObject {
  return {
    apiVersion: "constraints.gatekeeper.sh/v1beta1",
    kind: "Unlabelled",
    metadata: { name: namespace },
    spec: { match: { kinds: [{ apiGroups: [""], kinds: ["Service"] }], namespaces: [namespace] } },
  };
}

function service(namespace: string, index: number, labels: JsonObject = {}): JsonObject {
  const metadata = { name: `service-${index}`, namespace, labels };
  return { apiVersion: "v1", kind: "Service", metadata, spec: { ports: [{ port: 80 }] } };
}

/** As its Deployment starts it, with an audit every two seconds. */
async function startAudit(
  program: string,
  { reaper, cluster }: { reaper: Reaper; cluster: Envtest },
): Promise<ServerProcess> {
  const { certPem, keyPem } = cluster.authority.issue({ usage: "server", commonName: "gatekeeper" });
  const files = { "tls.crt": certPem, "tls.key": keyPem, "ca.crt": cluster.caPem };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(join(reaper.folder, name), text);
  const ports = choosePorts();
  const server = new ServerProcess(reaper, "gatekeeper", [
    ...["env", "POD_NAME=gk-audit", `POD_NAMESPACE=${GATEKEEPER}`] as const,
    program,
    ...["--operation=audit", "--operation=status", "--operation=generate", "--disable-cert-rotation"],
    ...[`--kubeconfig=${cluster.kubeconfigPath}`, `--cert-dir=${reaper.folder}`],
    ...[`--api-cache-dir=${reaper.folder}`, "--audit-interval=2", "--logtostderr"],
    ...[`--health-addr=127.0.0.1:${ports.etcd}`, `--prometheus-port=${ports.etcdPeer}`],
  ]);
  await server.start();
  return server;
}

async function crdsOf(file: string): Promise<JsonObject[]> {
  const objects: unknown[] = parseAllDocuments(await Deno.readTextFile(file)).map((each) => each.toJS());
  const crds = objects.filter(isObject).filter(({ kind }) => kind === "CustomResourceDefinition");
  assert(crds.length > 0, `${file} holds no CRD`);
  return crds;
}

/** `namespace service` of what the constraints list. */
async function listed(cluster: Envtest): Promise<string[]> {
  return (await listAll(cluster, CONSTRAINTS)).flatMap(({ status }) => {
    const violations = isObject(status) && Array.isArray(status.violations) ? status.violations : [];
    return violations.filter(isObject).map(({ namespace, name }) => `${namespace} ${name}`);
  });
}

/** The same of what is stored. */
async function stored(cluster: Envtest, phase?: string): Promise<string[]> {
  const all = await listAll(cluster, "/apis/zen.kube-zen.io/v1/observations");
  return all.flatMap(({ spec, status }) => {
    if (!isObject(spec) || spec.source !== "gatekeeper" || !isObject(spec.resource)) return [];
    if (phase !== undefined && !(isObject(status) && status.phase === phase)) return [];
    return [`${spec.resource.namespace} ${spec.resource.name}`];
  });
}
