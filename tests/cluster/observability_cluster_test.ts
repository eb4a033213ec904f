/** Alerts judged by promtool, and every query of dashboards and alerts put to a real Prometheus that scrapes the program. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parse } from "yaml";
import { createNamespaces, feedObjects, feedWebhook, installCrds } from "../../scripts/support/feed.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { startDevCluster } from "../../src/devcluster/mod.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { startTestApp } from "../support/app.ts";
import { CHART, one, renderChart, valueIn } from "../support/chart.ts";
import { eventually } from "../support/eventually.ts";
import { promtool, startPrometheus } from "../support/prometheus.ts";

const RULES = `${CHART}files/rules.yaml`;
const CASES = new URL("../fixtures/rules/rules_test.yaml", import.meta.url);
Deno.test("promtool accepts the rules, and each alert fires when it should and only then", async () => {
  const folder = await Deno.makeTempDir({ prefix: "zen-rules-" });
  try {
    await Deno.copyFile(RULES, `${folder}/rules.yaml`);
    await Deno.copyFile(CASES, `${folder}/rules_test.yaml`);
    assert((await promtool(["check", "rules", `${folder}/rules.yaml`])).includes("SUCCESS"));
    assert((await promtool(["test", "rules", `${folder}/rules_test.yaml`])).includes("SUCCESS"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("prometheusRule.slaDays moves the SLA, to ages alone that the program counts by", async () => {
  const slaRule = async (slaDays: JsonObject) => {
    const rendered = await renderChart({ values: { prometheusRule: { enabled: true, slaDays } } });
    const groups = valueIn(one(rendered, "PrometheusRule"), "spec", "groups");
    const rules = (Array.isArray(groups) ? groups : []).flatMap((group) => valueIn(group, "rules") ?? []);
    const found = rules.filter((rule) => valueIn(rule, "record") === "zen_watcher:findings_over_sla:max");
    assertEquals(found.length, 1);
    return String(valueIn(found[0], "expr"));
  };
  const days = (expr: string) =>
    [...expr.matchAll(/severity="(\w+)", older_than_days="(\d+)"/g)].map(([, ...each]) => each);
  assertEquals(days(await slaRule({})), [["CRITICAL", "7"], ["HIGH", "30"]]);
  assertEquals(days(await slaRule({ critical: 3, high: 14 })), [["CRITICAL", "3"], ["HIGH", "14"]]);
  await assertRejects(() => slaRule({ critical: 5 }), Error, "slaDays");
});

Deno.test("every query of every dashboard and alert is answered by a Prometheus that scrapes the program", async () => {
  await using cluster = await startDevCluster({ port: 0 });
  using api = createKubeClient(fixedConnection({ server: cluster.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: cluster.url });
  await feedObjects(api);
  for (const _round of ["first", "again"]) {
    await feedWebhook(`${app.url}/falco/webhook`, "falco.ndjson");
    await feedWebhook(`${app.url}/audit/webhook`, "audit.ndjson");
  }
  await eventually(
    "reports to be read",
    async () => await app.metric("events_total", { source: "trivy" }) > 0,
  );

  const scraped = await (await fetch(`${app.metricsUrl}/metrics`)).text();
  assertEquals(await promtool(["check", "metrics"], scraped), "");

  await using prometheus = await startPrometheus(JSON.stringify({
    global: { scrape_interval: "1s" },
    scrape_configs: [{
      job_name: "zen-watcher-job",
      static_configs: [{ targets: [new URL(app.metricsUrl).host] }],
    }],
  }));
  await eventually(
    "two scrapes",
    async () =>
      (await prometheus.query("zen_watcher_build_info[1m]")).length > 0 &&
      (await prometheus.query("count_over_time(up[1m]) > 4")).length > 0,
    { timeoutMs: 60_000 },
  );
  const queries = await allQueries();
  assert(queries.length > 80, `${queries.length} queries`);
  const empty: string[] = [];
  for (const query of queries) if ((await prometheus.query(query)).length === 0) empty.push(query);
  // What counts faults, comparisons that are false, and rules made of recordings have nothing to show here.
  const unexpected = empty.filter((query) =>
    !/error|failures|dropped|evictions|deleted|gc_|shadow|result!=|budget|zen_watcher:|reconnects| [<>!=]=? /
      .test(query)
  );
  assertEquals(unexpected, []);
});

/** As Grafana would ask with everything chosen, and as the rules say. */
async function allQueries(): Promise<string[]> {
  const { groups } = parse(await Deno.readTextFile(RULES));
  const queries = groups.flatMap((group: { rules: JsonObject[] }) =>
    group.rules.map(({ expr }) => String(expr))
  );
  for await (const { name } of Deno.readDir(`${CHART}files/dashboards`)) {
    const { panels, templating } = JSON.parse(await Deno.readTextFile(`${CHART}files/dashboards/${name}`));
    assertEquals(templating.list.map((variable: { name: string }) => variable.name), [
      "datasource",
      "job",
      "source",
    ]);
    for (const panel of panels) for (const { expr } of panel.targets ?? []) queries.push(expr);
  }
  return queries.map((query: string) =>
    query.replaceAll("$job", ".*").replaceAll("$source", ".*").replaceAll("$__rate_interval", "1m")
  );
}
