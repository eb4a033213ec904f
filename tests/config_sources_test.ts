/** Findings of a source whose Ingester exists but is not active: their end cannot be observed. */
import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { isObject, type JsonObject } from "../src/model/json.ts";
import { startTestCluster } from "./support/test_cluster.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { INGESTERS } from "../src/mapped/kinds.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { evaluationsOf, startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";
import { loadExamples } from "./support/examples.ts";
import { storedObservation } from "./support/observation.ts";
import { CUSTOM_RESOURCE_DEFINITIONS } from "../src/kube/core_resources.ts";

const STORED = "observations.zen.kube-zen.io";

Deno.test("a broken Ingester, at a restart, resolves nothing of its source", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  // Policy reports name tools too: of those in REPORT_ENGINES they are the view, and of a tool that is nowhere nothing is.
  for (const source of ["my-tool", "kubewarden", "gone-tool"]) {
    const { status: _, ...finding } = storedObservation({
      id: source,
      source,
      eventType: "policy-violation",
      kind: "finding",
      namespace: "shop",
    });
    await api.create(OBSERVATIONS, {
      ...finding,
      metadata: { ...finding.metadata, resourceVersion: "" },
    }, {
      namespace: "shop",
    });
  }
  await api.create(INGESTERS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "my-tool", namespace: "zen-system" },
    spec: {
      source: "my-tool",
      type: "configmap",
      kind: "finding",
      configmap: { namespace: "zen-system", labelSelector: "a=b", key: "x.json" },
      mapping: {
        severity: "high",
        category: "security",
        eventType: "thing",
        message: ".a",
        identity: [".["],
      },
    },
  }, { namespace: "zen-system" });
  await using _app = await startTestApp({ server: server.url, env: { RESOLVE_GRACE_SECONDS: "0" } });
  await eventually(
    "what no report names to be Resolved",
    () => phases(server.objects(STORED)).kubewarden === "Resolved",
  );
  const expected = { "gone-tool": "Active", "kubewarden": "Resolved", "my-tool": "Active" };
  assertEquals(phases(server.objects(STORED)), expected);
});

Deno.test("each rise of an Event's count is a repeat, within one second too, and reading it again is none", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const [example] = await loadExamples("kubernetes-events.yaml");
  if (!example) throw new Error("the example holds no object");
  const { uid: _, ...metadata } = example.metadata;
  await api.create(INGESTERS, { ...example, metadata }, { namespace: "zen-system" });
  const events = { group: "", version: "v1", plural: "events", kind: "Event", namespaced: true };
  const lastTimestamp = `${new Date().toISOString().slice(0, 19)}Z`;
  const involvedObject = { apiVersion: "v1", kind: "Pod", namespace: "shop", name: "web-1" };
  const event = { type: "Warning", reason: "BackOff", message: "m", involvedObject, lastTimestamp, count: 1 };
  await api.create(events, { metadata: { name: "web-1.1" }, ...event }, { namespace: "shop" });
  await using app = await startTestApp({
    server: server.url,
    env: { RESYNC_INTERVAL: "200ms", DISCOVERY_INTERVAL: "100ms" },
  });
  const occurrences = () =>
    // The program itself writes Events too.
    server.objects(STORED).filter(({ spec }) => isObject(spec) && spec.rule === "BackOff").map(({ status }) =>
      isObject(status) ? status.occurrences ?? 1 : 1
    );
  await eventually("the first", () => occurrences().length === 1);
  for (const count of [2, 3]) {
    await api.patch(events, "web-1.1", { count }, { namespace: "shop", type: "merge" });
    await eventually(`${count} occurrences`, () => occurrences().join() === `${count}`, {
      timeoutMs: 60_000,
    });
  }
  const before = await evaluationsOf(app, "kubernetes-events");
  await eventually(
    "five evaluations more",
    async () => await evaluationsOf(app, "kubernetes-events") >= before + 5,
    { timeoutMs: 60_000 },
  );
  assertEquals(occurrences(), [3]);
});

const CONSTRAINTS = {
  group: "constraints.gatekeeper.sh",
  version: "v1beta1",
  plural: "k8srequiredlabels",
  kind: "K8sRequiredLabels",
  namespaced: false,
};

