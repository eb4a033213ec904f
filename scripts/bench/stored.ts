/** Measurements of what is stored, and of a controller that has nothing to do. */
import { createNamespaces, feedObjects, feedWebhook } from "../support/feed.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { type Bundle, startBundle, UNLIMITED, untilIndexed, wait } from "./controller.ts";
import { mean, type Row, row, shown } from "./figures.ts";
import { heapAfterGc } from "./inspector.ts";
import { NAMESPACE } from "./inputs.ts";
import { VULNERABILITY_REPORTS, vulnerabilityReport } from "../../tests/support/reports.ts";
import { bareClient, type Bench, falcoWebhook, put, stored, warmUp } from "./measure.ts";
import { cpuMs } from "./process.ts";

const MB = 1e6;
const POLL_MS = 100;
const FINDINGS_PER_REPORT = 10;

/** The create rate beside a bare client's, the heap and the start, with nothing, 20,000 and 50,000 stored. */
export async function levels(bench: Bench): Promise<Row[]> {
  const counts = bench.quick ? [0, 1_000, 2_000] : [0, 20_000, 50_000];
  const rows: Row[] = [];
  let empty: Level | undefined;
  for (const [index, count] of counts.entries()) {
    const level = await levelAt(bench, count);
    empty ??= level;
    if (index === 0) continue;
    rows.push(
      row(
        `creates ÷ bare client's with ${count} stored, against none stored`,
        level.ratio / empty.ratio,
        "×",
        { atLeast: 0.95, beside: `${shown(level.perSecond)}/s, bare ${shown(level.barePerSecond)}/s` },
      ),
      row(
        `heap after a collection with ${count} stored, growth`,
        (level.heapBytes - empty.heapBytes) / MB,
        "MB",
        { atMost: index === 1 ? 6 : 15, beside: `origin ${index === 1 ? 10 : 15} MB` },
      ),
      row(`ready after start with ${count} stored`, level.readyAfterMs, "ms", { atMost: 1_000 }),
    );
  }
  return rows;
}

interface Level {
  readonly heapBytes: number;
  readonly readyAfterMs: number;
  readonly perSecond: number;
  readonly barePerSecond: number;
  readonly ratio: number;
}

async function levelAt(bench: Bench, count: number): Promise<Level> {
  const bare = bareClient(bench);
  const missing = count - await storedCount(bench);
  if (missing > 0) {
    await put(bench, bare, { count: missing, pace: { kind: "closed", senders: 32, maxMs: 900_000 } });
  }
  const heapBytes = await heapOfIdle(bench);
  const plan = {
    count: bench.quick ? 500 : 3_000,
    pace: { kind: "closed", senders: 32, maxMs: 60_000 },
  } as const;
  const { perSecond: barePerSecond } = await put(bench, bare, plan);
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  await untilIndexed(bundle);
  await warmUp(bench, falcoWebhook(bundle));
  const { perSecond } = await put(bench, falcoWebhook(bundle), plan);
  const { readyAfterMs } = bundle;
  return { heapBytes, readyAfterMs, perSecond, barePerSecond, ratio: perSecond / barePerSecond };
}

async function storedCount({ server: { api } }: Bench): Promise<number> {
  const { items, metadata } = await api.list(OBSERVATIONS, { namespace: NAMESPACE, limit: 1 });
  return items.length + (metadata.remainingItemCount ?? 0);
}

async function heapOfIdle({ server }: Bench): Promise<number> {
  await using bundle = await startBundle(server, { env: UNLIMITED, inspect: true });
  await untilIndexed(bundle);
  await wait(3_000);
  return await heapAfterGc(bundle.controller.lines);
}

