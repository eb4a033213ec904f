/** What can be said of the chart without Helm: values, schema, filters, dashboards, alerts. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "yaml";
import { describedValues } from "../scripts/generate/chart_readme.ts";
import { readFilterDocuments } from "../src/filters/document.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { compileFilters } from "../src/filters/filter.ts";
import { ALL_SETTINGS } from "../src/settings.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { registerProcessMetrics } from "../src/telemetry/process.ts";
import { VERSION } from "../src/version.ts";
import { normalEvent } from "./support/normal_event.ts";
import { namesIn } from "./support/promql.ts";

const ROOT = new URL("../", import.meta.url);
const CHART = new URL("helm/zen-watcher/", ROOT);
/** Labels a scrape adds, and the one every histogram has. */
const SCRAPE_LABELS = ["job", "instance", "pod", "namespace"];

Deno.test("the chart, the program and deno.json have one version", async () => {
  const chart = parse(await text("Chart.yaml"));
  assertEquals([chart.version, chart.appVersion], [VERSION, VERSION]);
});

Deno.test("every value is in the schema and every key of the schema is a value", async () => {
  const values: unknown = parse(await text("values.yaml"));
  const schema: unknown = JSON.parse(await text("values.schema.json"));
  assert(isObject(values) && isObject(schema) && isObject(schema.properties));
  const { properties } = schema;
  assertEquals(Object.keys(values).sort(), Object.keys(properties).sort());
  for (const [key, value] of Object.entries(values)) assertKnown(key, value, properties[key]);
});

Deno.test("README.md of the chart lists every described value with its default", async () => {
  const readme = await text("README.md");
  const values = describedValues(await text("values.yaml"));
  const described = values.map(({ path }) => path.join("."));
  for (const path of ["image.registry", "webhooks.auth.keep", "podSpec", "filters.sources", "global"]) {
    assert(described.includes(path), path);
  }
  const rows = [...readme.matchAll(/^\| `([\w.]+)` \| (?:`(.*?)`|see `values.yaml`) \| (.+) \|$/gm)];
  assertEquals(rows.map(([, path]) => path), described);
  const defaults = Object.fromEntries(rows.map(([, path = "", value]) => [path, value]));
  assertEquals(
    ["replicaCount", "networkPolicy.apiServer.ports", "podAntiAffinity"].map((path) => defaults[path]),
    ["2", "[443,6443,8443,16443]", '"preferred"'],
  );
});

Deno.test("describedValues() joins the lines of a comment and leaves undescribed keys out", () => {
  assertEquals(
    describedValues(
      "# About the file.\na:\n  # -- One\n  # and two\n  b: [1]\n  c: 2\n# d: 3\n# -- Whole\ne:\n  f: 1\n",
    ),
    [
      { path: ["a", "b"], value: [1], description: "One and two" },
      { path: ["e"], value: { f: 1 }, description: "Whole" },
    ],
  );
});

Deno.test("Chart.yaml names an icon of the repository, its maintainers, its image, and an example of each kind", async () => {
  const { icon, home, maintainers, annotations } = parse(await text("Chart.yaml"));
  const [, path = ""] =
    /^https:\/\/raw\.githubusercontent\.com\/kube-zen\/zen-watcher\/main\/(.+)$/.exec(icon) ?? [];
  assertMatch(await Deno.readTextFile(new URL(path, ROOT)), /^<svg /);
  assertEquals(maintainers, [{ name: "zen-watcher maintainers", url: home }]);
  const { image } = parse(await text("values.yaml"));
  assertEquals(
    parse(annotations["artifacthub.io/images"])[0].image,
    `${image.registry}/${image.repository}:${VERSION}`,
  );
  const kinds: string[] = [];
  for await (const { name } of Deno.readDir(new URL("crds/", ROOT))) {
    kinds.push(parse(await Deno.readTextFile(new URL(`crds/${name}`, ROOT))).spec.names.kind);
  }
  for (const list of ["crds", "crdsExamples"]) {
    const named = parse(annotations[`artifacthub.io/${list}`]).map(({ kind }: JsonObject) => kind);
    assertEquals(named.toSorted(), kinds.toSorted(), list);
  }
  const changes = parse(annotations["artifacthub.io/changes"]);
  assert(changes.length > 0);
  const known = ["added", "changed", "deprecated", "removed", "fixed", "security"];
  for (const { kind, description } of changes) {
    assert(known.includes(kind) && description.length > 10, description);
  }
});

