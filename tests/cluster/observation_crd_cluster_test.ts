import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { type AskOptions, type ClusterAnswer, type RealCluster } from "../support/cluster.ts";
import { OWN_CRDS } from "../support/crds.ts";
import { sharedEnvtest } from "../support/envtest.ts";

const GROUP_PATH = "/apis/zen.kube-zen.io/v1";
const MERGE = "application/merge-patch+json";

const cluster = await sharedEnvtest();
const warnings = await cluster.applyCrds(OWN_CRDS);

const SPEC: JsonObject = {
  source: "trivy",
  category: "security",
  severity: "CRITICAL",
  eventType: "vulnerability",
  message: "CVE-2024-0001 in openssl",
  resource: { apiVersion: "apps/v1", kind: "Deployment", name: "web", namespace: "shop" },
  details: {
    vulnerabilityID: "CVE-2024-0001",
    score: 9.8,
    nested: { list: [1, "two", null, { deep: true }] },
  },
  detectedAt: "2026-01-02T03:04:05Z",
  ttlSecondsAfterCreation: 3600,
};

Deno.test("the CRDs are applied without a warning, twice", async () => {
  assert(OWN_CRDS.some((file) => file.pathname.endsWith("/observation.yaml")));
  assertEquals(warnings, []);
  assertEquals(await cluster.applyCrds(OWN_CRDS), []);
});

Deno.test("the API server finds nothing wrong with the CRDs' schemas", async () => {
  const { body } = await cluster.expect("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
  const crds = (Array.isArray(body.items) ? body.items : []).filter(isObject)
    .filter(({ spec }) => isObject(spec) && spec.group === "zen.kube-zen.io");
  assertEquals(crds.length, OWN_CRDS.length);
  for (const { spec, status } of crds) {
    const conditions = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
    const states = Object.fromEntries(conditions.filter(isObject).map((each) => [each.type, each.status]));
    assertEquals(states, { Established: "True", NamesAccepted: "True" }, JSON.stringify(spec));
  }
});

Deno.test("discovery names Observations as kubectl users type them", async () => {
  const { body } = await cluster.expect("GET", GROUP_PATH);
  const resources = (Array.isArray(body.resources) ? body.resources : []).filter(isObject);
  const observations = resources.find(({ name }) => name === "observations");
  assertEquals(observations?.kind, "Observation");
  assertEquals(observations?.namespaced, true);
  assertEquals(observations?.shortNames, ["obs", "zenevents"]);
  assertEquals(observations?.categories, ["zen"]);
  assert(resources.some(({ name }) => name === "observations/status"), "status is a subresource");
});

Deno.test("a fresh Observation is Active, seen once and processed, without a write of its status", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  const created = await space.create("fresh");
  assertEquals(created.status, 201);
  for (const { body } of [created, await space.get("fresh")]) {
    assertEquals(body.status, { phase: "Active", occurrences: 1, processed: true });
    assertEquals(body.spec, SPEC);
  }
});

const REFUSED: readonly [field: string, value: JsonObject[string]][] = [
  ["source", "Trivy"],
  ["source", "-trivy"],
  ["source", "trivy-"],
  ["source", ""],
  ["source", "a".repeat(64)],
  ["source", null],
  ["category", "Security"],
  ["category", null],
  ["severity", "SEVERE"],
  ["severity", "critical"],
  ["severity", null],
  ["eventType", "Vulnerability"],
  ["eventType", "a--b"],
  ["eventType", "a".repeat(64)],
  ["eventType", null],
  ["message", "m".repeat(1025)],
  ["resource", "web"],
  ["details", "text"],
  ["details", ["list"]],
  ["detectedAt", "yesterday"],
  ["ttlSecondsAfterCreation", 0],
  ["ttlSecondsAfterCreation", 31_536_001],
  ["ttlSecondsAfterCreation", 1.5],
];

