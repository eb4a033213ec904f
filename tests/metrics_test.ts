/** Every metric is moved by the program, and every counter stands at 0 before it counts. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { OBSERVATION_FILTERS } from "../src/filters/observation_filters.ts";
import type { JsonObject } from "../src/model/json.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { startTestApp } from "./support/app.ts";
import { ROOT } from "./support/docs.ts";
import { eventually } from "./support/eventually.ts";
import { startTestCluster } from "./support/test_cluster.ts";

/** Counters without a series in a fresh scrape, and why. */
const NOT_OPENED: Readonly<Record<string, string>> = {
  filter_decisions_total:
    "drops are counted in observations_filtered_total too, from 0; the rest is read as a rate",
  http_requests_total:
    "endpoint, method and status have too many combinations; webhook_requests_total stands at 0",
  watch_reconnects_total: "its resources are known only when they are served; it is read as a rate",
};

/** Counters with labels whose values are not known before they occur. */
const OPEN_LISTS: Readonly<Record<string, string>> = {
  crd_operations_total: "status is any status of the API server",
};

Deno.test("every counter of a fresh program has its series, or a reason why it has none", async () => {
  await using place = await startFresh();
  const counters = countersOf(await place.scrape());
  assert(counters.length > 20, `${counters.length} counters`);
  const opened = new Set((await place.series()).map(nameOf));
  assertEquals(counters.filter((name) => !opened.has(name)).sort(), Object.keys(NOT_OPENED).sort());
});

Deno.test("what happens to alerts, bodies and filters is counted in series that were there before", async () => {
  await using place = await startFresh();
  const { app, api, series } = place;
  const before = new Set(await series());
  const alert: JsonObject = {
    rule: "Terminal shell in container",
    priority: "Critical",
    output: "a shell",
    output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web-1" },
  };
  for (
    const [body, status] of [[alert, 200], [alert, 200], [{ priority: "Critical" }, 400], [
      "no alert",
      400,
    ]] as const
  ) {
    assertEquals((await app.post("/falco/webhook", body)).status, status);
  }
  await api.create(OBSERVATION_FILTERS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "wrong", namespace: "zen-system" },
    spec: { targetSource: "falco", expression: "details.(" },
  });
  const isCounted = (scrape: string) =>
    [
      /^zen_watcher_webhook_requests_total\{.*status="400"\} 2$/m,
      /^zen_watcher_filter_reload_total\{result="rejected"\} 1$/m,
    ]
      .every((sample) => sample.test(scrape));
  await eventually("the counts", async () => isCounted(await place.scrape()));
  const unforeseen = (await series()).filter((each) => !before.has(each)).map(nameOf)
    .filter((name) => NOT_OPENED[name] === undefined && OPEN_LISTS[name] === undefined);
  assertEquals([...new Set(unforeseen)], []);
});

Deno.test("every metric is moved somewhere in the program", async () => {
  const code = (await Array.fromAsync(programTexts(join(ROOT, "src")))).join("\n");
  const { registry: _, sourceLabel: _source, endpointLabel: _endpoint, ...metrics } = createMetrics();
  assertEquals(Object.keys(metrics).filter((name) => !isMoved(name, code)), []);
});

Deno.test("a metric that is only declared, or only opened at 0, is not moved", () => {
  assertEquals(isMoved("drops", 'drops: counter("drops_total", "Drops"),'), false);
  assertEquals(isMoved("drops", "for (const reason of REASONS) metrics.drops.inc({ reason }, 0);"), false);
  assertEquals(isMoved("drops", "metrics?.drops.inc({ reason: all(10) }, 20);"), true);
  assertEquals(isMoved("drops", "drops.set(10);"), true);
});

/** A program that nothing was sent to, on an API server of its own. */
async function startFresh() {
  await using opened = new AsyncDisposableStack();
  const server = opened.use(await startTestCluster());
  const api = opened.use(createKubeClient(fixedConnection({ server: server.url })));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const app = opened.use(await startTestApp({ server: server.url }));
  const scrape = async () => await (await fetch(`${app.metricsUrl}/metrics`)).text();
  const all = opened.move();
  return {
    app,
    api,
    scrape,
    /** The series of all counters, without values. */
    async series(): Promise<string[]> {
      const text = await scrape();
      const counters = new Set(countersOf(text));
      return text.split("\n").filter((line) => counters.has(nameOf(line))).map((line) =>
        line.slice(0, line.lastIndexOf(" "))
      );
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** The counters that a scrape declares, without the prefix. */
function countersOf(scrape: string): string[] {
  return [...scrape.matchAll(/^# TYPE zen_watcher_(\w+) counter$/gm)].map(([, name = ""]) => name);
}

/** The metric of a sample or series, without the prefix. */
function nameOf(line: string): string {
  return /^zen_watcher_(\w+)/.exec(line)?.[1] ?? "";
}

/** True if the code increases, sets or observes the metric, other than by 0. */
function isMoved(metric: string, code: string): boolean {
  const moves = code.matchAll(new RegExp(`\\b${metric}\\??\\.(?:inc|set|observe)\\(([^;]*)\\);`, "g"));
  return [...moves].some(([, values = ""]) => !values.endsWith(", 0"));
}

async function* programTexts(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* programTexts(join(folder, name));
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) {
      yield await Deno.readTextFile(join(folder, name));
    }
  }
}
