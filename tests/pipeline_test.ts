/** The program end to end on the embedded API server: what goes in through its real ways, and what a user then sees. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import type { JsonObject } from "../src/model/json.ts";
import { startTestApp, type TestApp, type TestAppOptions } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";
import { startTestCluster, type TestCluster } from "./support/test_cluster.ts";
import { CUSTOM_RESOURCE_DEFINITIONS } from "../src/kube/core_resources.ts";

const OBSERVATIONS = "observations.zen.kube-zen.io";
const VULNERABILITY_REPORTS = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};
const SHELL = {
  time: "2026-11-22T06:00:00.123456789Z",
  rule: "Terminal shell in container",
  priority: "Notice",
  source: "syscall",
  hostname: "node-1",
  output: "06:00:00: Notice A shell was spawned",
  output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web-1", "proc.pid": 4711, "proc.cmdline": "sh" },
};

/** A cluster with CRDs and namespaces. */
async function cluster(): Promise<TestCluster> {
  const server = await startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  return server;
}

async function start(server: TestCluster, options: Omit<TestAppOptions, "server"> = {}): Promise<TestApp> {
  return await startTestApp({ ...options, server: server.url });
}

function report(name: string, vulnerabilities: readonly JsonObject[]): JsonObject & { metadata: JsonObject } {
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: {
      name,
      namespace: "shop",
      labels: {
        "trivy-operator.resource.kind": "ReplicaSet",
        "trivy-operator.resource.name": "web-6799f6455b",
        "trivy-operator.resource.namespace": "shop",
        "trivy-operator.container.name": "web",
      },
    },
    report: { artifact: { repository: "library/web", tag: "1" }, vulnerabilities: [...vulnerabilities] },
  };
}

function vulnerability(id: string, severity = "HIGH"): JsonObject {
  return {
    vulnerabilityID: id,
    resource: "openssl",
    installedVersion: "1.1.1k",
    fixedVersion: "",
    severity,
    title: `${id} in openssl`,
  };
}

/** The books as the metrics tell them; `events_total = created + deduped + filtered + failed + in flight`. */
async function assertBooksBalance(app: TestApp): Promise<void> {
  for (const [source, account] of Object.entries(app.books.accounts())) {
    const { events, created, deduped, filtered, failed, inFlight } = account;
    assertEquals(events, created + deduped + filtered + failed + inFlight, `books of ${source}`);
    assertEquals(await app.metric("events_total", { source }), events);
  }
}

Deno.test("a Falco alert posted twice is one Observation with two occurrences", async () => {
  await using server = await cluster();
  await using app = await start(server);
  const first = await app.post("/falco/webhook", SHELL);
  assertEquals([first.status, first.body["created"]], [200, 1]);
  assertEquals(server.count(OBSERVATIONS), 1, "stored before the answer");
  const repeat = { ...SHELL, time: "2026-11-22T06:00:09Z", output: "06:00:09: Notice A shell was spawned" };
  const second = await app.post("/falco/webhook", repeat);
  assertEquals([second.status, second.body["created"], second.body["deduped"]], [200, 0, 1]);
  const [observation] = await eventually("the repeat to be counted", () => {
    const objects = server.objects(OBSERVATIONS);
    return (objects[0]?.["status"] as JsonObject)["occurrences"] === 2 ? objects : undefined;
  });
  assertEquals(server.count(OBSERVATIONS), 1);
  const spec = observation?.["spec"] as JsonObject;
  assertEquals(spec["resource"], { apiVersion: "v1", kind: "Pod", name: "web-1", namespace: "shop" });
  assertEquals([spec["severity"], spec["eventType"]], ["LOW", "runtime-threat"]);
  await assertBooksBalance(app);
});

Deno.test("a Trivy report is one Observation per distinct key, and a restart adds and writes nothing", async () => {
  await using server = await cluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const twice = { ...vulnerability("CVE-2026-2"), installedVersion: "1.1.1m" };
  const items = [
    vulnerability("CVE-2026-1"),
    vulnerability("CVE-2026-2"),
    vulnerability("CVE-2026-2"),
    twice,
  ];
  await api.create(VULNERABILITY_REPORTS, report("replicaset-web-6799f6455b-web", items));
  let names: string[] = [];
  {
    await using app = await start(server);
    await eventually("three findings", () => server.count(OBSERVATIONS) === 3);
    await eventually("the twin's outcome", async () => await app.metric("observations_deduped_total") === 1);
    names = namesOf(server);
    await assertBooksBalance(app);
  }
  server.requests.clear();
  {
    await using app = await start(server);
    await eventually("four repeats", async () => await app.metric("observations_deduped_total") === 4);
    assertEquals(await app.metric("observations_created_total"), 0);
  }
  assertEquals(namesOf(server), names);
  const path = /\/observations/;
  const writes = server.requests.count({ verb: "patch", path }) +
    server.requests.count({ verb: "update", path });
  assertEquals(writes, 0, "no status is written");
});

