/** `coverage`: what the reports of the sources say they checked. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { apiServer, status } from "./support/api_server.ts";
import type { JsonObject } from "../src/model/json.ts";
import { loadObjects } from "./support/load_fixture.ts";
import { kubeconfigOf, zen } from "./support/readers.ts";

const policyReport = (name: string, results: readonly [policy: string, result: string][]) => ({
  apiVersion: "wgpolicyk8s.io/v1alpha2",
  kind: "PolicyReport",
  metadata: { name, namespace: "shop", creationTimestamp: "2026-11-01T00:00:00Z" },
  scope: { apiVersion: "apps/v1", kind: "Deployment", name, namespace: "shop" },
  results: results.map(([policy, result]) => ({
    policy,
    result,
    timestamp: { seconds: 1795315351, nanos: 0 },
  })),
});

const named = (name: string) => ({ metadata: { name, namespace: "shop" } });

/** Answers lists by the end of their path: a page at a time, or a status. */
function startReports(lists: Readonly<Record<string, readonly unknown[] | number>>) {
  return apiServer(({ path, query }) => {
    const found = Object.entries(lists).find(([end]) => path.endsWith(`/${end}`))?.[1] ?? 404;
    if (typeof found === "number") return status(found, { message: `HTTP ${found} for ${path}` });
    const from = Number(query.get("continue") ?? "0");
    const next = from + 1 < found.length ? { continue: String(from + 1) } : {};
    return Response.json({ metadata: next, items: found.slice(from, from + 1) });
  });
}

Deno.test("coverage counts reports and checks by page, and names the workloads that no report is about", async () => {
  await using server = startReports({
    "policyreports": [
      policyReport("web", [["no-root", "fail"], ["no-latest", "pass"]]),
      policyReport("api", [["no-root", "pass"], ["no-root", "skip"]]),
    ],
    "configauditreports": [{
      metadata: {
        name: "job",
        namespace: "shop",
        labels: {
          "trivy-operator.resource.kind": "ReplicaSet",
          "trivy-operator.resource.name": "pay-7d4b9c6f5b",
        },
      },
      report: {
        updateTimestamp: "2026-11-21T06:00:00Z",
        checks: [{ checkID: "KSV001", success: false }, { checkID: "KSV001", success: true }],
      },
    }],
    "deployments": [named("web"), named("api"), named("pay"), named("new")],
    "statefulsets": [named("db")],
    "daemonsets": [],
    "cronjobs": [],
  });
  await using file = await kubeconfigOf(server.url);
  const { code, out, err } = await zen(["coverage", "-o", "json"], { kubeconfig: file.path });
  assertEquals([code, err], [0, ""]);
  const { reports, policies, uncovered, missing } = JSON.parse(out);
  const read = reports.filter(({ state }: { state: string }) => state === "read");
  assertEquals(read, [
    {
      source: "trivy",
      resource: "configauditreports.aquasecurity.github.io",
      state: "read",
      reports: 1,
      newest: "2026-11-21T06:00:00Z",
      oldest: "2026-11-21T06:00:00Z",
      checks: { pass: 1, fail: 1, warn: 0, error: 0, skip: 0 },
    },
    {
      source: "kyverno",
      resource: "policyreports.wgpolicyk8s.io",
      state: "read",
      reports: 2,
      newest: "2026-11-22T02:42:31.000Z",
      oldest: "2026-11-22T02:42:31.000Z",
      checks: { pass: 2, fail: 1, warn: 0, error: 0, skip: 1 },
    },
  ]);
  assertEquals(policies["no-root"], { pass: 1, fail: 1, warn: 0, error: 0, skip: 1 });
  assertEquals([uncovered, missing], [["shop/Deployment/new", "shop/StatefulSet/db"], []]);
  const printed = (await zen(["coverage"], { kubeconfig: file.path })).out;
  assertStringIncludes(
    printed,
    "No report is about 2 workloads:\n  shop/Deployment/new\n  shop/StatefulSet/db\n",
  );
});

