/** Prometheus counts what a series grows by: a source's first event is seen only where its series stood at 0 before it. */
import { assert, assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { SourceSet } from "../src/app/pipeline.ts";
import { OBSERVATION_FILTERS } from "../src/filters/observation_filters.ts";
import { systemClock } from "../src/model/time.ts";
import type { NormalEvent } from "../src/model/event.ts";
import type { JsonObject } from "../src/model/json.ts";
import { FAIL_REASONS, FILTER_REASONS, type Outcome } from "../src/model/outcome.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { sourceOf } from "../src/mapped/activate.ts";
import { compileMapped } from "../src/mapped/compile.ts";
import { SOURCES } from "../src/sources/registry.ts";
import { categoriesOf, type Source } from "../src/sources/source.ts";
import { SourceStates } from "../src/sources/status.ts";
import { createBooks, createMetrics, type Metrics } from "../src/telemetry/metrics.ts";
import { startTestApp } from "./support/app.ts";
import { startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { loadPayloads } from "./support/load_fixture.ts";
import { EVENT_SETTINGS, runtimeFor } from "./support/source_runtime.ts";
import { startTestCluster } from "./support/test_cluster.ts";

const COUNTERS = new Set([
  "events_total",
  "events_written_total",
  "observations_created_total",
  "observations_deduped_total",
  "observations_filtered_total",
  "events_failures_total",
  "observations_create_errors_total",
  "webhook_requests_total",
  "webhook_dropped_total",
  "payload_errors_total",
  "watcher_errors_total",
].map((name) => `zen_watcher_${name}`));
/** A hundred sources are some thousand series, no more. */
const MAX_SERIES = 105;
/** Of a source whose mapping reads the category from each item, and so may have any. */
const MAX_SERIES_ANY_CATEGORY = 95;
const OUTCOMES: readonly Outcome[] = [
  { kind: "created" },
  { kind: "deduped" },
  ...FILTER_REASONS.map((reason): Outcome => ({ kind: "filtered", reason })),
  ...FAIL_REASONS.map((reason): Outcome => ({ kind: "failed", reason })),
];

/** Samples of the counters by series, of a scrape's text. */
function samplesOf(scrape: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of scrape.split("\n")) {
    if (!COUNTERS.has(line.slice(0, line.indexOf("{")))) continue;
    const end = line.lastIndexOf(" ");
    samples.set(line.slice(0, end), Number(line.slice(end + 1)));
  }
  return samples;
}

/** The sources of a process that nothing was sent to yet. */
function sourcesOf(metrics: Metrics): SourceSet {
  return new SourceSet({
    states: new SourceStates(metrics, systemClock),
    metrics,
    claims: () => "none",
    settings: EVENT_SETTINGS,
  });
}

async function fixtureEvents(source: Source): Promise<NormalEvent[]> {
  const runtime = runtimeFor(source);
  const folder = `sources/${source.name}`;
  const events: NormalEvent[] = [];
  for await (const each of Deno.readDir(new URL(`fixtures/${folder}/`, import.meta.url))) {
    if (!each.isDirectory || each.name === "real") continue;
    for await (const { name } of Deno.readDir(new URL(`fixtures/${folder}/${each.name}/`, import.meta.url))) {
      if (!name.startsWith("input.")) continue;
      for (const payload of (await loadPayloads(`${folder}/${each.name}/${name}`, source)).payloads) {
        for (const drawn of runtime.draw(payload)) {
          if ("event" in drawn) events.push(runtime.normalize(drawn.event, payload));
        }
      }
    }
  }
  return events;
}

for (const source of SOURCES) {
  Deno.test(`every event of ${source.name}, however it ends, is counted in a series that was there before it`, async () => {
    const metrics = createMetrics();
    sourcesOf(metrics);
    const books = createBooks(metrics, { now: () => 0 });
    const before = samplesOf(await metrics.registry.metrics());
    assertEquals([...before.values()].filter((value) => value !== 0), []);
    const categories = new Set<string>();
    for (const event of await fixtureEvents(source)) {
      categories.add(event.category);
      for (const outcome of OUTCOMES) books.open(event, "").settle(outcome);
    }
    const after = samplesOf(await metrics.registry.metrics());
    assertEquals([...after.keys()].filter((series) => !before.has(series)), []);
    assertEquals([...categories].sort(), categoriesOf(source).toSorted(), "the categories it says it has");
    const own = [...before.keys()].filter((series) =>
      series.includes(`="${source.name}"`) || series.includes(`endpoint="/${source.name}/`)
    );
    assert(own.length <= MAX_SERIES, `${own.length} series`);
  });
}

function mapped(source: string, category: string): Source {
  const compiled = compileMapped({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: source, namespace: "zen-system" },
    spec: {
      source,
      type: "webhook",
      webhook: { path: `/ingest/${source}` },
      mapping: { severity: ".severity", category, message: ".text", identity: [".text"] },
    },
  });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const parts = { id: `Ingester zen-system/${source}`, namespace: "zen-system", revision: "1" };
  const made = sourceOf(compiled.value, {
    ...parts,
    builtin: undefined,
    resources: [],
    secret: () => undefined,
  });
  assert(made);
  return made;
}

