/** Tens of thousands stored: Trivy's findings as they come in, restarts, and what the index costs. */
import { type Bundle, startBundle, UNLIMITED } from "../controller.ts";
import type { Figures } from "../figures.ts";
import { FINDINGS_PER_REPORT, REPORTS, vulnerabilityReport } from "../inputs.ts";
import {
  bare,
  type Bench,
  newRun,
  pushed,
  storedObservations,
  untilQuiet,
  usageFigures,
  wait,
} from "../measure.ts";
import { OBSERVATIONS } from "../../support/feed.ts";
import { NAMESPACE } from "../access.ts";
import { usageDuring } from "../process.ts";
import type { Scenario } from "../scenario.ts";
import { warmUp } from "./pushed.ts";

/** Room for more than the default budget of 50,000. */
const ROOM = { OBSERVATION_MAX_TOTAL: "500000", OBSERVATION_MAX_BYTES: "2GiB" };
const POLL_MS = 250;
const SYNC_MS = 900_000;
const WRITERS = 8;
const MB = 1e6;

export const TRIVY: Scenario = {
  name: "trivy",
  doc: "10,000 findings found at the start, 40,000 more while it runs, then a restart with all of them",
  heavy: true,
  once: true,
  async run(bench) {
    const { server } = bench;
    const run = newRun();
    const env = { ...UNLIMITED, ...ROOM };
    await writeReports(bench, { run, from: 0, to: 200 });
    const figures: Record<string, number> = {};
    {
      await using bundle = await startBundle(server, { env });
      const first = await syncTo(bench, bundle, { findings: 10_000, before: async () => {} });
      for (const [name, value] of Object.entries(first)) figures[`${name}10k`] = value;
      const more = await syncTo(bench, bundle, {
        findings: 50_000,
        before: () => writeReports(bench, { run, from: 200, to: 1_000 }),
      });
      for (const [name, value] of Object.entries(more)) figures[`${name}50k`] = value;
      Object.assign(figures, await reconciled(bench));
    }
    return { ...figures, ...await restart(bench, env) };
  },
};

interface Sync {
  readonly findings: number;
  /** What makes the findings, within the time measured. */
  readonly before: () => Promise<void>;
}

async function syncTo({ server }: Bench, bundle: Bundle, { findings, before }: Sync): Promise<Figures> {
  const already = (await bundle.status()).storage.observations;
  const requestsBefore = await server.requests();
  const { usage } = await usageDuring({ pid: bundle.controller.pid, apiPort: bundle.apiPort }, async () => {
    await before();
    for (const deadline = performance.now() + SYNC_MS;;) {
      const { observations } = (await bundle.status()).storage;
      if (observations >= findings) return;
      if (performance.now() > deadline) {
        throw new Error(`Cannot sync ${findings} findings: ${observations} are stored after 15 min`);
      }
      await wait(POLL_MS);
    }
  });
  const requestsAfter = await server.requests();
  const created = findings - already;
  const leases = requestsAfter.leases - requestsBefore.leases;
  return {
    ...usageFigures(usage, created),
    seconds: usage.seconds,
    createdPerSecond: created / usage.seconds,
    requestsPerEvent: (requestsAfter.own - requestsBefore.own - leases) / Math.max(1, created),
  };
}

