/** Backup and restore as docs/backup.md says, by users with the rights it names, with the chart's policy in force. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../src/model/json.ts";
import { alert } from "../support/alerts.ts";
import { startTestApp } from "../support/app.ts";
import { one, valueIn } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { changeReports, VULNERABILITY_REPORTS } from "../support/reports.ts";
import { connectionTo, transportTo } from "./watching.ts";
import { CRDS } from "../support/crds.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const SHOP = "/apis/zen.kube-zen.io/v1/namespaces/shop/observations";
const CONFIGURATION = `/apis/zen.kube-zen.io/v1alpha1/namespaces/${NAMESPACE}`;
const EXCEPTIONS = "/apis/zen.kube-zen.io/v1alpha1/namespaces/shop/observationexceptions";
const FILTERS = `/api/v1/namespaces/${NAMESPACE}/configmaps/zen-watcher-filter`;
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
/** Reports, and findings in each. */
const [REPORTS, FOUND] = [2, 2];
const FINDINGS = REPORTS * FOUND;
/** The filter ConfigMap, an ObservationFilter and an ObservationException. */
const CONFIGURED = 3;

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());
await cluster.applyCrds(CRDS);
await ensureNamespaces(cluster, [NAMESPACE, "shop", "backup"]);
const installed = await installChart(cluster, {
  namespace: NAMESPACE,
  values: { filters: UNFILTERED, statusIntegrity: { restorers: [account("restore")] } },
});
const backupFile = `${cluster.folder}/zen-watcher.ndjson.gz`;
await feed();
const lived = await stored();

Deno.test("a user who may read the five kinds and the filter ConfigMap can back up", async () => {
  const kubeconfig = await userOf("reader");
  await bind("reader", "zen-watcher-view");
  const short = await script("backup", ["-n", NAMESPACE, "-o", backupFile, "--kubeconfig", kubeconfig]);
  assertEquals(short.code, 1);
  assertMatch(short.text, /^Cannot back up to ".*": .*cannot get resource "configmaps"/);
  await grant("reader", {
    apiGroups: [""],
    resources: ["configmaps"],
    resourceNames: ["zen-watcher-filter"],
    verbs: ["get"],
  });
  const { code, text } = await script("backup", [
    "-n",
    NAMESPACE,
    "-o",
    backupFile,
    "--kubeconfig",
    kubeconfig,
  ]);
  assertEquals(code, 0, text);
  assertStringIncludes(
    text,
    `1 ConfigMap, 1 ObservationFilter, 1 ObservationException, ${lived.length} Observation`,
  );
});

Deno.test("restore names who may create Observations to a user with the rights who is no restorer", async () => {
  await lose();
  const kubeconfig = await userOf("other");
  await bind("other", "zen-watcher-restore");
  await eventually("the policy to be in force", async () => {
    const body = { ...lived[0], metadata: { name: "probe" } };
    const { status, body: answer } = await cluster.ask("POST", `${SHOP}?dryRun=All`, {
      as: cluster.clientCert(account("other")),
      body,
    });
    return status === 403 && String(answer.message).includes("zen-watcher alone");
  });
  const { code, text } = await script("restore", ["-f", backupFile, "--kubeconfig", kubeconfig]);
  assertEquals(code, 1);
  assertMatch(
    text,
    new RegExp(
      `Cannot restore Observation shop/${
        valueIn(lived[0], "metadata", "name")
      }: .*Observations are created by zen-watcher alone`,
    ),
  );
  assertEquals((await stored()).length, 0);
  assertStringIncludes(
    text,
    ` 0 created, 0 there already, 0 of other kinds, ${lived.length + CONFIGURED} failed`,
  );
});

Deno.test("a restorer gets every Observation back, its status too; configuration needs the right to configure", async () => {
  await lose();
  const kubeconfig = await userOf("restore");
  const restore = () => script("restore", ["-f", backupFile, "--kubeconfig", kubeconfig]);
  const first = await restore();
  assertEquals(first.code, 1);
  assertMatch(first.text, /^Cannot restore ObservationFilter zen-system\/no-low: .*cannot create resource/m);
  assertStringIncludes(
    first.text,
    ` ${lived.length} created, 0 there already, 0 of other kinds, ${CONFIGURED} failed`,
  );
  assertEquals((await stored()).map(lasting), lived.map(lasting));
  await bind("restore", "zen-watcher-configure");
  await bind("restore", "zen-watcher-risk-owner");
  await grant("restore", { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] });
  const second = await restore();
  assertEquals(second.code, 0, second.text);
  assertStringIncludes(
    second.text,
    ` ${CONFIGURED} created, ${lived.length} there already, 0 of other kinds, 0 failed`,
  );
  assertEquals((await stored()).map(lasting), lived.map(lasting));
  assertEquals(
    (await cluster.expect("GET", FILTERS)).body.data,
    one(installed.objects, "ConfigMap", "zen-watcher-filter").data,
  );
});

