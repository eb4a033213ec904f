/**
 * Ordinary load on the bundle with the chart's rights and settings: a watch is listed anew only where a change of the filters asks for
 * it. The check that finds an etcd restored
 * from a copy must not fire on a healthy one. Half a minute here, an hour with `ZEN_ATTACK=long`.
 */
import { assert, assertEquals } from "@std/assert";
import { LONG } from "./form.ts";
import { keptOf } from "./others.ts";
import { startGround } from "./real_ground.ts";
import { eventually } from "../support/eventually.ts";
import { report } from "../cluster/watching.ts";

const MINUTES = LONG ? 60 : 0.5;
const EDIT_INTERVAL_MS = LONG ? 600_000 : 10_000;
/** Each replica lists everything anew every `RESYNC_INTERVAL`, an hour. */
const RESYNCS = Math.floor((MINUTES + 1) / 60);
/** What the program lists and watches here. */
const WATCHED = ["observations", "vulnerabilityreports", "policyreports", "configauditreports", "ingesters"];
/** The server closes each watch after about five minutes; a change of the filters and a resync ask for a list. */
const ORDINARY = ["ended", "silent", "relist"];

Deno.test(`${MINUTES} minutes of ordinary load: no watch is listed anew without a cause, nothing is lost or doubled`, async () => {
  await using ground = await startGround();
  const { cluster, controller } = ground;
  const namespace = "ordinary";
  using others = await ground.startOthers(namespace, { alertsPerSecond: 2, changesPerSecond: 0.5 });
  const reconnects = async () =>
    seriesOf(await text(`${controller.metricsUrl}/metrics`), "zen_watcher_watch_reconnects_total");
  const lists = async () => {
    const { body } = await cluster.expect("GET", "/metrics");
    const all = seriesOf(String(body.text), "apiserver_request_total").filter(({ line }) =>
      line.includes('verb="LIST"')
    );
    return Object.fromEntries(WATCHED.map((resource) => [
      resource,
      all.filter(({ line }) => line.includes(`resource="${resource}"`)).reduce(
        (sum, { value }) => sum + value,
        0,
      ),
    ]));
  };
  await eventually("the index to be listed", async () => {
    const { storage } = JSON.parse(await text(`${controller.url}/tools/status`));
    return storage.indexComplete === true;
  });
  await others.accept(10);
  const listsBefore = await lists();
  const reconnectsBefore = new Map((await reconnects()).map(({ line, value }) => [line, value]));
  const endsAt = performance.now() + MINUTES * 60_000;
  let edits = 0;
  for (; performance.now() < endsAt; edits++) {
    const filters = { sources: { "*": { minSeverity: "UNKNOWN", excludeKinds: [`Kind${edits}`] } } };
    await cluster.expect("PATCH", "/api/v1/namespaces/zen-system/configmaps/zen-watcher-filter", {
      body: { data: { "filter.json": JSON.stringify(filters) } },
      contentType: "application/merge-patch+json",
    });
    const leftMs = Math.max(0, Math.min(EDIT_INTERVAL_MS, endsAt - performance.now()));
    await new Promise((resolve) => setTimeout(resolve, leftMs));
  }
  const listsAfter = await lists();
  const met = await others.end();
  const byReason: Record<string, number> = {};
  for (const { line, value } of await reconnects()) {
    const reason = /reason="(\w+)"/.exec(line)?.[1] ?? "";
    const risen = value - (reconnectsBefore.get(line) ?? 0);
    if (risen > 0) byReason[reason] = (byReason[reason] ?? 0) + risen;
  }
  const relisted = Object.fromEntries(
    WATCHED.map((resource) => [resource, (listsAfter[resource] ?? 0) - (listsBefore[resource] ?? 0)]),
  );
  const kept = await keptOf(cluster, { met, namespace });
  report(`${MINUTES} minutes`, {
    "alerts": met.falco.length,
    "audit events": met.audit.length,
    "changes of reports": met.trivy.length,
    "edits of the filters": edits,
    "lost": kept.lost,
    "doubled": kept.doubled,
    ...Object.fromEntries(Object.entries(byReason).map(([reason, count]) => [`watches "${reason}"`, count])),
    ...Object.fromEntries(
      Object.entries(relisted).map(([resource, count]) => [`lists of ${resource}`, count]),
    ),
  });
  assert(met.falco.length > 0 && met.trivy.length > 0);
  assertEquals(Object.keys(byReason).filter((reason) => !ORDINARY.includes(reason)), []);
  for (const [resource, count] of Object.entries(relisted)) {
    const isSource = resource.endsWith("reports");
    assert(count <= RESYNCS + (isSource ? edits : 0), `${count} lists of ${resource} after ${edits} edits`);
  }
  assertEquals([kept.lost, kept.doubled, met.failedProbes], [0, 0, []]);
});

async function text(url: string): Promise<string> {
  return await (await fetch(url)).text();
}

interface Series {
  readonly line: string;
  readonly value: number;
}

function seriesOf(metrics: string, name: string): Series[] {
  return metrics.split("\n").filter((line) => line.startsWith(`${name}{`)).map((line) => ({
    line: line.slice(0, line.lastIndexOf(" ")),
    value: Number(line.slice(line.lastIndexOf(" "))),
  }));
}