Deno.test("a mapped source's series start at 0 when it becomes active, and are not reset by changes", async () => {
  const metrics = createMetrics();
  const sources = sourcesOf(metrics);
  const seriesOf = async (source: string) =>
    [...samplesOf(await metrics.registry.metrics())].filter(([series]) =>
      series.includes(`source="${source}"`) || series.includes(`endpoint="/ingest/${source}"`)
    );
  assertEquals(await seriesOf("bills"), []);
  sources.set([mapped("bills", "Cost"), mapped("tickets", ".kind")]);
  const bills = await seriesOf("bills");
  assertEquals([...new Set(bills.map(([series]) => /category="(\w+)"/.exec(series)?.[1] ?? "cost"))], [
    "cost",
  ]);
  assert(bills.every(([, value]) => value === 0) && bills.length > 40 && bills.length <= MAX_SERIES);
  const tickets = await seriesOf("tickets");
  assertEquals(tickets.filter(([series]) => series.includes('severity="CRITICAL"')).length, 5);
  assert(tickets.length <= MAX_SERIES_ANY_CATEGORY, `${tickets.length} series`);

  metrics.events.inc({ source: "bills", category: "cost", severity: "LOW" }, 7);
  sources.set([mapped("bills", "Cost")]);
  assertEquals((await seriesOf("bills")).filter(([, value]) => value > 0).map(([, value]) => value), [7]);
});

Deno.test("errors of payloads and of watches are counted from 0 for every source of a fresh program", async () => {
  const metrics = createMetrics();
  sourcesOf(metrics);
  const samples = samplesOf(await metrics.registry.metrics());
  for (const { name, feeds } of SOURCES) {
    const errors = (error: string) =>
      `zen_watcher_watcher_errors_total{watcher="${name}",error_type="${error}"}`;
    assertEquals(samples.get(`zen_watcher_payload_errors_total{source="${name}",reason="wrong_shape"}`), 0);
    assertEquals(samples.get(errors("wrong_shape")), 0);
    const isWatched = feeds.some(({ type }) => type !== "post");
    assertEquals(samples.get(errors("forbidden")), isWatched ? 0 : undefined);
  }
});

Deno.test("sources beyond the cap of labels open no series of their own", async () => {
  const metrics = createMetrics();
  const sources = sourcesOf(metrics);
  sources.set(Array.from({ length: 120 }, (_, index) => mapped(`tool-${index}`, "security")));
  const named = new Set(
    [...samplesOf(await metrics.registry.metrics()).keys()].map((series) =>
      /source="([^"]+)"/.exec(series)?.[1]
    ),
  );
  named.delete(undefined);
  assertEquals([named.size, named.has("other"), named.has("tool-119")], [101, true, false]);
});