Deno.test("coverage names the rights that are missing and counts the rest", async () => {
  await using server = startReports({
    "policyreports": [policyReport("web", [["no-root", "fail"]])],
    "vulnerabilityreports": 403,
    "deployments": 403,
    "statefulsets": [],
    "daemonsets": [],
    "cronjobs": [],
  });
  await using file = await kubeconfigOf(server.url, "shop");
  const { code, out, err } = await zen(["coverage"], { kubeconfig: file.path });
  assertEquals([code, err], [
    0,
    "Left out: you may not list vulnerabilityreports.aquasecurity.github.io\n" +
    "Left out: you may not list deployments.apps\n",
  ]);
  assertStringIncludes(out, "no right to list");
  // It is in no namespace.
  assertEquals(out.includes("clustervulnerabilityreports"), false);
  assertEquals(out.includes("No report is about"), false);
  // A namespace of the context is the namespace that is read.
  const lists = server.seen.filter(({ path }) => path !== "/version");
  assertEquals(lists.every(({ path }) => path.includes("/namespaces/shop/")), true);
});

Deno.test("coverage takes what each result names for covered, by kind, and nothing of another namespace", async () => {
  const about = (kind: string, name: string, namespace = "shop") => ({ kind, name, namespace });
  const report = (fields: Readonly<Record<string, unknown>>, namespace?: string) => ({
    metadata: { name: crypto.randomUUID(), ...(namespace && { namespace }) },
    ...fields,
  });
  const result = (...resources: unknown[]) => ({ policy: "p", result: "pass", resources });
  await using server = startReports({
    "policyreports": [
      // Reports of many resources have no scope, and are owned by their writer.
      report({
        results: [
          result(about("Deployment", "web"), about("Pod", "api-7d4b9c6f5b-x2x4z")),
          {
            policy: "p",
            result: "fail",
            subjects: [about("ReplicaSet", "pay-7d4b9c6f5b"), about("Pod", "db-0")],
          },
          result(about("Pod", "agent-x2x4z"), about("Job", "nightly-29327040")),
          result(about("Deployment", "ledger", "bank")),
        ],
      }, "shop"),
      {
        ...report({ results: [result(about("Deployment", "web"))] }, "shop"),
        metadata: {
          name: "owned",
          namespace: "shop",
          ownerReferences: [{ kind: "CronJob", name: "scanner" }],
        },
      },
      report({ scope: about("CronJob", "rotate"), results: [] }, "shop"),
    ],
    "clusterpolicyreports": [report({ results: [result(about("Deployment", "pool", "bank"))] })],
    "configauditreports": [{
      metadata: {
        name: "r",
        namespace: "shop",
        labels: { "trivy-operator.resource.kind": "StatefulSet" },
        annotations: { "trivy-operator.resource.name": "search" },
      },
      report: { checks: [] },
    }],
    "deployments": [
      ...["web", "api", "pay", "nightly"].map(named),
      ...["ledger", "pool"].map((name) => ({ metadata: { name, namespace: "bank" } })),
    ],
    "statefulsets": ["db", "search", "agent"].map(named),
    "daemonsets": ["agent", "web"].map(named),
    "cronjobs": ["nightly", "web", "rotate", "scanner"].map(named),
  });
  await using file = await kubeconfigOf(server.url);
  const { uncovered } = JSON.parse((await zen(["coverage", "-o", "json"], { kubeconfig: file.path })).out);
  assertEquals(uncovered, [
    "bank/Deployment/ledger",
    "shop/CronJob/scanner",
    "shop/CronJob/web",
    "shop/DaemonSet/web",
    "shop/Deployment/nightly",
    "shop/StatefulSet/agent",
  ]);
});

