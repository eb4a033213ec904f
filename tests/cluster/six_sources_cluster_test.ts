/**
 * All six sources in one run on a real API server, under the chart's ServiceAccount, rules and policy: the tools' own CRDs,
 * installed after the program started, their real reports, and that server's own audit webhook pointing at the program.
 */
import { assert, assertEquals } from "@std/assert";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { Account } from "../../src/telemetry/metrics.ts";
import { AuditLog, judged } from "../support/audit_log.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { choosePorts } from "../support/control_plane.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import {
  addCounts,
  checkovResults,
  falcoAlerts,
  kubeBenchResults,
  policyReports,
  storedFingerprintOf,
  trivyReports,
} from "../support/tools.ts";
import { OWN_CRDS, yamlFiles } from "../support/crds.ts";

const OWN_NAMESPACE = "zen-system";
const OWN_USER = `system:serviceaccount:${OWN_NAMESPACE}:zen-watcher`;
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const TRIVY = "/apis/aquasecurity.github.io/v1alpha1";
const EXPOSED_SECRETS = "exposedsecretreports.aquasecurity.github.io";

Deno.test("six sources in one run on a real API server", async (t) => {
  const port = choosePorts().apiServer;
  await using log = await AuditLog.create();
  await using cluster = await startEnvtest({
    users: [{ name: "stranger" }],
    auditWebhookUrl: `http://127.0.0.1:${port}/audit/webhook`,
    extraArgs: [...log.serverArguments, "--audit-webhook-initial-backoff=500ms"],
  });
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, [OWN_NAMESPACE]);
  const { user, token, env } = await installChart(cluster, {
    namespace: OWN_NAMESPACE,
    // The server's audit webhook shows no token.
    values: { filters: UNFILTERED, webhooks: { auth: { mode: "none" } } },
  });
  assertEquals(user, OWN_USER);
  const kubeconfig = `${cluster.folder}/controller.kubeconfig`;
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: { token } }), { mode: 0o600 });
  await using controller = await startController({
    kubeconfig,
    env: { ...env, WATCHER_PORT: String(port), DISCOVERY_INTERVAL: "2s" },
  });

  await t.step("tools that are not installed are a state", async () => {
    await eventually("the state absent", async () => await stateOf(controller, "trivy") === "absent");
    await eventually("the state absent", async () => await stateOf(controller, "kyverno") === "absent");
    assertEquals((await probe(controller)).status, 200);
  });
  const startedAt = Date.now();

  const tools = await Promise.all([trivyReports(), policyReports(), kubeBenchResults(), checkovResults()]);
  const alerts = await falcoAlerts();
  const wanted = addCounts(...tools.map((tool) => tool.wanted));
  await t.step(
    "CRDs installed after the start are picked up; reports, results and alerts are all stored once",
    async () => {
      await cluster.applyCrds(await yamlFiles(new URL("../fixtures/crds/", import.meta.url)));
      for (const { objects } of tools) await applyObjects(cluster, objects);
      for (const body of alerts.bodies) await post(controller, body);
      await act(cluster);
      const found = await eventually("every Observation", async () => {
        const counts = countsOf(await observations(cluster));
        const missing = Object.entries(wanted).filter(([key, count]) => (counts[key] ?? 0) < count);
        if (missing.length === 0) return counts;
        throw new Error(`${JSON.stringify(missing)} of ${JSON.stringify(counts)}`);
      }, { timeoutMs: 120_000 });
      const { "falco runtime-threat": threats = 0, "falco falco-internal": internal = 0, ...others } = found;
      assertEquals(sorted(withoutAudit(others)), sorted(wanted));
      assertEquals(threats + internal, alerts.fingerprints.size);
      const stored = (await observations(cluster)).filter((each) => sourceOf(each) === "falco").map(
        storedFingerprintOf,
      );
      assertEquals(stored.sort(), [...alerts.fingerprints].sort());
    },
  );

  await t.step("every act of interest in the API server's own audit is stored once", async () => {
    await eventually("the audit to be stored", async () => {
      const wantedActs = await log.acts(OWN_USER, startedAt);
      const storedActs = new Map(await auditActs(cluster, startedAt));
      const groups = [...Map.groupBy(wantedActs, ({ repeats }) => repeats).values()];
      for (const group of groups) {
        const stored = group.filter(({ auditID, eventType }) => storedActs.get(auditID) === eventType);
        assertEquals(stored.length, 1, JSON.stringify(group));
      }
      assertEquals(storedActs.size, groups.length);
      const kinds = new Set(wantedActs.map(({ eventType }) => eventType));
      assertEquals([...kinds].sort(), [
        "access-denied",
        "privileged-pod-creation",
        "rbac-change",
        "resource-deletion",
        "secret-access",
      ]);
      return true;
    });
    const ids = (await auditActs(cluster, startedAt)).map(([id]) => id);
    assertEquals(ids.length, new Set(ids).size, "once per auditID");
  });

  await t.step("it settles: what the program writes and reads makes nothing more to write", async () => {
    await eventually("the last status to be written", async () => {
      const { storage } = await statusOf(controller.url);
      return isObject(storage) && storage.statusWritesPending === 0 && storage.indexComplete === true;
    });
    const at = Date.now();
    const before = { versions: await versions(cluster), events: (await auditAccount(controller)).events };
    const ownWrites = async () =>
      (await log.events()).filter((event) =>
        judged.user(event) === OWN_USER && judged.isWrite(event) && judged.receivedAt(event) > at &&
        event.stage === "ResponseComplete"
      );
    await eventually("the lease to be renewed a few times, with audit events", async () => {
      const { events, created } = await auditAccount(controller);
      const renewals = (await ownWrites()).length;
      if (renewals >= 5 && events >= before.events + renewals) return true;
      throw new Error(`${renewals} renewals, ${events - before.events} audit events, ${created} created`);
    });
    assertEquals(await versions(cluster), before.versions, "not one object has changed");
    assertEquals([...new Set((await ownWrites()).map(judged.resource))], ["leases"]);
    const accounts = await closedBooks(controller.url);
    assertEquals(
      Object.values(accounts).reduce((sum, { failed }) => sum + failed, 0),
      0,
      JSON.stringify(accounts),
    );
  });

  await t.step("a CRD that is removed is a state, not an error loop; the others go on", async () => {
    const crd = await cluster.expect("GET", `${CRDS}/${EXPOSED_SECRETS}`);
    await cluster.expect("DELETE", `${CRDS}/${EXPOSED_SECRETS}`);
    await eventually(
      "the state absent",
      async () => await resourceState(controller, EXPOSED_SECRETS) === "absent",
    );
    // The watch may notice before the next look at what is served, and asks until then.
    await moreLooks(log);
    const asked = await countRequests(log, `${TRIVY}/exposedsecretreports`);
    await moreLooks(log);
    assertEquals(
      await countRequests(log, `${TRIVY}/exposedsecretreports`),
      asked,
      "no request for a resource that is not served",
    );
    assertEquals(await resourceState(controller, EXPOSED_SECRETS), "absent");
    assertEquals((await probe(controller)).status, 200);
    const [report] = tools[0].objects.filter(({ kind }) => kind === "VulnerabilityReport");
    assert(report && isObject(report.metadata));
    const moved = { ...report, metadata: { ...report.metadata, name: "moved", namespace: "default" } };
    const before = (await observations(cluster)).length;
    await applyObjects(cluster, [withWorkload(moved, "another-app")]);
    await eventually("its findings", async () => (await observations(cluster)).length > before);

    const { metadata, spec } = crd.body;
    assert(isObject(metadata));
    await cluster.expect("POST", CRDS, {
      body: {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: metadata.name ?? "" },
        spec: spec ?? {},
      },
    });
    await eventually(
      "the state synced",
      async () => await resourceState(controller, EXPOSED_SECRETS) === "synced",
    );
  });

  controller.kill("SIGTERM");
  assertEquals((await controller.exited).code, 0);
});

