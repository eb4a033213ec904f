/** What filters leave out, and what stays in force over restarts: the whole program on the embedded API server. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startApp } from "../src/app.ts";
import { filterStatusName } from "../src/filters/filter_status.ts";
import { CONFIG_MAPS } from "../src/kube/core_resources.ts";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import { OBSERVATION_FILTERS } from "../src/filters/observation_filters.ts";
import { fixedConnection, hasStatus, type ResourceType } from "../src/kube/api.ts";
import { INGESTERS } from "../src/mapped/kinds.ts";
import { at, isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { readSettings } from "../src/settings.ts";
import type { TestApp } from "./support/app.ts";
import { type DevWorld, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { kubeconfigOf, zen } from "./support/readers.ts";
import { apiServer, status } from "./support/api_server.ts";

const OWN = { namespace: "zen-system" };
const STATUS_NAME = filterStatusName("default");
const FILTERS = "zen-watcher-filter";

/** A world as the chart leaves it: with the ConfigMap for the last good filters. */
async function startWorld(): Promise<DevWorld> {
  const world = await startDevWorld({ namespaces: ["shop"] });
  await world.api.create(CONFIG_MAPS, { metadata: { name: STATUS_NAME, ...OWN } }, OWN);
  return world;
}

function typed({ group, version, kind }: ResourceType) {
  return { apiVersion: `${group}/${version}`, kind };
}

async function putFilters(world: DevWorld, text: string): Promise<void> {
  const object = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: FILTERS, ...OWN },
    data: { "filter.json": text },
  };
  await world.api.create(CONFIG_MAPS, object, OWN).catch(async (error) => {
    if (!hasStatus(error, 409)) throw error;
    await world.api.replace(CONFIG_MAPS, object, OWN);
  });
}

async function putFilter(world: DevWorld, name: string, spec: JsonObject): Promise<void> {
  const object = { ...typed(OBSERVATION_FILTERS), metadata: { name, ...OWN }, spec };
  await world.api.create(OBSERVATION_FILTERS, object, OWN).catch(async (error) => {
    if (!hasStatus(error, 409)) throw error;
    await world.api.patch(OBSERVATION_FILTERS, name, { spec }, { ...OWN, type: "merge" });
  });
}

function alertOf(rule: string, pod = "web-7d4b9c6f5b-x2x4z"): JsonObject {
  return {
    rule,
    priority: "Warning",
    output: "Something happened",
    output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": pod },
  };
}

const filteredOf = async (app: TestApp, rule: string) =>
  (await app.post("/falco/webhook", alertOf(rule))).body.filtered;

Deno.test("after a restart with invalid filters the same events are dropped, without a gap", async () => {
  await using world = await startWorld();
  await putFilters(world, '{"sources": {"falco": {"excludeRules": ["by-configmap"]}}}');
  await putFilter(world, "f", { targetSource: "falco", excludeRules: ["by-filter"] });
  const rules = ["by-configmap", "by-filter"];
  const stored = async (name: string, ...path: string[]) => {
    const type = name === "f" ? OBSERVATION_FILTERS : CONFIG_MAPS;
    return at(JSON.parse(JSON.stringify(await world.api.get(type, name, OWN))) as Json, ...path);
  };
  {
    await using app = await world.replica("one");
    for (const rule of rules) assertEquals(await filteredOf(app, rule), 1, rule);
    await eventually("the last good filters", async () => await stored(STATUS_NAME, "data", "lastGood"));
    await putFilters(world, '{"sources": {"falco": {"excludeRules": "by-configmap"}}}');
    await putFilter(world, "f", { targetSource: "falco", excludeRules: null, minSeverity: "XX" });
    await eventually("the last good spec", async () => await stored("f", "status", "inForce"));
    for (const rule of rules) assertEquals(await filteredOf(app, rule), 1, rule);
  }
  for (const name of ["two", "three"]) {
    await using app = await world.replica(name);
    for (const rule of rules) assertEquals(await filteredOf(app, rule), 1, `${rule} after a restart`);
    assertEquals(await filteredOf(app, "other"), 0);
  }
  assertEquals(world.observations().map(({ spec }) => isObject(spec) && spec.rule), ["other"]);
});

