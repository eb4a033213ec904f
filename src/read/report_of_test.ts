import { gzipSync } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { apiServer, status } from "../../tests/support/api_server.ts";
import { loadObjects, reportPayload } from "../../tests/support/load_fixture.ts";
import { EVENT_SETTINGS, runtimeFor } from "../../tests/support/source_runtime.ts";
import { fixedConnection, namespacedName } from "../kube/api.ts";
import { createKubeClient } from "../kube/client.ts";
import type { JsonObject } from "../model/json.ts";
import { toObservation } from "../pipeline/normalize.ts";
import { checkov } from "../sources/checkov/mod.ts";
import { kyverno } from "../sources/kyverno/mod.ts";
import { trivy } from "../sources/trivy/mod.ts";
import { type Source, watchedResources } from "../sources/source.ts";
import { checksOf } from "./checks.ts";
import { findReport } from "./report_of.ts";

/** Reports of every kind, as the tools wrote them. */
const REPORTS: readonly (readonly [source: Source, files: readonly string[]])[] = [
  [trivy, [
    "trivy-vulnerabilityreport",
    "trivy-configauditreport",
    "trivy-exposedsecretreport",
    "trivy-rbac-infra",
  ]],
  [kyverno, ["kyverno-policyreport", "openreports"]],
];

async function realReports(source: Source, folders: readonly string[]): Promise<JsonObject[]> {
  const reports: JsonObject[] = [];
  for (const folder of folders) {
    const path = `sources/${source.name}/real/${folder}`;
    const names: string[] = [];
    for await (const { name } of Deno.readDir(new URL(`../../tests/fixtures/${path}`, import.meta.url))) {
      names.push(name);
    }
    for (const name of names.sort()) reports.push(...await loadObjects(`${path}/${name}`));
  }
  return reports;
}

Deno.test("findReport() finds the report of a finding that was drawn from it, in reports of every kind", async () => {
  for (const [source, folders] of REPORTS) {
    const reports = (await realReports(source, folders)).map((report, index): JsonObject => {
      // Several files hold the same report: each is one of its own here.
      const isNamespaced = !String(report.kind).startsWith("Cluster");
      const place = isNamespaced ? { namespace: "default" } : {};
      const metadata = { ...place, ...report.metadata as JsonObject, name: `report-${index}` };
      return { ...report, metadata };
    });
    const { draw, normalize } = runtimeFor(source);
    const kinds = new Set<unknown>();
    for (const report of reports) {
      const type = watchedResources(source).find(({ kind }) => kind === report.kind);
      const payload = reportPayload(report);
      const [drawn] = [...draw(payload)].filter((each) => "event" in each);
      if (!type || !drawn || !("event" in drawn)) continue;
      kinds.add(report.kind);
      await using server = apiServer(({ path }) =>
        path.endsWith(`/${type.plural}`) && path.includes(`/${type.group}/`)
          ? Response.json({ metadata: {}, items: [report] })
          : status(404)
      );
      using api = createKubeClient(fixedConnection({ server: server.url }));
      const event = normalize(drawn.event, payload);
      const observation = toObservation(event, 0, { instance: "default", eventId: "an-event" });
      const found = await findReport(api, observation, { settings: EVENT_SETTINGS, now: payload.receivedAt });
      assertEquals(
        found.state === "found" && found.name,
        namespacedName({ metadata: report.metadata } as never),
        JSON.stringify([report.kind, event.rule, event.source]),
      );
    }
    assert(kinds.size >= 3, `${source.name}: ${[...kinds]}`);
  }
});

Deno.test("findReport() and checksOf() read the compressed results of a ConfigMap as long as the controller does", async () => {
  const failed = {
    check_id: "CKV_K8S_1",
    check_name: "Ensure",
    resource: "Pod.shop.web",
    file_path: "/a.yaml",
  };
  const passed = Array(30_000).fill({ check_id: "CKV_K8S_2", check_name: "Ensure".repeat(10) });
  const body = { check_type: "kubernetes", results: { passed_checks: passed, failed_checks: [failed] } };
  const text = JSON.stringify(body);
  assert(text.length > 2 * 2 ** 20, "more than etcd stores as it is");
  const configMap = {
    metadata: { name: "results", namespace: "checkov" },
    binaryData: { "results.json": gzipSync(text).toString("base64") },
  };
  const checks = [...checksOf(configMap)];
  assertEquals([checks.length, checks.filter(({ verdict }) => verdict === "fail").length], [30_001, 1]);
  await using server = apiServer(({ path }) =>
    path.endsWith("/namespaces/checkov/configmaps")
      ? Response.json({ metadata: {}, items: [configMap] })
      : status(404)
  );
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const { draw, normalize } = runtimeFor(checkov);
  const origin = { ...configMap.metadata, labels: {}, annotations: {}, confined: false };
  const payload = { body, origin, receivedAt: Date.parse("2026-01-02T00:00:00Z") };
  const [drawn] = [...draw(payload)];
  assert(drawn && "event" in drawn);
  const event = normalize(drawn.event, payload);
  const observation = toObservation(event, 0, { instance: "default", eventId: "an-event" });
  const found = await findReport(api, observation, { settings: EVENT_SETTINGS, now: payload.receivedAt });
  assertEquals(found.state === "found" && found.name, "checkov/results");
});