/** Acts that the rules of the audit source name, by people. */
async function act(cluster: Envtest): Promise<void> {
  const namespace = await cluster.createNamespace("audited");
  const core = `/api/v1/namespaces/${namespace}`;
  await cluster.expect("POST", `${core}/secrets`, { body: { metadata: { name: "password" }, data: {} } });
  await cluster.expect("DELETE", `${core}/secrets/password`);
  await cluster.expect("POST", `${core}/services`, {
    body: { metadata: { name: "web" }, spec: { ports: [{ port: 80 }] } },
  });
  await cluster.expect("DELETE", `${core}/services/web`);
  const privileged = { name: "c", image: "none", securityContext: { privileged: true } };
  await cluster.expect("POST", `${core}/pods`, {
    body: { metadata: { name: "root" }, spec: { containers: [privileged] } },
  });
  await cluster.expect("POST", `${RBAC}/namespaces/${namespace}/roles`, {
    body: {
      metadata: { name: "anything" },
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }],
    },
  });
  for (const as of [cluster.user("stranger"), { token: "nobody's" }]) {
    const { status } = await cluster.ask("GET", `${core}/secrets`, { as });
    assert(status === 401 || status === 403, `${status}`);
  }
}

async function post(controller: Controller, body: unknown): Promise<void> {
  const response = await fetch(`${controller.url}/falco/webhook`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assertEquals(response.status, 200, text);
}

async function probe(controller: Controller): Promise<Response> {
  const response = await fetch(`${controller.url}/ready`);
  await response.body?.cancel();
  return response;
}

async function observations(cluster: Envtest): Promise<JsonObject[]> {
  return await listAll(cluster, OBSERVATIONS);
}

function sourceOf({ spec }: JsonObject): string {
  return isObject(spec) ? String(spec.source) : "";
}

/** `source eventType` → how many. */
function countsOf(all: readonly JsonObject[]): Record<string, number> {
  return addCounts(
    ...all.map(({ spec }) => isObject(spec) ? { [`${spec.source} ${spec.eventType}`]: 1 } : {}),
  );
}

function withoutAudit(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([key]) => !key.startsWith("audit ")));
}