Deno.test("nothing is taken in before the filters are read: a request waits, and gets 503 at its deadline", async () => {
  await using world = await startWorld();
  await putFilters(world, '{"sources": {"falco": {"enabled": false}}}');
  const fault = world.server.faults.add({ path: "/configmaps", effect: { kind: "status", status: 503 } });
  const env: Readonly<Record<string, string>> = {
    WATCHER_ADDRESS: "127.0.0.1",
    WATCHER_PORT: "0",
    METRICS_PORT: "0",
    SHUTDOWN_DELAY: "0s",
    FALCO_ACK_TIMEOUT: "1s",
  };
  const app = await startApp({
    settings: readSettings((name) => env[name]),
    connection: fixedConnection({ server: world.server.url }),
  });
  try {
    const post = async () => {
      const response = await fetch(`${app.url}/falco/webhook`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(alertOf("R")),
      });
      return { status: response.status, body: await response.json() };
    };
    await eventually("the webhook to be known", async () => (await post()).body.received === 1);
    assertEquals((await post()).status, 503);
    assert(!app.health.ready().ok);
    fault.remove();
    await eventually("readiness", () => app.health.ready().ok);
    const { status, body } = await post();
    assertEquals([status, body.filtered], [200, 1]);
    assertEquals(world.observations(), []);
  } finally {
    await app.stop();
  }
});

Deno.test("two replicas add up a document's drops, also while both write at once and one of them stops", async () => {
  await using world = await startWorld();
  await putFilter(world, "f", { targetSource: "falco", enabled: false });
  const dropped = async () => {
    const { status } = await world.api.get(OBSERVATION_FILTERS, "f", OWN);
    return isObject(status) ? status.dropped : undefined;
  };
  await using one = await world.replica("one");
  {
    await using two = await world.replica("two");
    await Promise.all(
      [one, two].flatMap((app) => Array.from({ length: 5 }, (_, index) => filteredOf(app, `r${index}`))),
    );
    await eventually("the first shares", async () => await dropped() === 10);
    // The next write is due in 30 s: the replica that stops writes it at once.
    for (let index = 0; index < 3; index++) await filteredOf(two, "late");
  }
  assertEquals(await dropped(), 13);
});

/** What `why` says, without the times. */
async function why(world: DevWorld, rule: string, workload = "web"): Promise<string> {
  const { code, out, err } = await zen(["why", "--rule", rule, "--workload", workload, "-n", "shop"], world);
  assertEquals([code, err], [0, ""]);
  return out.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME");
}