Deno.test("a first CRITICAL alert is an increase for Prometheus, again after a restart", async () => {
  await using server = await startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const shell: JsonObject = {
    time: "2026-11-22T06:00:00Z",
    rule: "Terminal shell in container",
    priority: "Critical",
    output: "06:00:00: Critical A shell was spawned",
    output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web-1" },
  };
  for (const outcome of ["observations_created_total", "observations_deduped_total"]) {
    await using app = await startTestApp({ server: server.url });
    const scrape = async () => samplesOf(await (await fetch(`${app.metricsUrl}/metrics`)).text());
    const before = await scrape();
    assertEquals((await app.post("/falco/webhook", shell)).status, 200);
    const increased = async () =>
      [...await scrape()].filter(([series, value]) => value > (before.get(series) ?? value));
    // The text is rendered once a second at most.
    await eventually("the event in the metrics", async () => (await increased()).length > 0);
    const increases = await increased();
    const written = outcome === "observations_created_total"
      ? ['zen_watcher_events_written_total{source="falco",category="security"}']
      : [];
    assertEquals(increases.map(([series]) => series).sort(), [
      'zen_watcher_events_total{source="falco",category="security",severity="CRITICAL"}',
      ...written,
      `zen_watcher_${outcome}{source="falco"}`,
      'zen_watcher_webhook_requests_total{endpoint="/falco/webhook",status="200"}',
    ]);
  }
});

Deno.test("a tool that policy reports name is one source in the metrics, from 0 to the end of its first finding", async () => {
  for (const [engine, source] of [["Kubewarden", "kubewarden"], ["Unlisted", "policy-report"]] as const) {
    await using world = await startDevWorld({ namespaces: ["shop"] });
    await using app = await world.replica("zen-watcher-0", { env: { RESOLVE_GRACE_SECONDS: "0" } });
    const scrape = async () => (await (await fetch(`${app.metricsUrl}/metrics`)).text()).split("\n");
    /** Samples with a value, of the counters of events and findings. */
    const counted = async () =>
      (await scrape()).filter((line) =>
        /^zen_watcher_(observations_created|events|events_written|findings_re\w+)_total\{/.test(line) ||
        line.startsWith("zen_watcher_finding_resolution_seconds_count")
      ).filter((line) => !line.endsWith(" 0")).sort();
    const before = new Set((await scrape()).map((line) => line.slice(0, line.lastIndexOf(" "))));
    const report: JsonObject = {
      apiVersion: "wgpolicyk8s.io/v1alpha2",
      kind: "PolicyReport",
      metadata: { namespace: "shop", name: "web" },
      scope: { apiVersion: "v1", kind: "Pod", name: "web", namespace: "shop" },
      results: [{ policy: "no-root", result: "fail", severity: "high", message: "is root", source: engine }],
    };
    const created = [
      `zen_watcher_events_total{source="${source}",category="security",severity="HIGH"} 1`,
      `zen_watcher_events_written_total{source="${source}",category="security"} 1`,
      `zen_watcher_observations_created_total{source="${source}"} 1`,
    ];
    await world.create([report]);
    await eventually("the finding to be counted", async () => (await counted()).length > 0);
    assertEquals(await counted(), created);
    await world.delete([report]);
    await eventually("its end to be counted", async () => (await counted()).length > created.length);
    assertEquals(
      await counted(),
      [
        ...created,
        `zen_watcher_finding_resolution_seconds_count{source="${source}",severity="HIGH"} 1`,
        `zen_watcher_findings_resolved_total{source="${source}",severity="HIGH",reason="ReportGone"} 1`,
      ].sort(),
    );
    const series = (await counted()).map((line) => line.slice(0, line.lastIndexOf(" ")));
    assertEquals(series.filter((each) => !before.has(each)), []);
  }
});

Deno.test("a first refused filter document is an increase for Prometheus", async () => {
  await using server = await startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  const rejected = async () => {
    const scrape = await (await fetch(`${app.metricsUrl}/metrics`)).text();
    return /^zen_watcher_filter_reload_total\{result="rejected"\} (\d+)$/m.exec(scrape)?.[1];
  };
  assertEquals(await rejected(), "0");
  await api.create(OBSERVATION_FILTERS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "wrong", namespace: "zen-system" },
    spec: { targetSource: "falco", expression: "details.(" },
  });
  await eventually("the refusal", async () => await rejected() === "1");
});
