/** The whole program as the chart's own ServiceAccount, with the chart's rules and admission policy and no others. */
import { assert, assertEquals } from "@std/assert";
import { parse, parseAllDocuments } from "yaml";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import {
  createNamespaces,
  feedSamples,
  feedWebhooks,
  installCrds,
  tally,
} from "../../scripts/support/feed.ts";
import expected from "../../scripts/samples/expected.json" with { type: "json" };
import { readRbac, renderRbac } from "../../src/cli/operate/rbac.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { readSettings } from "../../src/settings.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { applyObject, one, pathOf, type Rendered, valueIn } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { FOR_SAMPLES, installChart } from "../support/installed.ts";
import { transportTo } from "./watching.ts";

const NAMESPACE = "zen-system";

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());

{
  using admin = transportTo(cluster);
  await installCrds(admin);
  await createNamespaces(admin, [NAMESPACE]);
}
const { objects, token, webhookToken, ...installed } = await installChart(cluster, {
  namespace: NAMESPACE,
  values: FOR_SAMPLES,
});
// The generated token, mounted as in the Pod.
const tokenFile = `${cluster.folder}/webhook-token`;
await Deno.writeTextFile(tokenFile, webhookToken, { mode: 0o600 });
const env: Readonly<Record<string, string>> = { ...installed.env, WEBHOOK_AUTH_TOKEN_FILE: tokenFile };
const kubeconfig = `${cluster.folder}/service-account.kubeconfig`;
await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: { token } }), { mode: 0o600 });

Deno.test("under the chart's ServiceAccount six sources and two more by configuration give every Observation", async () => {
  using admin = transportTo(cluster);
  await using controller = await startWatcher();
  const to = { url: controller.url, token: webhookToken };
  await feedSamples(admin, { ...to, namespace: NAMESPACE });
  await feedWebhooks(to);
  await eventually("every Observation", async () => {
    assertEquals(tally(await observations()), expected);
    return true;
  }, { timeoutMs: 90_000 });
  await closedBooks(controller.url);
  await eventually("the repeats to be counted in status", async () => {
    const falco = (await observations()).filter((each) => valueIn(each, "spec", "source") === "falco");
    return falco.every((each) => Number(valueIn(each, "status", "occurrences")) >= 2);
  });
  assertEquals(await forbidden(controller), [], "nothing was refused");
  await eventually("the lease to be held", async () => {
    const { leader } = await statusOf(controller.url);
    return isObject(leader) && leader.isLeader === true;
  });
  const filters = one(objects, "ConfigMap", "zen-watcher-filter");
  await applyObject(cluster, { ...filters, data: { "filter.json": "{" } });
  await eventually("the Event about refused filters", async () => {
    const { body } = await cluster.expect("GET", `/api/v1/namespaces/${NAMESPACE}/events`);
    return JSON.stringify(body).includes("FiltersRejected");
  });
  await applyObject(cluster, filters);
});

Deno.test("check --rbac finds nothing missing, and names each rule that is taken away, for each verb", async () => {
  using api = transportTo(cluster, { token });
  assertEquals(await missing(api), []);
  const roles = objects.filter((each) =>
    (each.kind === "Role" || each.kind === "ClusterRole") && each.metadata.name === "zen-watcher"
  );
  let tried = 0;
  for (const role of roles) {
    for (const rule of rulesOf(role)) {
      // What an ObservationMapping reads is known by its kind alone.
      if (valueIn(rule, "apiGroups", 0) === "cert-manager.io") continue;
      await replaceRules(role, rulesOf(role).filter((each) => each !== rule));
      const wanted = accesses(role, rule);
      await eventually(`${wanted[0]} to be missed`, async () => {
        assertEquals(await missing(api), wanted);
        return true;
      });
      await replaceRules(role, rulesOf(role));
      tried++;
    }
  }
  assert(tried > 15, `${tried} rules`);
  await eventually("nothing to be missing", async () => (await missing(api)).length === 0);
});

