/** Filters on a real API server: reloaded under load, and ObservationFilters with their conditions. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { startTestApp } from "../support/app.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { playFilterStory } from "../support/filter_story.ts";
import { ownAccount } from "../support/rights.ts";
import { connectionTo, report, transportTo } from "./watching.ts";

const PATH = "/apis/zen.kube-zen.io/v1alpha1/namespaces/zen-system/observationfilters";
const LIMIT_MS = 10_000;

const cluster = await sharedEnvtest();
const crds = ["observation", "observationfilter", "ingester", "observationmapping"];
await cluster.applyCrds(crds.map((name) => new URL(`../../crds/${name}.yaml`, import.meta.url)));

async function connection() {
  return connectionTo(cluster, await ownAccount(cluster));
}

Deno.test("fifty edits of the filters under 200 alerts/s: in force within seconds, the last good one at every moment", async () => {
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

function readyOf({ status }: JsonObject): JsonObject | undefined {
  if (!isObject(status) || !Array.isArray(status.conditions)) return undefined;
  return status.conditions.filter(isObject).find(({ type }) => type === "Ready");
}