Deno.test("the API server refuses values that the schema does not allow, and names the field", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  for (const [field, value] of REFUSED) {
    const { [field]: _, ...rest } = SPEC;
    const { status, body } = await space.create(
      "refused",
      value === null ? rest : { ...rest, [field]: value },
    );
    assertEquals(status, 422, `${field}: ${JSON.stringify(value)}`);
    assertStringIncludes(String(body.message), `spec.${field}`);
  }
  const bare = await space.ask("POST", "", { body: { ...object("bare") } });
  assertEquals(bare.status, 422);
  assertStringIncludes(String(bare.body.message), "spec");
});

Deno.test("the API server takes the limits themselves", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  const limits: JsonObject[] = [
    { source: "a".repeat(63), eventType: `a${"-b".repeat(31)}`, message: "€".repeat(1024) },
    { source: "0", eventType: "a_b-c", ttlSecondsAfterCreation: 1 },
    { ttlSecondsAfterCreation: 31_536_000, details: {} },
  ];
  for (const [index, change] of limits.entries()) {
    const { status, body } = await space.create(`limit-${index}`, { ...SPEC, ...change });
    assertEquals(status, 201, JSON.stringify(body));
  }
});

Deno.test("undeclared fields are pruned, those inside details are kept", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  const { body } = await space.create("pruned", { ...SPEC, undeclared: "x" });
  assertEquals(body.spec, SPEC);
});

const IMMUTABLE: readonly [what: string, patch: JsonObject][] = [
  ["source changed", { source: "falco" }],
  ["category changed", { category: "cost" }],
  ["severity changed", { severity: "LOW" }],
  ["eventType changed", { eventType: "other" }],
  ["detectedAt changed", { detectedAt: "2026-01-02T03:04:06Z" }],
  ["detectedAt removed", { detectedAt: null }],
  ["resource changed", { resource: { name: "api" } }],
  ["a field of resource removed", { resource: { namespace: null } }],
  ["resource removed", { resource: null }],
];

Deno.test("what identifies a stored Observation never changes, nor is it removed", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  await space.create("fixed");
  for (const [what, spec] of IMMUTABLE) {
    const { status, body } = await space.patch("fixed", { spec });
    assertEquals(status, 422, what);
    assertStringIncludes(String(body.message), "spec");
  }
  assertEquals((await space.get("fixed")).body.spec, SPEC);
});

Deno.test("resource and detectedAt cannot be added later", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  const { resource, detectedAt, ...rest } = SPEC;
  await space.create("bare", rest);
  for (const spec of [{ resource }, { detectedAt }, { resource: {} }]) {
    assertEquals((await space.patch("bare", { spec } as JsonObject)).status, 422, JSON.stringify(spec));
  }
  await space.create("partial", { ...rest, resource: { kind: "Node" } });
  assertEquals((await space.patch("partial", { spec: { resource: { name: "node-1" } } })).status, 422);
});

Deno.test("message, details and TTL of a stored Observation may be replaced", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  await space.create("mutable");
  const spec = { message: "now with a fix", details: { fixedVersion: "1.2.3" }, ttlSecondsAfterCreation: 60 };
  const { status, body } = await space.patch("mutable", { spec });
  assertEquals(status, 200, JSON.stringify(body));
  assertEquals(isObject(body.spec) && body.spec.message, "now with a fix");
});

Deno.test("status is written through its subresource alone", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  await space.create("status", SPEC, { status: { phase: "Resolved", occurrences: 7 } });
  assertEquals((await space.get("status")).body.status, { phase: "Active", occurrences: 1, processed: true });
  await space.patch("status", { status: { phase: "Resolved" } });
  assertEquals((await space.get("status")).body.status, { phase: "Active", occurrences: 1, processed: true });

  const written = { phase: "Resolved", occurrences: 3, resolvedAt: "2026-01-02T03:04:05Z" };
  assertEquals((await space.patch("status/status", { status: written })).status, 200);
  assertEquals((await space.get("status")).body.status, { ...written, processed: true });
  for (
    const status of [{ phase: "Gone" }, { occurrences: 0 }, { occurrences: "many" }, { lastSeenAt: "now" }]
  ) {
    assertEquals((await space.patch("status/status", { status })).status, 422, JSON.stringify(status));
  }
});