Deno.test("why answers by one command why a finding is not there: which filter left it out, accepted, resolved, or never reported", async () => {
  await using world = await startWorld();
  await putFilters(world, '{"sources": {"falco": {"excludeRules": ["CVE-1"], "minSeverity": "MEDIUM"}}}');
  await putFilter(world, "no-two", { targetSource: "falco", expression: 'details.rule != "CVE-2"' });
  await putFilter(world, "later", { targetSource: "falco", excludeRules: ["CVE-5"], mode: "Shadow" });
  await world.api.create(INGESTERS, {
    ...typed(INGESTERS),
    metadata: { name: "scanner", ...OWN },
    spec: {
      source: "scanner",
      type: "webhook",
      webhook: { path: "/ingest/scanner", auth: { type: "none" } },
      mapping: {
        severity: ".severity",
        message: ".message",
        rule: ".rule",
        resolvedWhen: "has(item.fixed)",
        resource: { kind: "Deployment", name: ".workload", namespace: "shop" },
      },
      filters: { minSeverity: "HIGH" },
    },
  }, OWN);
  await using app = await world.replica("one");
  const scan = (rule: string, more: JsonObject = {}) =>
    app.post("/ingest/scanner", { rule, severity: "LOW", message: rule, workload: "web", ...more });
  await eventually("the Ingester", async () => (await scan("CVE-3")).body.filtered === 1);
  for (const rule of ["CVE-1", "CVE-2"]) await app.post("/falco/webhook", alertOf(rule));
  await scan("CVE-4", { severity: "HIGH" });
  await scan("CVE-4", { severity: "HIGH", fixed: true });
  await app.post("/falco/webhook", alertOf("CVE-5"));
  await scan("CVE-7", { severity: "HIGH" });
  await world.api.create(OBSERVATION_EXCEPTIONS, {
    ...typed(OBSERVATION_EXCEPTIONS),
    metadata: { name: "not-loaded", namespace: "shop" },
    spec: {
      match: { rules: ["CVE-7"] },
      reason: "accepted_risk",
      justification: "the module is not loaded",
      expiresAt: new Date(Date.now() + 30 * 86_400_000).toISOString(),
    },
  }, { namespace: "shop" });

  const pod = "Pod/web-7d4b9c6f5b-x2x4z of shop";
  const sentences: Readonly<Record<string, string>> = {
    "CVE-1": `At TIME ConfigMap zen-system/zen-watcher-filter sources.falco left out CVE-1 on ${pod}, ` +
      "MEDIUM from falco: in excludeRules.",
    "CVE-2": `At TIME ObservationFilter zen-system/no-two left out CVE-2 on ${pod}, MEDIUM from falco: ` +
      "the document's expression is false.",
    "CVE-3": "At TIME Ingester zen-system/scanner spec.filters left out CVE-3 on Deployment/web of shop, " +
      "LOW from scanner: below a document's minSeverity.",
    "CVE-4":
      "Phase Resolved since TIME (SaidResolved). Its source no longer reports it. It is deleted after TIME " +
      "(RESOLVED_TTL_SECONDS=2592000 since it was resolved)",
    "CVE-7": "Phase Accepted. It ends when its tool says so, or it is deleted after TIME " +
      "(ttlSecondsAfterCreation=604800 since it was last seen)",
    "CVE-6": "It is not among the last events that a filter or the storage budget left out.",
  };
  for (const [rule, sentence] of Object.entries(sentences)) {
    await eventually(`why of ${rule}`, async () => (await why(world, rule)).includes(sentence)).catch(
      async () => {
        assertStringIncludes(await why(world, rule), sentence);
      },
    );
  }
  const accepted = await why(world, "CVE-7");
  assertStringIncludes(accepted, "ObservationException shop/not-loaded accepts it since TIME until TIME.");
  assertStringIncludes(accepted, "accepted_risk: the module is not loaded");
  const never = await why(world, "CVE-6", "nothing");
  assertStringIncludes(never, 'No Observation has the rule "CVE-6" on the workload "nothing" in "shop".');
  assertStringIncludes(never, "No source reports anything on this workload");
  assertStringIncludes(
    never,
    "Filters in force may leave it out:\n" +
      "    ConfigMap zen-system/zen-watcher-filter sources.falco: by severity\n" +
      "    ObservationFilter zen-system/no-two: by expression\n" +
      "    Ingester zen-system/scanner spec.filters: by severity\n",
  );
  assertStringIncludes(
    await why(world, "CVE-1", "api"),
    "  ConfigMap zen-system/zen-watcher-filter sources.falco leaves it out of what falco reports: " +
      "cve-1 is in excludeRules.\n",
  );

  const { documents, drops, missing } = await eventually("all statuses", async () => {
    const { out, code } = await zen(["dropped", "-o", "json", "-n", "shop"], world);
    assertEquals(code, 0);
    const read = JSON.parse(out);
    return read.documents.some(({ wouldDrop }: JsonObject) => wouldDrop === 1) && read;
  });
  assertEquals(missing, []);
  const countOf = (
    { document, mode, dropped, wouldDrop }: JsonObject,
  ) => [document, mode, dropped, wouldDrop];
  assertEquals(documents.map(countOf), [
    ["ConfigMap zen-system/zen-watcher-filter sources.falco", "Enforce", 1, 0],
    ["ObservationFilter zen-system/later", "Shadow", 0, 1],
    ["ObservationFilter zen-system/no-two", "Enforce", 1, 0],
    ["Ingester zen-system/scanner spec.filters", "Enforce", 1, 0],
  ]);
  assertEquals(drops.map(({ rule }: JsonObject) => rule).sort(), ["CVE-1", "CVE-2", "CVE-3", "CVE-5"]);
  const falco = await zen(["dropped", "--source", "falco"], world);
  assertStringIncludes(falco.out, "exclude_rules (not yet: Shadow)");
  assert(!falco.out.includes("CVE-3"));
  const csv = await zen(["dropped", "-o", "csv", "--source", "scanner"], world);
  const [header, record] = csv.out.split("\n");
  assertEquals(header, "time,document,mode,source,severity,rule,namespace,resource,reason");
  assertStringIncludes(record ?? "", ",scanner,LOW,CVE-3,shop,Deployment/web,min_severity");
});

