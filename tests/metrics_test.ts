/** Every metric is moved by the program, and every counter stands at 0 before it counts. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { startTestApp } from "./support/app.ts";
import { ROOT } from "./support/docs.ts";
import { startTestCluster } from "./support/test_cluster.ts";

/** Counters without a series in a fresh scrape, and why. */
const NOT_OPENED: Readonly<Record<string, string>> = {
  filter_decisions_total:
    "drops are counted in observations_filtered_total too, from 0; the rest is read as a rate",
  http_requests_total:
    "endpoint, method and status have too many combinations; webhook_requests_total stands at 0",
  watch_reconnects_total: "its resources are known only when they are served; it is read as a rate",
};

Deno.test("every counter of a fresh program has its series, or a reason why it has none", async () => {
  await using server = await startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  const scrape = await (await fetch(`${app.metricsUrl}/metrics`)).text();
  const counters = [...scrape.matchAll(/^# TYPE zen_watcher_(\w+) counter$/gm)].map(([, name = ""]) => name);
  assert(counters.length > 20, `${counters.length} counters`);
  const missing = counters.filter((name) => !new RegExp(`^zen_watcher_${name}[ {]`, "m").test(scrape));
  assertEquals(missing.sort(), Object.keys(NOT_OPENED).sort());
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