Deno.test("coverage reads the ConfigMaps of kube-bench and Checkov: each benchmark and check, passed ones too", async () => {
  const [node] = await loadObjects("sources/kube-bench/real/kube-bench/configmap-node-1.json");
  const [goat] = await loadObjects("sources/checkov/real/checkov/configmap-kubernetes-goat.json.gz");
  const managedFields = [{ time: "2026-11-20T00:00:00Z" }, { time: "2026-11-21T00:00:00Z" }];
  const written = (object: JsonObject | undefined, fields: JsonObject) => {
    return { ...object, metadata: { ...object?.metadata as JsonObject, ...fields } };
  };
  const kubeBench = written(node, { managedFields });
  const checkov = written(goat, { creationTimestamp: "2026-11-19T00:00:00Z" });
  await using server = apiServer(({ path }) => {
    const items = path.endsWith("/namespaces/kube-bench/configmaps")
      ? [kubeBench]
      : path.endsWith("/namespaces/checkov/configmaps")
      ? [checkov]
      : path.endsWith("/observations")
      ? []
      : undefined;
    return items ? Response.json({ metadata: {}, items }) : status(404, { message: "not served" });
  });
  await using file = await kubeconfigOf(server.url);
  const { out } = await zen(["coverage", "-o", "json"], { kubeconfig: file.path });
  const { reports, benchmarks, policies } = JSON.parse(out);
  const places = reports.filter(({ resource }: { resource: string }) => resource === "configmaps");
  assertEquals(
    places.map((
      { source, state, reports, newest }: Record<string, unknown>,
    ) => [source, state, reports, newest]),
    [
      ["kube-bench", "read", 1, "2026-11-21T00:00:00.000Z"],
      ["checkov", "read", 1, "2026-11-19T00:00:00Z"],
    ],
  );
  assertEquals(
    server.seen.find(({ path }) => path.includes("kube-bench"))?.query.get("labelSelector"),
    "app=kube-bench",
  );
  // As the tools count them: Checkov lists what failed alone.
  assertEquals(benchmarks, {
    "cis-1.12": { pass: 1, fail: 11, warn: 13, error: 0, skip: 0 },
    "checkov kubernetes": { pass: 931, fail: 244, warn: 0, error: 0, skip: 0 },
  });
  const tests = Object.keys(policies).filter((name) => name.startsWith("cis-1.12 "));
  assertEquals(tests.length, 25);
  assertEquals(policies.CKV_K8S_155?.fail > 0, true);
  const printed = (await zen(["coverage"], { kubeconfig: file.path })).out;
  assertStringIncludes(printed, "checkov kubernetes  931   244   0     0      0\n");
  const csv =
    (await zen(["export", "-o", "csv", "--coverage", "-n", "kube-bench"], { kubeconfig: file.path })).out;
  assertStringIncludes(csv, "# checked: benchmark cis-1.12: pass 1, fail 11, warn 13, error 0, skip 0\n");
  assertEquals(csv.includes("checkov"), false, "its ConfigMaps are in another namespace");
});

Deno.test("coverage names the right to list the ConfigMaps of a benchmark", async () => {
  await using server = startReports({ "configmaps": 403 });
  await using file = await kubeconfigOf(server.url);
  const { code, err } = await zen(["coverage"], { kubeconfig: file.path });
  assertEquals([code, err], [
    0,
    'Left out: you may not list configmaps in namespace "kube-bench"\n' +
    'Left out: you may not list configmaps in namespace "checkov"\n',
  ]);
});

Deno.test("coverage continues after a 410 in the middle of a list, and counts each report once", async () => {
  const reports = ["a", "b", "c"].map((name) => policyReport(name, [["no-root", "pass"]]));
  let isExpired = false;
  await using server = apiServer(({ path, query }) => {
    if (!path.endsWith("/policyreports")) return status(404);
    const from = Number(query.get("continue") ?? 0);
    if (from === 2 && !isExpired) {
      isExpired = true;
      return status(410, { reason: "Expired", message: "too old" });
    }
    const next = from + 1 < reports.length ? { continue: String(from + 1) } : {};
    return Response.json({ metadata: next, items: reports.slice(from, from + 1) });
  });
  await using file = await kubeconfigOf(server.url);
  const { code, out } = await zen(["coverage", "-o", "json"], { kubeconfig: file.path });
  assertEquals([code, isExpired], [0, true]);
  assertEquals(JSON.parse(out).policies, { "no-root": { pass: 3, fail: 0, warn: 0, error: 0, skip: 0 } });
});
