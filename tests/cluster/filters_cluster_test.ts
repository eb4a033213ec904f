/** Filters on a real API server: reloaded under load, and ObservationFilters with their conditions. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { startTestApp } from "../support/app.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { playFilterStory } from "../support/filter_story.ts";
import { ownAccount } from "../support/rights.ts";
import { connectionTo, report, transportTo } from "./watching.ts";
import { OWN_CRDS } from "../support/crds.ts";

const PATH = "/apis/zen.kube-zen.io/v1alpha1/namespaces/zen-system/observationfilters";
const LIMIT_MS = 10_000;

const cluster = await sharedEnvtest();
await cluster.applyCrds(OWN_CRDS);

async function connection() {
  return connectionTo(cluster, await ownAccount(cluster));
}

Deno.test("fifty edits of the filters under 200 alerts/s become active within seconds, and the last valid one is always active", async () => {
  using api = transportTo(cluster);
  await using app = await startTestApp({ server: await connection() });
  const { loadedMs, alerts } = await playFilterStory(app, api);
  const sorted = loadedMs.toSorted((a, b) => a - b);
  const worst = sorted.at(-1) ?? Infinity;
  report("an edited ConfigMap in force", {
    medianMs: Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0),
    worstMs: Math.round(worst),
    edits: sorted.length,
    alertsMeanwhile: alerts,
  });
  assert(worst < LIMIT_MS);
});

Deno.test("an ObservationFilter keeps a misspelt key, and its condition names it", async () => {
  await using app = await startTestApp({ server: await connection() });
  const body = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "typo" },
    spec: { targetSource: "falco", minSeverty: "HIGH" },
  };
  await cluster.expect("POST", PATH, { body });
  const told = await eventually(
    "the condition",
    async () => readyOf((await cluster.expect("GET", `${PATH}/typo`)).body),
  );
  assertEquals(told.status, "False");
  assertStringIncludes(String(told.message), 'at spec.minSeverty: unknown key; did you mean "minSeverity"?');
  await cluster.expect("PATCH", `${PATH}/typo`, {
    body: { spec: { minSeverty: null, minSeverity: "HIGH" } },
    contentType: "application/merge-patch+json",
  });
  await eventually(
    "recovery",
    async () => readyOf((await cluster.expect("GET", `${PATH}/typo`)).body)?.status === "True",
  );
  const alert = {
    rule: "x",
    priority: "Notice",
    output: "x",
    output_fields: { "k8s.ns.name": "zen-system", "k8s.pod.name": "p" },
  };
  assertEquals((await app.post("/falco/webhook", alert)).body.filtered, 1);
  await cluster.expect("DELETE", `${PATH}/typo`);
});

Deno.test("the API server refuses an ObservationFilter with a bad value, and takes values in any case", async () => {
  const apply = (spec: JsonObject) =>
    cluster.settled("POST", `${PATH}?dryRun=All`, {
      body: {
        apiVersion: "zen.kube-zen.io/v1alpha1",
        kind: "ObservationFilter",
        metadata: { name: "values" },
        spec: { targetSource: "falco", ...spec },
      },
    });
  const bad: readonly (readonly [JsonObject, string])[] = [
    [{ targetSource: "fal co" }, "spec.targetSource"],
    [{ minSeverity: "XX" }, "spec.minSeverity"],
    [{ mode: "Dry" }, "spec.mode"],
    [{ includeSeverity: ["HIGH", "SEVERE"] }, "spec.includeSeverity[1]"],
    [{ excludeCategories: ["securty"] }, "spec.excludeCategories[0]"],
    [{ includeEventTypes: ["a b"] }, "spec.includeEventTypes[0]"],
    [{ excludeNamespaces: ["Shop_1"] }, "spec.excludeNamespaces[0]"],
    [{ ignoreKinds: ["Po*"] }, "spec.ignoreKinds[0]"],
    [{ excludeRules: ["CVE-*"] }, "spec.excludeRules[0]"],
    [{ includeKinds: [] }, "spec.includeKinds"],
    [{ enabled: "false" }, "spec.enabled"],
  ];
  for (const [spec, path] of bad) {
    const { status, body } = await apply(spec);
    assertEquals(status, 422, JSON.stringify(spec));
    assertStringIncludes(JSON.stringify(body), path);
  }
  const { body } = await apply({ minSeverity: "XX" });
  assertStringIncludes(String(body.message), "expected one of CRITICAL|HIGH|MEDIUM|LOW|UNKNOWN");
  const { status } = await apply({
    targetSource: "Falco",
    minSeverity: "high",
    mode: "SHADOW",
    excludeSeverity: ["Low"],
    includeCategories: ["Security"],
    includeEventTypes: ["Runtime-Threat"],
    excludeNamespaces: ["Kube-*", "*"],
    ignoreKinds: ["Pod"],
    excludeRules: ["Terminal shell in container", "policy/rule"],
  });
  assertEquals(status, 201);
});

Deno.test("with only its own rights the program keeps the last good filters over a restart, and shows what it dropped", async () => {
  const configMaps = "/api/v1/namespaces/zen-system/configmaps";
  const put = async (name: string, data: JsonObject) => {
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data };
    const { status } = await cluster.settled("POST", configMaps, { body });
    if (status === 409) await cluster.expect("PUT", `${configMaps}/${name}`, { body });
  };
  const [filters, statusName] = ["zen-watcher-filter", "zen-watcher-filter-status"];
  await put(statusName, {});
  await put(filters, { "filter.json": '{"sources": {"falco": {"excludeRules": ["left-out"]}}}' });
  const path = `${PATH}/kept`;
  const spec = { targetSource: "falco", excludeRules: ["by-filter"] };
  const body = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "kept" },
    spec,
  };
  await cluster.expect("POST", PATH, { body });
  const alert = (rule: string) => ({
    rule,
    priority: "Notice",
    output: "x",
    output_fields: { "k8s.ns.name": "zen-system", "k8s.pod.name": "p" },
  });
  const stored = async (): Promise<JsonObject> => {
    const { data } = (await cluster.expect("GET", `${configMaps}/${statusName}`)).body;
    return isObject(data) ? data : {};
  };
  const statusOf = async (): Promise<JsonObject> => {
    const { status } = (await cluster.expect("GET", path)).body;
    return isObject(status) ? status : {};
  };
  {
    await using app = await startTestApp({ server: await connection() });
    for (const rule of ["left-out", "by-filter"]) {
      assertEquals((await app.post("/falco/webhook", alert(rule))).body.filtered, 1);
    }
    await eventually("what was left out", async () => {
      return String((await stored())["drops.json"]).includes('"left-out"') &&
        (await statusOf()).dropped === 1;
    });
    await put(filters, { ...await stored(), "filter.json": "{" });
    // A misspelt key is not refused by the API server.
    await cluster.expect("PATCH", path, {
      body: { spec: { excludeRules: null, excludeRule: ["by-filter"] } },
      contentType: "application/merge-patch+json",
    });
    await eventually("the last good spec", async () => isObject((await statusOf()).inForce));
  }
  await using app = await startTestApp({ server: await connection() });
  for (const rule of ["left-out", "by-filter"]) {
    assertEquals((await app.post("/falco/webhook", alert(rule))).body.filtered, 1, rule);
  }
  const { inForce } = await statusOf();
  assertEquals(isObject(inForce) ? inForce.spec : inForce, spec);
  for (const name of [filters, statusName]) await cluster.expect("DELETE", `${configMaps}/${name}`);
  await cluster.expect("DELETE", path);
});

function readyOf({ status }: JsonObject): JsonObject | undefined {
  if (!isObject(status) || !Array.isArray(status.conditions)) return undefined;
  return status.conditions.filter(isObject).find(({ type }) => type === "Ready");
}
