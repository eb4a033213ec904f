/** `coverage`: what the reports of the sources say they checked. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { apiServer, status } from "./support/api_server.ts";
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
  assertEquals(server.seen.every(({ path }) => path.includes("/namespaces/shop/")), true);
});