Deno.test("values, chart, documentation and release workflow name one place for the image and one for the chart", async () => {
  const { image } = parse(await text("values.yaml"));
  const { home, version } = parse(await text("Chart.yaml"));
  const [, repository = ""] = /^https:\/\/github\.com\/(.+)$/.exec(home) ?? [];
  const [owner = ""] = repository.split("/");
  const { env } = parse(await Deno.readTextFile(new URL(".github/workflows/release.yaml", ROOT)));
  const filled = (name: string) =>
    String(env[name]).replaceAll("${{ github.repository }}", repository)
      .replaceAll("${{ github.repository_owner }}", owner);
  assertEquals(`${image.registry}/${image.repository}`, filled("IMAGE"));
  const pages = [
    "README.md",
    "docs/install.md",
    "docs/first-hour.md",
    "docs/upgrade.md",
    "helm/zen-watcher/README.md",
  ];
  let named = 0;
  for (const page of pages) {
    const content = await Deno.readTextFile(new URL(page, ROOT));
    for (const [whole] of content.matchAll(/(?:oci:\/\/)?(?:ghcr\.io|docker\.io)\/[\w./:-]*\w/g)) {
      const places = [
        `${filled("CHARTS")}/zen-watcher`,
        filled("CHARTS").replace("oci://", "") + "/zen-watcher",
        filled("IMAGE"),
      ];
      assert(places.includes(whole.replace(/:[\d.]+$/, "")), `${page}: ${whole}`);
      named++;
    }
    for (const [, tag] of content.matchAll(/zen-watcher(?::| --version )(\d[\w.]*\w)/g)) {
      assertEquals(tag, version, page);
    }
  }
  assert(named > 4, `${named} places`);
});

Deno.test("every leaf of the values is described as helm-docs reads it", async () => {
  const lines = (await text("values.yaml")).split("\n");
  const undescribed: string[] = [];
  for (const [index, line] of lines.entries()) {
    const match = /^( *)([A-Za-z]+):(.*)$/.exec(line);
    if (!match || isInside(lines, index)) continue;
    const next = lines.slice(index + 1).find((each) => each.trim() !== "" && !each.trim().startsWith("#")) ??
      "";
    const isSection = match[3]?.trim() === "" && indentOf(next) > indentOf(line);
    if (!isSection && !describedAbove(lines, index)) undescribed.push(match[2] ?? "");
  }
  assertEquals(undescribed, []);
});

Deno.test("every setting of the program can be set, by `settings` or by a value of its own", async () => {
  const schema = JSON.parse(await text("values.schema.json"));
  const free = Object.keys(schema.properties.settings.properties);
  const templates = await text("templates/_helpers.tpl") + await text("templates/deployment.yaml");
  // Decided by Kubernetes, of use outside it alone, or fixed by the container's ports.
  const fixed = [
    "HOME",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "METRICS_PORT",
    "SERVICE_ACCOUNT_FOLDER",
    "WATCHER_PORT",
    "WATCHER_TLS_PORT",
    "WEBHOOK_AUTH_TOKEN",
  ];
  const sources = await text("files/sources.yaml");
  const managed = ALL_SETTINGS.map(({ env }) => env).filter((env) => !free.includes(env));
  for (const env of managed) {
    const isSet = templates.includes(`name: ${env}\n`) || sources.includes(`env: ${env}\n`);
    assert(fixed.includes(env) || isSet, env);
  }
});