Deno.test("Observations are selected by every selectable field; Kubernetes before 1.31 refuses to", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  if (await cluster.minorVersion() < 31) {
    const { status, body } = await space.ask("GET", "?fieldSelector=spec.source%3Dtrivy");
    assertEquals([status, body.message], [400, "field label not supported: spec.source"]);
    return;
  }
  await space.create("one");
  await space.create("two", {
    ...SPEC,
    source: "falco",
    severity: "LOW",
    category: "operations",
    eventType: "runtime-threat",
    resource: { kind: "Pod", name: "api", namespace: "bank" },
  });
  await space.patch("two/status", { status: { phase: "Resolved" } });
  const selectors = [
    ["spec.source", "trivy", "falco"],
    ["spec.severity", "CRITICAL", "LOW"],
    ["spec.category", "security", "operations"],
    ["spec.eventType", "vulnerability", "runtime-threat"],
    ["spec.resource.kind", "Deployment", "Pod"],
    ["spec.resource.name", "web", "api"],
    ["spec.resource.namespace", "shop", "bank"],
    ["status.phase", "Active", "Resolved"],
  ];
  for (const [field, first, second] of selectors) {
    assertEquals(await space.names(`${field}=${first}`), ["one"], `${field}=${first}`);
    assertEquals(await space.names(`${field}=${second}`), ["two"], `${field}=${second}`);
    assertEquals(await space.names(`${field}!=${second}`), ["one"], `${field}!=${second}`);
  }
});

Deno.test("kubectl's table shows what, where and since when, and more in the wide form", async () => {
  await using space = await Observations.inNewNamespace(cluster);
  await space.create("shown");
  const { body } = await space.ask("GET", "", { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
  const columns = (Array.isArray(body.columnDefinitions) ? body.columnDefinitions : []).filter(isObject);
  const named = (priority: number) =>
    columns.filter((each) => each.priority === priority).map(({ name }) => name);
  assertEquals(named(0), ["Name", "Severity", "Phase", "Age", "Resource", "Rule"]);
  assertEquals(named(1), ["Kind", "Count", "Source", "Type", "Category", "Resolved", "Why", "Message"]);
  const [row] = (Array.isArray(body.rows) ? body.rows : []).filter(isObject);
  const cells = Array.isArray(row?.cells) ? row.cells : [];
  assertEquals(cells.slice(0, 3), ["shown", "CRITICAL", "Active"]);
  assertEquals(cells.slice(4, 8), ["web", null, "Deployment", 1]);
});

/** The Observations of a namespace of one test, gone when it ends. */
class Observations implements AsyncDisposable {
  readonly #cluster: RealCluster;
  readonly #path: string;

  private constructor(cluster: RealCluster, namespace: string) {
    this.#cluster = cluster;
    this.#path = `${GROUP_PATH}/namespaces/${namespace}/observations`;
  }

  static async inNewNamespace(cluster: RealCluster): Promise<Observations> {
    return new Observations(cluster, await cluster.createNamespace("crd"));
  }

  ask(method: string, rest: string, options?: AskOptions): Promise<ClusterAnswer> {
    return this.#cluster.settled(method, this.#path + rest, options);
  }

  create(name: string, spec: JsonObject = SPEC, more: JsonObject = {}): Promise<ClusterAnswer> {
    return this.ask("POST", "", { body: { ...object(name), spec, ...more } });
  }

  get(name: string): Promise<ClusterAnswer> {
    return this.ask("GET", `/${name}`);
  }

  patch(nameOrStatus: string, patch: JsonObject): Promise<ClusterAnswer> {
    return this.ask("PATCH", `/${nameOrStatus}`, { body: patch, contentType: MERGE });
  }

  async names(fieldSelector: string): Promise<string[]> {
    const { status, body } = await this.ask("GET", `?fieldSelector=${encodeURIComponent(fieldSelector)}`);
    assertEquals(status, 200, JSON.stringify(body));
    const items = (Array.isArray(body.items) ? body.items : []).filter(isObject);
    return items.map(({ metadata }) => isObject(metadata) ? String(metadata.name) : "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ask("DELETE", "");
  }
}

function object(name: string): JsonObject {
  return { apiVersion: "zen.kube-zen.io/v1", kind: "Observation", metadata: { name } };
}