Deno.test("what may not be read is a state, not a failure, and is read once it may be", async () => {
  const roles = objects.filter((each) =>
    each.metadata.name === "zen-watcher" &&
    (each.kind === "ClusterRole" || (each.kind === "Role" && each.metadata.namespace !== NAMESPACE))
  );
  for (const role of roles) {
    await replaceRules(
      role,
      rulesOf(role).filter((rule) => valueIn(rule, "apiGroups", 0) === "zen.kube-zen.io"),
    );
  }
  using api = transportTo(cluster, { token });
  await eventually("the rules to be gone", async () => (await missing(api)).length > 30);
  await using controller = await startWatcher();
  const pulled = ["trivy", "kyverno", "kube-bench", "checkov"];
  await eventually("the state forbidden", async () => {
    assertEquals(await states(controller, pulled), pulled.map(() => "forbidden"));
    return true;
  });
  const ready = await fetch(`${controller.url}/ready`);
  assertEquals([ready.status, await ready.json()], [200, { status: "ready" }]);
  for (const role of roles) await replaceRules(role, rulesOf(role));
  await eventually("the state synced", async () => {
    assertEquals(await states(controller, pulled), pulled.map(() => "synced"));
    return true;
  }, { timeoutMs: 90_000 });
});

async function startWatcher(): Promise<Controller> {
  return await startController({ kubeconfig, env: { ...env, DISCOVERY_INTERVAL: "2s" } });
}

async function observations(): Promise<JsonObject[]> {
  const { body } = await cluster.expect("GET", "/apis/zen.kube-zen.io/v1/observations");
  return Array.isArray(body.items) ? body.items.filter(isObject) : [];
}

/** What the log and the metrics say of refused requests. */
async function forbidden(controller: Controller): Promise<string[]> {
  const metrics = await (await fetch(`${controller.url}/metrics`)).text();
  const counted = metrics.split("\n").filter((line) =>
    /(status="403"|forbidden)/.test(line) && !line.endsWith(" 0")
  );
  return [...counted, ...controller.lines.filter((line) => line.includes("Forbidden"))];
}

async function states(controller: Controller, names: readonly string[]): Promise<unknown[]> {
  const { sources } = await statusOf(controller.url);
  return names.map((name) => valueIn(sources, name, "state"));
}

function rulesOf(role: Rendered): JsonObject[] {
  return Array.isArray(role.rules) ? role.rules.filter(isObject) : [];
}

async function replaceRules(role: Rendered, rules: readonly JsonObject[]): Promise<void> {
  await cluster.expect("PATCH", await pathOf(cluster, role), {
    body: { rules: [...rules] },
    contentType: "application/merge-patch+json",
  });
}

/** `namespace group/resource name verb`, one a verb. */
function accesses(role: Rendered, rule: JsonObject): string[] {
  const texts = (value: unknown) => Array.isArray(value) ? value.map(String) : [""];
  const namespace = role.kind === "ClusterRole" ? "" : String(role.metadata.namespace);
  const lines = texts(rule.resources).flatMap((resource) =>
    texts(rule.resourceNames).flatMap((name) =>
      texts(rule.verbs).map((verb) => `${namespace} ${texts(rule.apiGroups)[0]}/${resource} ${name} ${verb}`)
    )
  );
  return lines.sort();
}

/** What `check --rbac` prints as missing. */
async function missing(api: KubeClient): Promise<string[]> {
  const example = new URL("../../examples/alertmanager.yaml", import.meta.url);
  const mapped = [parse(await Deno.readTextFile(example))];
  const report = await readRbac({ api, settings: readSettings((name) => env[name]), mapped });
  const out = renderRbac(report);
  const roles = parseAllDocuments(out.slice(Math.max(0, out.indexOf("---")))).map((each) => each.toJS());
  const found = roles.filter((role) => isObject(role) && Array.isArray(role.rules));
  assertEquals(report.denied > 0, found.length > 0, out);
  return found.flatMap((role) => rulesOf(role).flatMap((rule) => accesses(role, rule))).sort();
}