Deno.test("the default filters are filters, and keep what matters of a normal cluster", async () => {
  const values = parse(await text("values.yaml"));
  const read = readFilterDocuments({ sources: values.filters.sources }, "values");
  assert(read.ok, JSON.stringify(read));
  const filters = compileFilters(read.value);
  const deletion = (user: string) =>
    normalEvent({ source: "audit", eventType: "resource-deletion", details: { user } });
  const cases: readonly [boolean, ReturnType<typeof normalEvent>][] = [
    [true, normalEvent({ severity: "CRITICAL" })],
    [true, normalEvent({ severity: "HIGH" })],
    [false, normalEvent({ severity: "MEDIUM" })],
    [true, normalEvent({ source: "falco", severity: "MEDIUM" })],
    [false, normalEvent({ source: "falco", severity: "LOW" })],
    [
      false,
      normalEvent({ source: "kyverno", resource: { kind: "Pod", name: "p", namespace: "kube-system" } }),
    ],
    [true, normalEvent({ source: "kyverno", resource: { kind: "Pod", name: "p", namespace: "shop" } })],
    [true, deletion("anna")],
    [true, deletion("system:serviceaccount:shop:deployer")],
    [true, deletion("system:anonymous")],
    [false, deletion("system:serviceaccount:kube-system:generic-garbage-collector")],
    [false, deletion("system:kube-controller-manager")],
    [false, deletion("system:node:worker-1")],
    [true, normalEvent({ source: "audit", eventType: "resource-deletion", details: {} })],
    [
      true,
      normalEvent({
        source: "audit",
        eventType: "rbac-change",
        details: { user: "system:kube-controller-manager" },
      }),
    ],
    [true, normalEvent({ source: "kube-bench", severity: "HIGH" })],
    [false, normalEvent({ source: "kube-bench", severity: "LOW" })],
    [true, normalEvent({ source: "another-tool", severity: "LOW" })],
  ];
  for (const [pass, event] of cases) {
    const verdict = filters.evaluate(event);
    assertEquals(verdict.pass, pass, JSON.stringify([event.source, event.severity, event.details]));
    assertEquals(verdict.notes, undefined);
  }
});

Deno.test("every metric and label that a dashboard or an alert names exists in the program", async () => {
  const known = metricLabels();
  const recorded = new Map<string, readonly string[]>();
  const rules = await alertRules();
  for (const { record, expr } of rules) {
    if (record !== undefined) recorded.set(record, namesIn(expr).grouping);
  }
  let checked = 0;
  for (const { expr, legend } of [...rules, ...await dashboardQueries()]) {
    const { selectors, grouping } = namesIn(expr);
    assert(selectors.length > 0, expr);
    const available = new Set([...SCRAPE_LABELS, "le"]);
    for (const { metric, labels } of selectors) {
      const ofRecord = recorded.get(metric);
      if (ofRecord) {
        for (const label of ofRecord) available.add(label);
        for (const label of labels) {
          assert([...SCRAPE_LABELS, ...ofRecord].includes(label), `${label} of ${metric} in ${expr}`);
        }
        continue;
      }
      const allowed = metric === "up" ? [] : known.get(metric);
      assert(allowed, `${metric} in ${expr}`);
      for (const label of allowed) available.add(label);
      for (const label of labels) {
        assert(SCRAPE_LABELS.includes(label) || allowed.includes(label), `${label} of ${metric} in ${expr}`);
      }
      checked++;
    }
    for (const label of grouping) assert(available.has(label), `${label} in ${expr}`);
    const shown = [...(legend ?? "").matchAll(/{{ *(?:\$labels\.)?(\w+) *}}/g)].map(([, label = ""]) =>
      label
    );
    for (const label of shown) {
      assert(
        grouping.length === 0 ? available.has(label) : grouping.includes(label),
        `${label} beside ${expr}`,
      );
    }
  }
  assert(checked > 100, `${checked} selectors`);
});

Deno.test("every metric is on a dashboard or in an alert", async () => {
  const queries = [...await alertRules(), ...await dashboardQueries()];
  const named = new Set(
    queries.flatMap(({ expr }) => namesIn(expr).selectors.map(({ metric }) => base(metric))),
  );
  const unnamed = createMetrics().registry.getMetricsAsArray().map(({ name }) => name)
    .filter((name) => !named.has(name));
  // Told in another form by their neighbours.
  assertEquals(unnamed.sort(), [
    "zen_watcher_filter_errors_total",
    "zen_watcher_gc_runs_total",
    "zen_watcher_health_status",
    "zen_watcher_http_requests_total",
  ]);
});