Deno.test("violations that Gatekeeper's cut list no longer shows stay Active, and end once the list is whole", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const { group, version, plural, kind } = CONSTRAINTS;
  const openAPIV3Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  await api.create(CUSTOM_RESOURCE_DEFINITIONS, {
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Cluster",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }],
    },
  });
  const [example] = await loadExamples("gatekeeper.yaml");
  if (!example) throw new Error("the example holds no object");
  const { uid: _, ...metadata } = example.metadata;
  await api.create(INGESTERS, { ...example, metadata }, { namespace: "zen-system" });
  const status = (names: string, totalViolations: number) => ({
    totalViolations,
    violations: [...names].map((name) => ({
      ...{
        kind: "Pod",
        name,
        namespace: "shop",
        message: `${name} lacks a label`,
        enforcementAction: "deny",
      },
    })),
  });
  await api.create(CONSTRAINTS, {
    apiVersion: `${group}/${version}`,
    kind,
    metadata: { name: "labels" },
    status: status("abc", 25),
  });
  const env = { RESOLVE_GRACE_SECONDS: "0", RESYNC_INTERVAL: "200ms", DISCOVERY_INTERVAL: "100ms" };
  await using app = await startTestApp({ server: server.url, env });
  const pods = (phase: string) =>
    server.objects(STORED).filter(({ status }) => isObject(status) && status.phase === phase)
      .map(({ spec }) => isObject(spec) && isObject(spec.resource) ? spec.resource.name : "").sort().join("");
  await eventually("the first audit", () => pods("Active") === "abc");
  const audit = async (names: string, total: number) => {
    await api.patch(CONSTRAINTS, "labels", { status: status(names, total) }, { type: "merge" });
  };
  await audit("def", 25);
  await eventually("the second audit", () => pods("Active") === "abcdef");
  const before = await evaluationsOf(app, "gatekeeper");
  await eventually(
    "five evaluations more",
    async () => await evaluationsOf(app, "gatekeeper") >= before + 5,
    { timeoutMs: 60_000 },
  );
  assertEquals([pods("Active"), pods("Resolved")], ["abcdef", ""]);
  await audit("def", 3);
  await eventually("the end of what is gone", () => pods("Resolved") === "abc", { timeoutMs: 60_000 });
  assertEquals(pods("Active"), "def");
});

Deno.test("after a restart the findings of an Ingester whose CRD is uninstalled expire without being Resolved", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  for (const source of ["uninstalled", "broken"]) {
    const { status: _, ...finding } = storedObservation({
      id: source,
      source,
      eventType: "thing",
      kind: "finding",
      namespace: "shop",
      ttlSeconds: 1,
    });
    const metadata = { ...finding.metadata, resourceVersion: "" };
    await api.create(OBSERVATIONS, { ...finding, metadata }, { namespace: "shop" });
    await api.create(INGESTERS, {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "Ingester",
      metadata: { name: source, namespace: "zen-system" },
      spec: {
        source,
        type: "informer",
        informer: { group: "tool.example", version: "v1", resource: "things" },
        mapping: {
          severity: "high",
          eventType: "thing",
          message: ".a",
          identity: [source === "broken" ? ".[" : ".a"],
        },
      },
    }, { namespace: "zen-system" });
  }
  const env = { RESOLVE_GRACE_SECONDS: "0", GC_INTERVAL: "100ms", DISCOVERY_INTERVAL: "100ms" };
  await using app = await startTestApp({ server: server.url, env });
  const seen = new Set<unknown>();
  await eventually("the TTL to end what is uninstalled", () => {
    const now = phases(server.objects(STORED));
    seen.add(now.uninstalled);
    return !("uninstalled" in now);
  });
  assertEquals(seen.has("Resolved"), false);
  const runs = async () => await app.metric("gc_runs_total");
  const before = await runs();
  await eventually("two more collections", async () => await runs() >= before + 2);
  assertEquals(phases(server.objects(STORED)), { broken: "Active" }, "the end of this one cannot be known");
});

function phases(observations: readonly JsonObject[]): Record<string, unknown> {
  return Object.fromEntries(observations.map(({ spec, status }) => [
    isObject(spec) ? String(spec.source) : "",
    isObject(status) ? status.phase : "",
  ]));
}