Deno.test("the program reads reports whose CRD is installed after its start", async () => {
  await using server = await startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const kept = await api.get(CUSTOM_RESOURCE_DEFINITIONS, "vulnerabilityreports.aquasecurity.github.io");
  await api.delete(CUSTOM_RESOURCE_DEFINITIONS, "vulnerabilityreports.aquasecurity.github.io");
  await using app = await start(server);
  const state = async () => {
    const response = await fetch(`${app.url}/tools/status`);
    return (await response.json()).sources.trivy.resources["vulnerabilityreports.aquasecurity.github.io"];
  };
  await eventually("the state absent", async () => await state() === "absent");
  assertEquals((await fetch(`${app.url}/ready`).then(async (r) => [r.status, await r.json()]))[0], 200);
  await api.create(CUSTOM_RESOURCE_DEFINITIONS, {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: kept.metadata.name ?? "" },
    spec: kept["spec"],
  });
  await eventually("the state synced", async () => await state() === "synced");
  await api.create(VULNERABILITY_REPORTS, report("replicaset-web-web", [vulnerability("CVE-2026-1")]));
  await eventually("the finding", () => server.count(OBSERVATIONS) === 1);
});

const BAD_INPUT: readonly { name: string; body: BodyInit; status: number; says: string }[] = [
  { name: "no JSON", body: "06:00:00.1: Notice A shell was spawned", status: 400, says: "json_output" },
  { name: "nothing", body: "", status: 400, says: "empty" },
  { name: "a wrong shape", body: '"a string"', status: 400, says: "Cannot read the body" },
  { name: "17 MiB", body: "x".repeat(17 * 2 ** 20), status: 413, says: "WEBHOOK_MAX_BYTES" },
  {
    name: "10,000 levels",
    body: "[".repeat(10_000) + "]".repeat(10_000),
    status: 413,
    says: "nested deeper",
  },
];

Deno.test("bad input gets a clear answer and is counted, and the program continues", async (t) => {
  await using server = await cluster();
  await using app = await start(server);
  for (const { name, body, status, says } of BAD_INPUT) {
    await t.step(name, async () => {
      const response = await fetch(`${app.url}/falco/webhook`, { method: "POST", body });
      assertEquals(response.status, status);
      assertStringIncludes((await response.json()).error, says);
    });
  }
  await t.step("a body that is refused before it is read ends its connection", async () => {
    const { hostname, port } = new URL(app.url);
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const head = `POST /falco/webhook HTTP/1.1\r\nhost: a\r\ncontent-length: ${17 * 2 ** 20}\r\n\r\nx`;
    await connection.write(new TextEncoder().encode(head));
    const answer = await new Response(connection.readable).text();
    assertStringIncludes(answer, " 413 ");
    assertStringIncludes(answer.toLowerCase(), "\r\nconnection: close\r\n");
  });
  await t.step("a wrong method", async () => {
    const response = await fetch(`${app.url}/falco/webhook`);
    assertEquals([response.status, response.headers.get("allow")], [405, "POST"]);
    await response.body?.cancel();
  });
  await t.step("terminal escapes in a rule's name are stored as plain text", async () => {
    const { status } = await app.post("/falco/webhook", {
      ...SHELL,
      rule: "\u001b[31mred\u001b[0m \u202Egnp.exe",
    });
    assertEquals(status, 200);
    const message = JSON.stringify(server.objects(OBSERVATIONS));
    assert(!message.includes("\\u001b") && !message.includes("\u202E"));
  });
  await t.step("a report with fields missing is counted and its readable parts are kept", async () => {
    using api = createKubeClient(fixedConnection({ server: server.url }));
    const broken = report("replicaset-broken", [{ severity: "HIGH" }, vulnerability("CVE-2026-9")]);
    await api.create(VULNERABILITY_REPORTS, broken);
    await eventually("the readable finding", () => namesOf(server).some((name) => name.startsWith("trivy-")));
    assert(await app.metric("payload_errors_total", { source: "trivy" }) >= 1);
  });
  await assertBooksBalance(app);
  assertEquals((await app.post("/falco/webhook", { ...SHELL, rule: "Another rule" })).status, 200);
});

Deno.test("the probes and the metrics port answer as the contract says", async () => {
  await using server = await cluster();
  await using app = await start(server);
  assertEquals((await (await fetch(`${app.url}/ready`)).json()).status, "ready");
  assertEquals((await (await fetch(`${app.url}/health`)).json()).service, "zen-watcher");
  const metrics = await fetch(`${app.metricsUrl}/metrics`);
  assertStringIncludes(await metrics.text(), "zen_watcher_build_info{");
  const elsewhere = await fetch(`${app.metricsUrl}/health`);
  assertEquals(elsewhere.status, 404);
  await elsewhere.body?.cancel();
});

Deno.test("the program is not ready, and says why, while the API server is unreachable", async () => {
  await using server = await cluster();
  await server.stop();
  const starting = start(server);
  await server.restart();
  await using app = await starting;
  assertEquals(app.health.ready().ok, true);
});

function namesOf(server: TestCluster): string[] {
  return server.objects(OBSERVATIONS).map((object) => String((object["metadata"] as JsonObject)["name"]))
    .sort();
}