async function writeReports(
  { server }: Bench,
  { run, from, to }: { readonly run: string; readonly from: number; readonly to: number },
): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_, offset) => from + offset).values();
  const writer = async () => {
    for (const index of numbers) await server.api.create(REPORTS, vulnerabilityReport(run, index));
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function reconciled({ server }: Bench): Promise<Figures> {
  const identities = new Set<string>();
  let objects = 0;
  for await (const { metadata } of storedObservations(server.api)) {
    objects++;
    identities.add(metadata.annotations?.["zen.kube-zen.io/identity"] ?? "");
  }
  return { lost: 1_000 * FINDINGS_PER_REPORT - identities.size, doubled: objects - identities.size };
}

/** Starts over what is stored: until it is ready, until the index is whole, until every report was evaluated again. */
async function restart({ server }: Bench, env: Readonly<Record<string, string>>): Promise<Figures> {
  const startedAt = performance.now();
  const before = await server.requests();
  await using bundle = await startBundle(server, { env });
  const { pid, readyAfterMs = NaN } = bundle.controller;
  let indexCompleteMs = NaN;
  const { usage } = await usageDuring({ pid, apiPort: bundle.apiPort }, async () => {
    for (const deadline = performance.now() + SYNC_MS; performance.now() < deadline;) {
      const { storage, books } = await bundle.status();
      if (storage.indexComplete && Number.isNaN(indexCompleteMs)) {
        indexCompleteMs = performance.now() - startedAt;
      }
      if ((books.trivy?.deduped ?? 0) + (books.trivy?.created ?? 0) >= 50_000) return;
      await wait(POLL_MS);
    }
    throw new Error("Cannot restart: the reports are not evaluated after 15 min");
  });
  await untilQuiet(bundle);
  const { books } = await bundle.status();
  const after = await server.requests();
  return {
    restartReadyMs: readyAfterMs,
    restartIndexCompleteMs: indexCompleteMs,
    restartEvaluatedMs: performance.now() - startedAt,
    restartCreated: books.trivy?.created ?? NaN,
    restartRequests: after.own - before.own - (after.leases - before.leases),
    restartRssPeakMiB: usage.rssPeakMiB,
    restartCpuSeconds: usage.cpuSeconds,
  };
}

export const STORED: Scenario = {
  name: "stored",
  doc:
    "create rate beside a bare client's, heap after garbage collection and restart at 0, 20,000 and 50,000 stored",
  heavy: true,
  once: true,
  async run(bench) {
    const figures: Record<string, number> = {};
    for (const [label, target] of [["0k", 0], ["20k", 20_000], ["50k", 50_000]] as const) {
      await fill(bench, target - await storedCount(bench));
      const found = await atLevel(bench);
      for (const [name, value] of Object.entries(found)) figures[`${name}${label}`] = value;
    }
    const growth = (of: string) => ((figures[`heapBytes${of}`] ?? NaN) - (figures.heapBytes0k ?? NaN)) / MB;
    const change = (of: string) => (figures[`ratio${of}`] ?? NaN) / (figures.ratio0k ?? NaN) - 1;
    return {
      ...figures,
      heapGrowthMB20k: growth("20k"),
      heapGrowthMB50k: growth("50k"),
      rateChange20k: change("20k"),
      rateChange50k: change("50k"),
    };
  },
};

async function storedCount({ server }: Bench): Promise<number> {
  const { items, metadata } = await server.api.list(OBSERVATIONS, { namespace: NAMESPACE, limit: 1 });
  return items.length + (metadata.remainingItemCount ?? 0);
}

async function fill(bench: Bench, count: number): Promise<void> {
  if (count <= 0) return;
  const { figures } = await bare(bench, { count, pace: { kind: "closed", concurrency: 32, maxMs: SYNC_MS } });
  if ((figures.refused ?? 0) > 0) {
    throw new Error(`Cannot fill the store: ${figures.refused} creates were refused`);
  }
}

/** At what is stored now. The API server slows down too: the rate is judged beside the bare client's at the same level. */
async function atLevel(bench: Bench): Promise<Figures> {
  const heap = await heapNow(bench);
  const plan = { count: 3_000, pace: { kind: "closed" as const, concurrency: 32, maxMs: 60_000 } };
  const client = await bare(bench, plan);
  const startedAt = performance.now();
  await using bundle = await startBundle(bench.server, { env: { ...UNLIMITED, ...ROOM } });
  while (!(await bundle.status()).storage.indexComplete) await wait(50);
  const indexCompleteMs = performance.now() - startedAt;
  await warmUp(bench, bundle);
  const { figures, usage } = await pushed(bench, {
    bundle,
    path: "/falco/webhook",
    plan: { ...plan, input: "alert" },
  });
  const rate = figures.acceptedPerSecond ?? NaN;
  const bareRate = client.figures.createdPerSecond ?? NaN;
  return {
    heapBytes: heap,
    readyAfterMs: bundle.controller.readyAfterMs ?? NaN,
    indexCompleteMs,
    acceptedPerSecond: rate,
    bareCreatedPerSecond: bareRate,
    ratio: rate / bareRate,
    rssPeakMiB: usage.rssPeakMiB,
  };
}

/** Bytes in use after garbage collection, in a controller that has its index and nothing to do. */
async function heapNow({ server }: Bench): Promise<number> {
  await using bundle = await startBundle(server, { env: ROOM, inspect: true });
  while (!(await bundle.status()).storage.indexComplete) await wait(50);
  await wait(3_000);
  return await bundle.inspector?.heapAfterGc() ?? NaN;
}