Deno.test("why and explain --live judge by the filters of tenants that are in force, whatever the user's own settings are", async () => {
  await using world = await startWorld();
  const tenant = { namespace: "shop" };
  await world.api.create(OBSERVATION_FILTERS, {
    ...typed(OBSERVATION_FILTERS),
    metadata: { name: "no-one", ...tenant },
    spec: { targetSource: "falco", excludeRules: ["CVE-1"] },
  }, tenant);
  const explained = async () => {
    const args = ["explain", "--source", "falco", "--live", "-f", "-", "-o", "json"];
    const stdin = JSON.stringify(alertOf("CVE-1"));
    const { code, out, err } = await zen(args, { kubeconfig: world.kubeconfig, stdin });
    assertEquals([code, err], [0, ""]);
    return JSON.parse(out).events[0].reason;
  };
  const leftOut =
    "  ObservationFilter shop/no-one leaves it out of what falco reports: cve-1 is in excludeRules.\n";
  const condition = async () => {
    const { status } = await world.api.get(OBSERVATION_FILTERS, "no-one", tenant);
    const [ready] = (isObject(status) && status.conditions) as JsonObject[] || [];
    return ready ? `${ready.status} ${ready.reason}: ${ready.message}` : "";
  };
  const off = "only zen-system is obeyed while TENANT_FILTERS is off, this is shop";
  for (const name of ["one", "three"]) {
    {
      await using app = await world.replica(name);
      await eventually("it to be off", async () => await condition() === `False NamespaceNotTrusted: ${off}`);
      assertEquals(await filteredOf(app, "CVE-1"), 0);
      assert(!(await why(world, "CVE-1", "api")).includes(leftOut), "it is off");
      assertEquals(await explained(), null);
      assertStringIncludes((await zen(["dropped", "-o", "json"], world)).out, off);
    }
    await using app = await world.replica(`${name} with tenants`, { env: { TENANT_FILTERS: "true" } });
    await eventually("the filter", async () => await filteredOf(app, "CVE-1") === 1);
    await eventually("its status", async () => (await why(world, "CVE-1", "api")).includes(leftOut));
    assertEquals(await condition(), "True Loaded: In force");
    assertEquals(await explained(), "exclude_rules");
    assertStringIncludes(await why(world, "CVE-1"), "    ObservationFilter shop/no-one: drop: ");
  }
});