Deno.test("dashboards render text: no HTML, no link made of data, no variable in a text panel", async () => {
  for (const [name, dashboard] of await dashboards()) {
    const all = JSON.stringify(dashboard);
    assert(!/"type":"(html|news|iframe)"/.test(all), name);
    for (const { type, options } of panelsOf(dashboard)) {
      if (type !== "text") continue;
      assert(isObject(options) && options.mode === "markdown", name);
      assert(!/[$<]/.test(String(options.content)), `${name}: text that Grafana would fill in`);
    }
    assert(!/"(dataLinks|url)":/.test(all), name);
    const ids = panelsOf(dashboard).map(({ id }) => id);
    assertEquals(ids.length, new Set(ids).size, name);
    for (const { type, fieldConfig } of panelsOf(dashboard)) {
      if (type !== "table") continue;
      assertMatch(JSON.stringify(fieldConfig), /"cellOptions":{"type":"auto"}/);
    }
  }
});

Deno.test("dashboards are called as their files, and no two panels of one overlap", async () => {
  for (const [name, dashboard] of await dashboards()) {
    assertEquals(dashboard.uid, `zen-watcher-${name.replace(".json", "")}`);
    const places = panelsOf(dashboard).map(({ title, gridPos }) => {
      assert(isObject(gridPos), `${title} of ${name}`);
      const [x = 0, y = 0, w = 0, h = 0] = ["x", "y", "w", "h"].map((key) => Number(gridPos[key]));
      assert(x >= 0 && w > 0 && h > 0 && x + w <= 24, `${title} of ${name} is wider than the page`);
      return { title, x, y, right: x + w, bottom: y + h };
    });
    for (const [index, one] of places.entries()) {
      const other = places.slice(index + 1).find((each) =>
        each.x < one.right && one.x < each.right && each.y < one.bottom && one.y < each.bottom
      );
      assert(!other, `${one.title} and ${other?.title} of ${name} overlap`);
    }
  }
});

Deno.test("every objective burns at four rates, over the windows that its recordings name", async () => {
  const rules = await alertRules();
  for (const { record, expr } of rules) {
    const [, window] = /:error_ratio_(\w+)$/.exec(record ?? "") ?? [];
    if (window === undefined) continue;
    assertEquals(
      new Set([...expr.matchAll(/\[(\w+)\]/g)].map(([, each]) => each)),
      new Set([window]),
      record,
    );
  }
  const burns: Record<string, string[]> = {};
  for (const { expr, rule } of rules) {
    const name = isObject(rule) ? String(rule.alert) : "";
    if (!name.startsWith("ZenWatcherBurn")) continue;
    const one = String
      .raw`zen_watcher:(\w+):error_ratio_(\w+)\{job="zen-watcher-job"\} > ([\d.]+) \* ([\d.]+)`;
    const [, objective = "", long, rate, budget, other, short, otherRate, otherBudget] =
      new RegExp(`^${one} and ${one}$`).exec(expr) ?? [];
    assertEquals([other, otherRate, otherBudget], [objective, rate, budget], name);
    assert(name.endsWith(`${long}`), name);
    assertMatch(
      JSON.stringify(rule),
      new RegExp(`budget of ${100 - Number(budget) * 100} % burns ${rate} times`),
    );
    (burns[objective] ??= []).push(`${long}/${short} ${rate}`);
  }
  const each = ["1h/5m 14.4", "6h/30m 6", "1d/2h 3", "3d/6h 1"];
  assertEquals(burns, { availability: each, event_latency: each, http_latency: each });
});

Deno.test("every alert has a severity, a sentence and a runbook that is there", async () => {
  const alerts = (await alertRules()).filter(({ record }) => record === undefined);
  assert(alerts.length > 20);
  for (const { rule } of alerts) {
    assert(isObject(rule) && isObject(rule.labels) && isObject(rule.annotations));
    assert(["critical", "warning", "info"].includes(String(rule.labels.severity)));
    const [, page] = /^RUNBOOKS\/([a-z-]+\.md)$/.exec(String(rule.annotations.runbook_url)) ?? [];
    assert(page, `${rule.alert}`);
    assert((await Deno.stat(new URL(`docs/runbooks/${page}`, ROOT))).isFile, page);
  }
});

