/** Tools come and go: what `/tools/status` says of a resource that is removed, and that no request asks for it any more. */
import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { isObject, type JsonObject } from "../src/model/json.ts";
import { CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS } from "../src/kube/core_resources.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { startTestApp, type TestApp } from "./support/app.ts";
import { statusOf } from "./support/books.ts";
import { eventually } from "./support/eventually.ts";
import { changeReports, findingsOf, wantedFindings } from "./support/reports.ts";
import { startTestCluster } from "./support/test_cluster.ts";

const EXPOSED_SECRETS = "exposedsecretreports.aquasecurity.github.io";
const OBSERVATIONS = "observations.zen.kube-zen.io";

Deno.test("a removed resource is a state, gets no further request, and is read when it is served again", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  await using app = await startTestApp({ server: server.url, env: { DISCOVERY_INTERVAL: "100ms" } });
  await eventually("the state synced", async () => await stateOf(app) === "synced");

  const { spec } = await api.get(CUSTOM_RESOURCE_DEFINITIONS, EXPOSED_SECRETS);
  await api.delete(CUSTOM_RESOURCE_DEFINITIONS, EXPOSED_SECRETS);
  await eventually("the state absent", async () => await stateOf(app) === "absent");
  // The watch itself may have said so first, and ask once more before discovery ends it.
  const looks = discoveries();
  await eventually("two looks at what is served", () => discoveries() >= looks + 2);
  server.requests.clear();
  await eventually("three more looks at what is served", () => discoveries() >= 3);
  assertEquals(server.requests.count({ path: "/exposedsecretreports" }), 0);
  assertEquals(await stateOf(app), "absent");
  assertEquals(app.health.ready().reasons, []);
  await changeReports(api, { namespace: "shop", reports: [0, 1], found: [0, 2] });
  await eventually("the other reports to be read", () => server.count(OBSERVATIONS) === 2);
  assertEquals(findingsOf(server.objects(OBSERVATIONS)), wantedFindings(1, 2));

  await api.create(CUSTOM_RESOURCE_DEFINITIONS, {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: CUSTOM_RESOURCE_DEFINITIONS.kind,
    metadata: { name: EXPOSED_SECRETS },
    spec,
  });
  await eventually("the state synced", async () => await stateOf(app) === "synced");

  function discoveries(): number {
    return server.requests.count({ verb: "get", path: /^\/apis\/aquasecurity\.github\.io\/v1alpha1$/ });
  }
});

Deno.test("an unreadable payload, pushed or pulled, is the last error of its source and counted once", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "kube-bench"]);
  await using app = await startTestApp({ server: server.url, env: { DISCOVERY_INTERVAL: "100ms" } });
  assertEquals((await app.post("/falco/webhook", "plain text")).status, 400);
  assertEquals((await app.post("/audit/webhook", {})).status, 400);
  const labels = { app: "kube-bench" };
  await api.create(CONFIG_MAPS, {
    metadata: { name: "node-1", namespace: "kube-bench", labels },
    data: { "results.json": "{" },
  });
  const wanted = { falco: "unreadable", audit: "missing_field", "kube-bench": "unreadable" };
  for (const [source, errorClass] of Object.entries(wanted)) {
    await eventually(
      `the last error of ${source}`,
      async () => await lastErrorOf(app, source) === errorClass,
    );
    assertEquals(await app.metric("watcher_errors_total", { watcher: source }), 1);
    assertEquals(await app.metric("payload_errors_total", { source, reason: errorClass }), 1);
  }
  await eventually("the state partial", async () => (await reportOf(app, "kube-bench"))?.state === "partial");
  const stateMetric = (state: string) => app.metric("source_state", { source: "kube-bench", state });
  assertEquals([await stateMetric("partial"), await stateMetric("synced")], [1, 0]);
  assertEquals(await app.metric("watcher_status", { watcher: "kube-bench" }), 1);
  const { sources } = await statusOf(app.url);
  const trivy = isObject(sources) && isObject(sources.trivy) ? sources.trivy.events : undefined;
  assertEquals(trivy, { events: 0, created: 0, deduped: 0, filtered: 0, failed: 0, inFlight: 0 });
});

async function lastErrorOf(app: TestApp, source: string): Promise<unknown> {
  const report = await reportOf(app, source);
  return isObject(report?.lastError) ? report.lastError.class : undefined;
}

async function reportOf({ url }: TestApp, source: string): Promise<JsonObject | undefined> {
  const { sources } = await statusOf(url);
  const report = isObject(sources) ? sources[source] : undefined;
  return isObject(report) ? report : undefined;
}

async function stateOf({ url }: TestApp): Promise<unknown> {
  const { sources } = await statusOf(url);
  const { resources } = isObject(sources) && isObject(sources.trivy) ? sources.trivy : {};
  return isObject(resources) ? resources[EXPOSED_SECRETS] : undefined;
}
