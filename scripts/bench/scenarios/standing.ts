/** What the controller costs while nothing happens: start, idle, the size of what is stored. */
import { parse } from "yaml";
import type { JsonObject } from "../../../src/model/json.ts";
import { NAMESPACE } from "../access.ts";
import { startBundle } from "../controller.ts";
import { storedObservations, usageFigures, wait } from "../measure.ts";
import { memoryOf, usageDuring } from "../process.ts";
import type { Scenario } from "../scenario.ts";
import { type BenchServer, writeFilters } from "../server.ts";
import { createNamespaces, feedObjects, feedWebhook } from "../../support/feed.ts";

export const START: Scenario = {
  name: "start",
  doc: "from the start of the process to the first 200 of /ready, nothing stored",
  quick: true,
  async run({ server, quick }) {
    await using bundle = await startBundle(server);
    await wait(quick ? 2_000 : 5_000);
    const { rssMiB, peakMiB } = await memoryOf(bundle.controller.pid);
    return { readyAfterMs: bundle.controller.readyAfterMs ?? NaN, rssMiB, rssPeakMiB: peakMiB };
  },
};

export const IDLE: Scenario = {
  name: "idle",
  doc: "the samples of the demo stored, then nothing for two minutes",
  quick: true,
  once: true,
  async run({ server, quick }) {
    await createNamespaces(server.api, [NAMESPACE]);
    await feedObjects(server.api);
    const leasesAlone = await leasesPerSecond(server, quick ? 0 : 30_000);
    await using bundle = await startBundle(server);
    await wait(quick ? 3_000 : 30_000);
    const before = await server.requests();
    const { usage } = await usageDuring(
      { pid: bundle.controller.pid, apiPort: bundle.apiPort },
      () => wait(quick ? 6_000 : 120_000),
    );
    const after = await server.requests();
    const leases = after.leases - before.leases - leasesAlone * usage.seconds;
    const perMinute = (requests: number) => requests * 60 / usage.seconds;
    return {
      ...usageFigures(usage, 0),
      cpuPercent: usage.cpuSeconds * 100 / usage.seconds,
      // Reading the metrics is an administrator's request, not the controller's.
      requestsPerMinute: perMinute(after.own - before.own - leases),
      leaseRequestsPerMinute: perMinute(leases),
    };
  },
};

export const FILTERED_IDLE: Scenario = {
  name: "idle-filtered",
  doc: "as idle, under the chart's own filters: what reads them is loaded",
  quick: true,
  async run({ server, quick }) {
    await createNamespaces(server.api, [NAMESPACE]);
    await feedObjects(server.api);
    await writeFilters(server, await chartFilters());
    await using bundle = await startBundle(server);
    await wait(quick ? 3_000 : 20_000);
    const { usage } = await usageDuring(
      { pid: bundle.controller.pid, apiPort: bundle.apiPort },
      () => wait(quick ? 2_000 : 10_000),
    );
    return { rssMeanMiB: usage.rssMeanMiB, rssPeakMiB: usage.rssPeakMiB };
  },
};

/** The filters in the chart's values, by source. */
async function chartFilters(): Promise<JsonObject> {
  const text = await Deno.readTextFile(new URL("../../../helm/zen-watcher/values.yaml", import.meta.url));
  return parse(text).filters.sources;
}

/** A kube-apiserver renews a lease of its own. */
async function leasesPerSecond(server: BenchServer, ms: number): Promise<number> {
  if (ms === 0 || server.kind !== "real") return 0;
  const before = await server.requests();
  await wait(ms);
  const after = await server.requests();
  return (after.leases - before.leases) * 1_000 / ms;
}

export const SIZES: Scenario = {
  name: "sizes",
  doc: "the demo's samples as they are stored",
  quick: true,
  async run({ server }) {
    await feedObjects(server.api);
    await using bundle = await startBundle(server);
    await feedWebhook(`${bundle.controller.url}/falco/webhook`, "falco.ndjson");
    await feedWebhook(`${bundle.controller.url}/audit/webhook`, "audit.ndjson");
    const settled = async () => (await bundle.status()).storage.observations;
    for (let last = -1, now = await settled(); now !== last; now = await settled()) {
      last = now;
      await wait(1_500);
    }
    let bytes = 0;
    let bytesWithoutManagedFields = 0;
    let objects = 0;
    const text = new TextEncoder();
    for await (const object of storedObservations(server.api, "")) {
      const { managedFields: _, ...metadata } = object.metadata;
      objects++;
      bytes += text.encode(JSON.stringify(object)).length;
      bytesWithoutManagedFields += text.encode(JSON.stringify({ ...object, metadata })).length;
    }
    return {
      objects,
      meanBytes: bytes / objects,
      meanBytesWithoutManagedFields: bytesWithoutManagedFields / objects,
    };
  },
};