/** Alerts counted twice, findings that are resolved, and one that is not. */
async function feed(): Promise<void> {
  const connection = connectionTo(cluster, installed);
  await cluster.expect("POST", `${CONFIGURATION}/observationfilters`, {
    body: {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "ObservationFilter",
      metadata: { name: "no-low" },
      spec: { targetSource: "checkov", excludeSeverity: ["LOW"] },
    },
  });
  await cluster.expect("POST", EXCEPTIONS, {
    body: {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "ObservationException",
      metadata: { name: "held" },
      spec: {
        match: { rules: ["CVE-2026-1000"] },
        reason: "mitigated",
        justification: "x",
        expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
      },
    },
  });
  using api = transportTo(cluster);
  await changeReports(api, { namespace: "shop", reports: [0, REPORTS], found: [0, FOUND] });
  const { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } = installed.env;
  await using app = await startTestApp({
    server: connection,
    env: { ...env, DEDUP_WINDOW_SECONDS: "4000000", RESOLVE_GRACE_SECONDS: "0" },
  });
  for (const index of [0, 1, 0, 1, 2]) {
    assertEquals((await app.post("/falco/webhook", alert("shop", index))).status, 200);
  }
  await eventually("every finding", async () => (await stored()).length === 3 + FINDINGS);
  await api.delete(VULNERABILITY_REPORTS, "statefulset-app-1-main", { namespace: "shop" });
  await eventually("what is gone to be resolved", async () => {
    const phases = (await stored()).map(({ status }) => valueIn(status, "phase"));
    return phases.filter((phase) => phase === "Resolved").length === FOUND;
  });
  await eventually("one that stays to be accepted", async () => {
    return (await stored()).some(({ status }) => valueIn(status, "phase") === "Accepted");
  });
  await eventually("the repeats to be counted", async () => {
    const counts = (await stored()).map(({ status }) => valueIn(status, "occurrences"));
    return counts.filter((count) => count === 2).length === 2;
  });
}

/** Everything that a backup holds is gone. */
async function lose(): Promise<void> {
  await cluster.expect("DELETE", SHOP);
  await cluster.expect("DELETE", `${CONFIGURATION}/observationfilters`);
  await cluster.expect("DELETE", EXCEPTIONS);
  await cluster.ask("DELETE", FILTERS);
  assertEquals(await stored(), []);
}

async function stored(): Promise<JsonObject[]> {
  return await listAll(cluster, OBSERVATIONS);
}

/** An Observation without what only one API server knows of it. */
function lasting({ metadata, spec, status }: JsonObject): JsonObject {
  const kept = ["name", "namespace", "labels", "annotations"].map((
    key,
  ) => [key, valueIn(metadata, key) ?? {}]);
  return { metadata: Object.fromEntries(kept), spec: spec ?? {}, status: status ?? {} };
}

function account(name: string): string {
  return `system:serviceaccount:backup:${name}`;
}

/** Makes a ServiceAccount; resolves with the path of its kubeconfig. */
async function userOf(name: string): Promise<string> {
  await cluster.expect("POST", "/api/v1/namespaces/backup/serviceaccounts", { body: { metadata: { name } } });
  const token = await cluster.serviceAccountToken("backup", name);
  const path = `${cluster.folder}/${name}.kubeconfig`;
  await Deno.writeTextFile(path, cluster.kubeconfig({ as: { token } }), { mode: 0o600 });
  return path;
}

/** Gives a user a role of the chart. */
async function bind(user: string, role: string): Promise<void> {
  await cluster.expect("POST", `${RBAC}/clusterrolebindings`, {
    body: {
      metadata: { name: `${user}-${role}` },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [{ kind: "ServiceAccount", namespace: "backup", name: user }],
    },
  });
}

/** Gives a user a rule in zen-watcher's namespace. */
async function grant(user: string, rule: JsonObject): Promise<void> {
  const roles = `${RBAC}/namespaces/${NAMESPACE}`;
  await cluster.expect("POST", `${roles}/roles`, { body: { metadata: { name: user }, rules: [rule] } });
  await cluster.expect("POST", `${roles}/rolebindings`, {
    body: {
      metadata: { name: user },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: user },
      subjects: [{ kind: "ServiceAccount", namespace: "backup", name: user }],
    },
  });
}

/** Runs a script as an operator does. */
async function script(
  name: "backup" | "restore",
  args: readonly string[],
): Promise<{ code: number; text: string }> {
  const path = new URL(`../../scripts/${name}.ts`, import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", path, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, text: [stderr, stdout].map((bytes) => new TextDecoder().decode(bytes)).join("").trim() };
}