/** Every stored object and its version, in order. */
async function versions(cluster: Envtest): Promise<string[]> {
  return (await observations(cluster)).map(({ metadata }) =>
    isObject(metadata) ? `${metadata.namespace}/${metadata.name}@${metadata.resourceVersion}` : ""
  ).sort();
}

/** `[auditID, eventType]` of what is stored of requests since then. */
async function auditActs(cluster: Envtest, since: number): Promise<[string, string][]> {
  return (await observations(cluster)).flatMap(({ spec }): [string, string][] => {
    if (!isObject(spec) || spec.source !== "audit" || !isObject(spec.details)) return [];
    if (Date.parse(String(spec.detectedAt)) < since) return [];
    return [[String(spec.details.auditID), String(spec.eventType)]];
  });
}

async function auditAccount(controller: Controller): Promise<Account> {
  const { audit } = await closedBooks(controller.url);
  assert(audit, "the audit arrives");
  return audit;
}

/** Waits for two more looks of the program at what the API server serves. */
async function moreLooks(log: AuditLog): Promise<void> {
  const before = await countRequests(log, "/apis");
  await eventually(
    "two more looks at what is served",
    async () => await countRequests(log, "/apis") >= before + 2,
  );
}

/** The program's own requests for a path. */
async function countRequests(log: AuditLog, path: string): Promise<number> {
  return (await log.events()).filter((event) =>
    judged.user(event) === OWN_USER && event.stage === "RequestReceived" &&
    String(event.requestURI).split("?")[0] === path
  ).length;
}

async function stateOf(controller: Controller, source: string): Promise<unknown> {
  const { sources } = await statusOf(controller.url);
  return isObject(sources) && isObject(sources[source]) ? sources[source].state : undefined;
}

async function resourceState(controller: Controller, resource: string): Promise<unknown> {
  const { sources } = await statusOf(controller.url);
  const { resources } = isObject(sources) && isObject(sources.trivy) ? sources.trivy : {};
  return isObject(resources) ? resources[resource] : undefined;
}

function withWorkload(report: JsonObject, name: string): JsonObject {
  assert(isObject(report.metadata));
  const labels = {
    "trivy-operator.resource.kind": "StatefulSet",
    "trivy-operator.resource.name": name,
    "trivy-operator.resource.namespace": "default",
    "trivy-operator.container.name": "main",
  };
  const { ownerReferences: _owner, annotations: _annotations, ...metadata } = report.metadata;
  return { ...report, metadata: { ...metadata, labels } };
}

function sorted<T>(record: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(record).toSorted(([a], [b]) => a < b ? -1 : 1);
}
