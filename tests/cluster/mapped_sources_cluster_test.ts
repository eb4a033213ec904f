/** The shipped Ingesters on a real API server: taken as they are, in force, and their conditions written. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { systemClock } from "../../src/model/time.ts";
import { createConditions } from "../../src/kube/conditions.ts";
import { createDiscovery } from "../../src/kube/discovery.ts";
import { OBSERVATION_MAPPINGS } from "../../src/mapped/kinds.ts";
import { MappedSources } from "../../src/mapped/runtime.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { OWN_CRDS } from "../support/crds.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { loadExamples } from "../support/examples.ts";
import { transportTo } from "./watching.ts";

const GROUP_PATH = "/apis/zen.kube-zen.io/v1alpha1";

const cluster = await sharedEnvtest();
await cluster.applyCrds(OWN_CRDS);

function pathOf(kind: string | undefined, namespace: string): string {
  const plural = kind === OBSERVATION_MAPPINGS.kind ? OBSERVATION_MAPPINGS.plural : "ingesters";
  return `${GROUP_PATH}/namespaces/${namespace}/${plural}`;
}

function readyOf(object: JsonObject): string {
  const status = isObject(object.status) ? object.status : {};
  const [condition] = Array.isArray(status.conditions) ? status.conditions : [];
  return isObject(condition) ? `${condition.status} ${condition.reason}` : "";
}

Deno.test("every example is applied without a warning, and its condition is written", async () => {
  const namespace = await cluster.createNamespace("ingesters");
  const examples = await loadExamples();
  for (const { apiVersion, kind, metadata: { name }, spec } of examples) {
    const body = { apiVersion, kind, metadata: { name, namespace }, spec } as JsonObject;
    const { warnings, body: stored } = await cluster.expect(
      "POST",
      `${pathOf(kind, namespace)}?fieldValidation=Strict`,
      { body },
    );
    assertEquals(warnings, [], name);
    assertEquals(stored.spec, spec as JsonObject, `nothing of ${name} is pruned`);
  }
  using api = transportTo(cluster);
  const stop = new AbortController();
  const discovery = createDiscovery(api, { wanted: () => [] });
  const conditions = createConditions({ api, clock: systemClock, isLeader: () => true });
  const sources = new MappedSources({
    api,
    discovery,
    conditions,
    builtins: new Map(SOURCES.map((source) => [source.name, source])),
    trust: { ownNamespace: namespace, trustedNamespaces: [], configMapNamespaces: [], reportEngines: [] },
    stateOf: () => "synced",
    clock: systemClock,
    metrics: createMetrics(),
  });
  const running = Promise.all([sources, discovery, conditions].map((part) => part.run(stop.signal)));
  try {
    // Other tests of this cluster install the tools' CRDs.
    const { body: { groups } } = await cluster.expect("GET", "/apis");
    const served = JSON.stringify(groups);
    const stateOf = (group: string) => served.includes(`"${group}"`) ? "True InForce" : "False NotServed";
    const expected = {
      alertmanager: "False SecretMissing",
      "cert-manager": stateOf("cert-manager.io"),
      gatekeeper: stateOf("constraints.gatekeeper.sh"),
      "github-dependabot": "False SecretMissing",
      "kubernetes-events": "True InForce",
      "kubernetes-events-k8s-io": "True InForce",
      kubescape: stateOf("spdx.softwarecomposition.kubescape.io"),
      polaris: "True InForce",
    };
    await eventually("the conditions", async () => {
      const states: Record<string, string> = {};
      for (const { kind, metadata: { name = "" } } of examples) {
        const { body } = await cluster.expect("GET", `${pathOf(kind, namespace)}/${name}`);
        states[name] = readyOf(body);
      }
      assertEquals(states, expected);
      return true;
    });
    const events = sources.active.find(({ name }) => name === "kubernetes-events");
    const type = { group: "", version: "v1", plural: "events", kind: "Event", namespaced: true };
    const feeds = events?.feeds.map((feed) => feed.type === "watch" ? feed.resources : feed.type);
    assertEquals(feeds, [[type]]);
  } finally {
    stop.abort();
    await running;
  }
});

Deno.test("the API server prunes no key of a spec, so that zen-watcher can report a misspelt one", async () => {
  const namespace = await cluster.createNamespace("misspelt");
  const more = { surplus: 1 };
  const webhook = { path: "/x", auth: { type: "none", ...more }, ...more };
  const mapping = { message: ".m", resource: { kind: ".k", ...more }, ...more };
  const filters = { minSeverity: "HIGH", ...more };
  const rateLimit = { requestsPerSecond: 1, burst: 1, ...more };
  const specs: Record<string, JsonObject> = {
    Ingester: { source: "x", type: "webhook", webhook, mapping, filters, rateLimit, ...more },
    ObservationMapping: { sourceName: "y", version: "v1", kind: "Pod", mappings: mapping, ...more },
  };
  for (const [kind, spec] of Object.entries(specs)) {
    const body = { apiVersion: "zen.kube-zen.io/v1alpha1", kind, metadata: { name: "x" }, spec };
    const { body: stored } = await cluster.expect("POST", pathOf(kind, namespace), { body });
    assertEquals(stored.spec, spec);
  }
});

Deno.test("the API server refuses objects that violate the schema", async () => {
  const namespace = await cluster.createNamespace("refused");
  const spec = { source: "Not A Name", type: "webhook", webhook: { path: "/x" }, mapping: {} };
  const body = { apiVersion: "zen.kube-zen.io/v1alpha1", kind: "Ingester", metadata: { name: "x" }, spec };
  const answer = await cluster.ask("POST", pathOf("Ingester", namespace), { body });
  assertEquals(answer.status, 422);
  assertStringIncludes(String(answer.body.message), "spec.source");
});