/** 50,000 findings in 5,000 reports that are there at the start; then a restart over all that is stored. */
export async function reports(bench: Bench): Promise<Row[]> {
  const { server } = bench;
  const count = bench.quick ? 100 : 5_000;
  const findings = count * FINDINGS_PER_REPORT;
  const plan = {
    count: bench.quick ? 500 : 5_000,
    pace: { kind: "closed", senders: 32, maxMs: 60_000 },
  } as const;
  const numbers = Array.from({ length: count }, (_, number) => number).values();
  const writer = async () => {
    for (const number of numbers) {
      await server.api.create(
        VULNERABILITY_REPORTS,
        vulnerabilityReport(NAMESPACE, number, FINDINGS_PER_REPORT),
      );
    }
  };
  await Promise.all(Array.from({ length: 8 }, writer));
  const { perSecond: before } = await put(bench, bareClient(bench), plan);
  const storedMs = await (async () => {
    await using bundle = await startBundle(server, { env: UNLIMITED });
    return await elapsedUntil(bundle, ({ created = 0 }) => created >= findings);
  })();
  const bare = mean([before, (await put(bench, bareClient(bench), plan)).perSecond]);
  const perSecond = findings * 1_000 / storedMs;
  const { writes } = await server.requests();
  await using bundle = await startBundle(server, { env: UNLIMITED });
  const startedAt = performance.now() - bundle.readyAfterMs;
  await untilIndexed(bundle);
  const indexedMs = performance.now() - startedAt;
  await elapsedUntil(bundle, ({ deduped = 0, created = 0 }) => deduped + created >= findings);
  const evaluatedMs = performance.now() - startedAt;
  const written = (await server.requests()).writes - writes;
  const restart = `restart over ${findings} findings in ${count} reports`;
  return [
    row(`${findings} findings in ${count} reports: stored ÷ bare client's creates`, perSecond / bare, "×", {
      atLeast: 0.8,
      beside: `${shown(perSecond)}/s, bare ${shown(bare)}/s`,
    }),
    row(`${restart}: ready`, bundle.readyAfterMs, "ms", { atMost: 1_000 }),
    row(`${restart}: index complete`, indexedMs / 1_000, "s", { atMost: 15 }),
    row(`${restart}: all evaluated`, evaluatedMs / 1_000, "s", { atMost: 30 }),
    row(`${restart}: writes`, written, "", { atMost: 0 }),
  ];
}

async function elapsedUntil(
  bundle: Bundle,
  done: (books: Readonly<Record<string, number>>) => boolean,
): Promise<number> {
  const startedAt = performance.now();
  while (!done((await bundle.status()).books.trivy ?? {})) await wait(POLL_MS);
  return performance.now() - startedAt;
}

/** The samples of the demo as they are stored. */
export async function size({ server }: Bench): Promise<Row[]> {
  await feedObjects(server.api);
  await using bundle = await startBundle(server);
  for (const source of ["falco", "audit"]) {
    await feedWebhook(`${bundle.controller.url}/${source}/webhook`, `${source}.ndjson`);
  }
  for (let last = -1, now = 0; now !== last || now === 0; await wait(2_000)) {
    [last, now] = [now, (await bundle.status()).storage.observations];
  }
  const sizes: number[] = [];
  for await (const object of stored(server)) {
    const { managedFields: _, ...metadata } = object.metadata;
    sizes.push(new TextEncoder().encode(JSON.stringify({ ...object, metadata })).length);
  }
  const beside = `${sizes.length} objects, without managedFields as kubectl shows them; origin 2.2 KB`;
  return [row("mean stored size", mean(sizes) / 1_000, "KB", { atMost: 2.25, beside })];
}

/** The samples stored and nothing to do, for two minutes. */
export async function idle({ server, quick }: Bench): Promise<Row[]> {
  await createNamespaces(server.api, [NAMESPACE]);
  await feedObjects(server.api);
  await using bundle = await startBundle(server);
  await wait(quick ? 3_000 : 30_000);
  const minutes = quick ? 0.1 : 2;
  const pids = [bundle.controller.pid];
  const [cpuBefore, before] = [await cpuMs(pids), await server.requests()];
  await wait(minutes * 60_000);
  const [cpu, after] = [await cpuMs(pids) - cpuBefore, await server.requests()];
  const { workingSetMiB, anonymousMiB } = await bundle.memory();
  const perMinute = (after.own - before.own) / minutes;
  const beside = `anonymous ${shown(anonymousMiB)}; origin 35`;
  return [
    row("ready after start", bundle.readyAfterMs, "ms", { atMost: 1_000 }),
    row("memory (working set) at rest", workingSetMiB, "MiB", { atMost: 65, beside }),
    row("CPU at rest", cpu / minutes / 600, "% of a core", { atMost: 0.5, beside: "origin 0.2" }),
    row("API requests at rest, with the lease's 30", perMinute, "/min", {
      atMost: 45,
      beside: "origin 10–15 without the lease's",
    }),
  ];
}