Deno.test("dropped and why show events that the storage budget refused", async () => {
  await using world = await startWorld();
  await using app = await world.replica("one", { env: { OBSERVATION_MAX_TOTAL: "3" } });
  for (const rule of ["kept-1", "kept-2", "kept-3"]) assertEquals(await filteredOf(app, rule), 0);
  await eventually("the budget to be used up", () => world.observations().length >= 3);
  const refused = ["lesser-1", "lesser-2"];
  for (const rule of refused) {
    const { body } = await app.post("/falco/webhook", { ...alertOf(rule), priority: "Informational" });
    assertEquals(body.filtered, 1, JSON.stringify(body));
  }
  const { documents, drops } = await eventually("the status", async () => {
    const read = JSON.parse((await zen(["dropped", "-o", "json"], world)).out);
    return read.documents.length > 0 && read;
  });
  assertEquals([documents[0].document, documents[0].dropped], ["storage budget", refused.length]);
  assertEquals(drops.map(({ rule }: JsonObject) => rule).sort(), refused);
  assertStringIncludes(
    await why(world, refused[0] ?? ""),
    `At TIME the storage budget left out ${
      refused[0]
    } on Pod/web-7d4b9c6f5b-x2x4z of shop, LOW from falco: ` +
      "the storage budget is used up, and this event would be the next to be deleted.",
  );
});

Deno.test("dropped chooses by time, and names the rights that are missing", async () => {
  const drop = (time: string) => ({ time, source: "trivy", severity: "LOW", reason: "min_severity" });
  await using server = apiServer(({ path }) => {
    if (path.endsWith("/namespaces/zen-system/observationfilters")) {
      return Response.json({
        metadata: {},
        items: [{
          metadata: { name: "f", namespace: "zen-system" },
          spec: { targetSource: "trivy" },
          status: { dropped: 7, lastDrops: [drop("2026-11-22T05:30:00Z"), drop("2026-11-20T00:00:00Z")] },
        }],
      });
    }
    return status(403, { message: `no ${path}` });
  });
  await using file = await kubeconfigOf(server.url);
  const { code, out, err } = await zen(["dropped", "--since", "1h", "-o", "json"], { kubeconfig: file.path });
  assertEquals(code, 0);
  const { drops, documents } = JSON.parse(out);
  assertEquals(drops.map(({ time }: JsonObject) => time), ["2026-11-22T05:30:00Z"]);
  assertEquals(documents[0].dropped, 7);
  assertStringIncludes(documents[0].note, "not in force: no zen-watcher has read it");
  assertEquals(err.trim().split("\n"), [
    "Left out: you may not list observationfilters.zen.kube-zen.io",
    "Left out: you may not list ingesters.zen.kube-zen.io",
    'Left out: you may not list ingesters.zen.kube-zen.io in namespace "zen-system"',
    'Left out: you may not get configmaps "zen-watcher-filter-status" in namespace "zen-system"',
  ]);
});

Deno.test("why and explain --live work with the rights of the controller's namespace alone, and say once what is not read", async () => {
  await using server = apiServer(({ path }) => {
    if (path.includes("/configmaps/")) return status(404);
    const isAllowed = path.includes("/namespaces/zen-system/") || path.endsWith("/observations");
    return isAllowed ? Response.json({ metadata: {}, items: [] }) : status(403, { message: `no ${path}` });
  });
  await using file = await kubeconfigOf(server.url);
  const explained = await zen(["explain", "--source", "falco", "--live", "-f", "-"], {
    kubeconfig: file.path,
    stdin: JSON.stringify(alertOf("CVE-1")),
  });
  assertEquals(explained.code, 0, explained.err);
  const unread = ["observationfilters", "ingesters", "observationmappings"].map((plural) =>
    `you may not list ${plural}.zen.kube-zen.io`
  );
  for (const what of unread) assertStringIncludes(explained.err, `Left out: ${what}\n`);
  const { code, out } = await zen(["why", "--rule", "CVE-1"], { kubeconfig: file.path });
  assertEquals(code, 0);
  for (const what of unread) assertEquals(out.split(`Not looked at: ${what}.\n`).length, 2, out);
});