Deno.test("namesIn() distinguishes selectors from functions, keywords and labels", () => {
  const { selectors, grouping } = namesIn(
    'histogram_quantile(0.9, sum by (le, a) (rate(m_bucket{job=~"x{y}", b!="by (z)"}[5m]))) > 2 and on (c) time() - n',
  );
  assertEquals(selectors, [{ metric: "m_bucket", labels: ["job", "b"] }, { metric: "n", labels: [] }]);
  assertEquals(grouping, ["le", "a", "c"]);
});

interface NamedQuery {
  readonly expr: string;
  readonly legend?: string;
  readonly record?: string;
  readonly rule?: Json;
}

async function alertRules(): Promise<NamedQuery[]> {
  const { groups } = parse(await text("files/rules.yaml"));
  return groups.flatMap((group: { rules: JsonObject[] }) =>
    group.rules.map((rule) => ({
      expr: String(rule.expr),
      rule,
      legend: isObject(rule.annotations) ? String(rule.annotations.description) : "",
      ...(rule.record !== undefined && { record: String(rule.record) }),
    }))
  );
}

async function dashboardQueries(): Promise<NamedQuery[]> {
  return (await dashboards()).flatMap(([, dashboard]) =>
    panelsOf(dashboard).flatMap(({ targets }) => Array.isArray(targets) ? targets : []).filter(isObject)
      .map(({ expr, legendFormat }) => ({ expr: String(expr), legend: String(legendFormat) }))
  );
}

async function dashboards(): Promise<[string, JsonObject][]> {
  const found: [string, JsonObject][] = [];
  for await (const { name } of Deno.readDir(new URL("files/dashboards/", CHART))) {
    found.push([name, JSON.parse(await text(`files/dashboards/${name}`))]);
  }
  assertEquals(found.map(([name]) => name).sort(), [
    "critical.json",
    "main.json",
    "operations.json",
    "security.json",
  ]);
  return found;
}

function panelsOf({ panels }: JsonObject): JsonObject[] {
  return Array.isArray(panels) ? panels.filter(isObject) : [];
}

/** The labels of each series a scrape shows. */
function metricLabels(): Map<string, string[]> {
  const { registry } = createMetrics();
  registerProcessMetrics(registry, 0);
  const known = new Map<string, string[]>();
  for (const metric of registry.getMetricsAsArray()) {
    const names: unknown = "labelNames" in metric ? metric.labelNames : [];
    const labels = Array.isArray(names) ? names.map(String) : [];
    // prom-client's own word for a histogram.
    if (String(metric.type) !== "histogram") known.set(metric.name, labels);
    else {
      known.set(`${metric.name}_bucket`, [...labels, "le"]);
      for (const part of ["sum", "count"]) known.set(`${metric.name}_${part}`, labels);
    }
  }
  return known;
}

function base(metric: string): string {
  return metric.replace(/_seconds_(bucket|sum|count)$/, "_seconds");
}

/** Each key of a value is in its schema, as deep as the schema names keys. */
function assertKnown(path: string, value: Json | undefined, schema: Json | undefined): void {
  assert(isObject(schema), path);
  if (!isObject(value) || !isObject(schema.properties)) return;
  for (const [key, inner] of Object.entries(value)) {
    assertKnown(`${path}.${key}`, inner, schema.properties[key]);
  }
  if (schema.additionalProperties !== false) return;
  if (path === "settings") return;
  assertEquals(Object.keys(value).sort(), Object.keys(schema.properties).sort(), path);
}

/** Content of a value that is described as a whole: filters, probes, security contexts, lists. */
function isInside(lines: readonly string[], index: number): boolean {
  const indent = indentOf(lines[index] ?? "");
  for (let above = index - 1, limit = indent; above >= 0 && limit > 0; above--) {
    const line = lines[above] ?? "";
    if (line.trim() === "" || line.trim().startsWith("#") || indentOf(line) >= limit) continue;
    limit = indentOf(line);
    if (describedAbove(lines, above)) return true;
  }
  return false;
}

function describedAbove(lines: readonly string[], index: number): boolean {
  for (let above = index - 1; (lines[above] ?? "").trim().startsWith("#"); above--) {
    if ((lines[above] ?? "").trim().startsWith("# --")) return true;
  }
  return false;
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

async function text(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, CHART));
}
