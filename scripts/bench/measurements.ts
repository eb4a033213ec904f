/** The measurements: what is pushed at the Falco webhook, what is stored, and a controller that has nothing to do. */
import {
  type BenchServer,
  type Bundle,
  cpuMs,
  heapAfterGc,
  type Memory,
  openServer,
  pin,
  startBundle,
  UNLIMITED,
  untilIndexed,
  untilStatus,
} from "./processes.ts";
import { type FigureRow, mean, percentile, reconcile, row, shown } from "./figures.ts";
import { BENCH_NAMESPACE, type BenchLoad, numberPattern, OBSERVATIONS_PATH, startWorker } from "./tasks.ts";
import { V8_FLAGS } from "../support/permissions.ts";
import { createNamespaces, feedObjects, feedWebhook } from "../support/feed.ts";
import { sleep } from "../../src/kube/retry.ts";
import { VULNERABILITY_REPORTS, vulnerabilityReport } from "../../tests/support/reports.ts";
import { listedObjects } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";

/** Each starts with an API server of its own. */
export const MEASUREMENTS: Readonly<Record<string, (bench: Bench) => Promise<FigureRow[]>>> = {
  unique,
  rates,
  duplicates,
  levels,
  reports,
  size,
  idle,
};

/** What a measurement works with: a server of its own, and the processes that send and watch. */
export type Bench = Awaited<ReturnType<typeof openBench>>;

const PAGE = 500;
const SAMPLE_MS = 200;

/** Starts all of it. `quick`: a short look, whose figures say little. */
export async function openBench(entry: string, quick: boolean) {
  await using opened = new AsyncDisposableStack();
  const server = opened.use(await openServer(entry));
  const load = opened.use(startWorker());
  const watcher = opened.use(startWorker());
  const all = opened.move();
  return { server, load, watcher, quick, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** The server that gets the load. */
interface Target extends Pick<BenchLoad, "url" | "token" | "caPem" | "input"> {
  /** The answer that acknowledges. */
  readonly accepts: 200 | 201;
  /** The process whose time counts. */
  readonly pid?: number;
  readonly memory?: () => Promise<Memory>;
  /** Waits for what an acknowledged event costs later. */
  readonly quiet?: () => Promise<void>;
}

/** The bare client: the load generator creates the Observations itself, over the HTTP client that the controller has. */
function bareClient({ server: { own } }: Bench): Target {
  return { ...own, url: own.url + OBSERVATIONS_PATH, input: "observations", accepts: 201 };
}

/** The floor: a server without logic between the load generator and the API server. */
async function startFloor({ server: { own } }: Bench): Promise<Target & AsyncDisposable> {
  const floor = startWorker();
  const { url } = await floor.ask("floor", own);
  const dispose = () => floor[Symbol.asyncDispose]();
  return { url, input: "observations", accepts: 200, pid: floor.pid, [Symbol.asyncDispose]: dispose };
}

/** The controller's Falco webhook. */
function falcoWebhook(bundle: Bundle): Target {
  const { controller: { url, pid }, memory } = bundle;
  const quiet = () => untilStatus(bundle, ({ storage }) => storage.statusWritesPending === 0);
  return { url: `${url}/falco/webhook`, input: "alerts", accepts: 200, pid, memory, quiet };
}

/** What one load showed. */
type Seen = Awaited<ReturnType<typeof put>>;

/** How much is sent, and how. */
interface Plan extends Pick<BenchLoad, "count" | "pace"> {
  readonly watched?: boolean;
}

/** Puts a load on a target. Throws where nothing of it was acknowledged. */
async function put(bench: Bench, target: Target, { watched = false, ...plan }: Plan) {
  const { server, load, watcher } = bench;
  const { accepts, pid, memory, quiet, ...to } = target;
  const run = crypto.randomUUID().slice(0, 8);
  if (watched) await watcher.ask("watch", { access: server.admin, run });
  const samples: Memory[] = [];
  const timer = setInterval(() => memory?.().then((now) => samples.push(now), () => {}), SAMPLE_MS);
  const pids = pid === undefined ? [] : [pid];
  const cpuBefore = await cpuMs(pids);
  const result = await load.ask("load", { ...to, ...plan, run }).finally(() => clearInterval(timer));
  await quiet?.();
  const cpu = await cpuMs(pids) - cpuBefore;
  const sightings = watched ? await watcher.ask("sightings", undefined) : [];
  const { due, done, status } = result;
  const accepted = status.flatMap((each, number) => each === accepts ? [number] : []);
  if (accepted.length === 0) throw new Error(`Cannot load "${to.url}": ${result.complaint}`);
  const first = due.reduce((a, b) => Math.min(a, b), Infinity);
  const last = done.reduce((a, b) => Math.max(a, b), 0);
  return {
    run,
    accepted,
    perSecond: accepted.length * 1_000 / (last - first),
    /** From when a request was due to when the watcher saw its Observation; nothing where no watcher ran. */
    visibleMs: sightings.map(([number, at]) => at - (due[number] ?? NaN)),
    /** Of the target's process, for each acknowledged request. */
    cpuMsEach: cpu / accepted.length,
    memory: samples,
  };
}

/** So many requests, as fast as the senders can, for at most this time. */
function closed(count: number, { senders = 32, maxMs = 60_000 } = {}): Plan {
  return { count, pace: { kind: "closed", senders, maxMs } };
}

/** The first requests of a process are compiled, not measured. */
async function warmUp(bench: Bench, target: Target): Promise<void> {
  await put(bench, target, closed(bench.quick ? 300 : 2_000, { senders: 16 }));
}

/** The load by each number of senders in turn: the fastest. `look` sees them all. */
async function fastest(
  bench: Bench,
  target: Target,
  { senders, look }: { senders: readonly number[]; look?: (seen: Seen) => Promise<void> },
): Promise<number> {
  const maxMs = bench.quick ? 1_500 : 4_000;
  let best = 0;
  for (const each of senders) {
    const seen = await put(bench, target, closed(maxMs * 3, { senders: each, maxMs }));
    await look?.(seen);
    best = Math.max(best, seen.perSecond);
  }
  return best;
}

/** The numbers of a run's stored Observations, one for each object. */
async function storedNumbers({ server }: Bench, run: string): Promise<number[]> {
  const pattern = numberPattern(run);
  const found: number[] = [];
  for await (const { spec } of stored(server)) {
    const number = pattern.exec(JSON.stringify(spec))?.[1];
    if (number !== undefined) found.push(Number(number));
  }
  return found;
}

/** Every stored Observation, page by page. */
function stored({ api }: Pick<BenchServer, "api">) {
  return listedObjects((page) => api.list(OBSERVATIONS, { limit: PAGE, ...page }));
}

const CORES = navigator.hardwareConcurrency;
const ALL_CORES = `0-${CORES - 1}`;

/** Unique events as fast as they are acknowledged, beside the bare client: the API server on a core of its own, and sharing all. */
async function unique(bench: Bench): Promise<FigureRow[]> {
  const rows: FigureRow[] = [];
  if (CORES > 1 && await pin(bench.server.pids, "0")) {
    await pin([bench.load.pid], `1-${CORES - 1}`);
    const where = "API server on its own core";
    rows.push(...await uniqueOn(bench, { cores: `1-${CORES - 1}`, atLeast: 0.8, where }));
    await pin([...bench.server.pids, bench.load.pid], ALL_CORES);
  }
  rows.push(...await uniqueOn(bench, { cores: ALL_CORES, atLeast: 0.7, where: `${CORES} cores shared` }));
  return rows;
}

async function uniqueOn(
  bench: Bench,
  { cores, atLeast, where }: { readonly cores: string; readonly atLeast: number; readonly where: string },
): Promise<FigureRow[]> {
  const senders = bench.quick ? [32] : [8, 16, 32, 64];
  const bare = bareClient(bench);
  await warmUp(bench, bare);
  // A shared machine is not the same a minute later: the bare client has its turn before and after.
  const before = await fastest(bench, bare, { senders });
  const found = { lost: 0, doubled: 0 };
  const best = await (async () => {
    await using bundle = await startBundle(bench.server, { env: UNLIMITED });
    await pin([bundle.controller.pid], cores);
    const webhook = falcoWebhook(bundle);
    await warmUp(bench, webhook);
    const look = async ({ run, accepted }: Seen) => {
      const { lost, doubled } = reconcile(accepted, await storedNumbers(bench, run));
      found.lost += lost;
      found.doubled += doubled;
    };
    return await fastest(bench, webhook, { senders, look });
  })();
  const bareBest = mean([before, await fastest(bench, bare, { senders })]);
  return [
    row(`unique events ÷ bare client's creates, ${where}`, best / bareBest, "×", {
      atLeast,
      beside: `${shown(best)}/s, bare ${shown(bareBest)}/s; origin 200/s, reference 147/s`,
    }),
    row(`of those lost or stored twice, ${where}`, found.lost + found.doubled, "", { atMost: 0 }),
  ];
}

/** Unique events at fixed rates: how soon they are visible, what they cost, and the memory, beside the bare client and the floor. */
async function rates(bench: Bench): Promise<FigureRow[]> {
  const rows: FigureRow[] = [];
  const seconds = bench.quick ? 3 : 15;
  await using floor = await startFloor(bench);
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  const webhook = falcoWebhook(bundle);
  for (const target of [bareClient(bench), floor, webhook]) await warmUp(bench, target);
  for (const ratePerSecond of [50, 100, 200]) {
    const plan = { count: ratePerSecond * seconds, pace: { kind: "open", ratePerSecond } } as const;
    const bare = await put(bench, bareClient(bench), { ...plan, watched: true });
    const plain = await put(bench, floor, plan);
    const seen = await put(bench, webhook, { ...plan, watched: true });
    for (const [share, name, atMost] of [[0.5, "p50", 1.5], [0.99, "p99", 2]] as const) {
      const [ours, theirs] = [percentile(seen.visibleMs, share), percentile(bare.visibleMs, share)];
      rows.push(
        row(`POST → visible ÷ bare create → watch, ${name} at ${ratePerSecond}/s`, ours / theirs, "×", {
          ...(ratePerSecond < 200 ? { atMost } : {}),
          beside: `${shown(ours)} ms, bare ${shown(theirs)} ms; origin ${name === "p50" ? 18 : 130} ms`,
        }),
      );
    }
    rows.push(
      row(`CPU per Observation ÷ the floor's, at ${ratePerSecond}/s`, seen.cpuMsEach / plain.cpuMsEach, "×", {
        atMost: 1.8,
        beside: `${shown(seen.cpuMsEach)} ms, floor ${shown(plain.cpuMsEach)} ms; reference 1.9 ms`,
      }),
    );
    if (ratePerSecond < 200) continue;
    const [workingSet, anonymous] = (["workingSetMiB", "anonymousMiB"] as const)
      .map((part) => mean(seen.memory.map((sample) => sample[part])));
    const beside = `anonymous ${shown(anonymous ?? NaN)}; origin 95`;
    rows.push(row("memory (working set) at 200/s", workingSet ?? NaN, "MiB", { atMost: 90, beside }));
  }
  return rows;
}

/** Repeats of a thousand events, decided in process. */
async function duplicates({ quick }: Bench): Promise<FigureRow[]> {
  await using worker = startWorker([V8_FLAGS]);
  const question = quick ? { warmUp: 10, rounds: 10 } : { warmUp: 30, rounds: 100 };
  const measured = await worker.ask("duplicates", question);
  return [row("duplicates decided in process, by CPU time", measured, "/s", { atLeast: 10_000 })];
}

const MB = 1e6;
const FINDINGS_PER_REPORT = 10;

/** The create rate beside a bare client's, the heap and the start, with nothing, 20,000 and 50,000 stored. */
async function levels(bench: Bench): Promise<FigureRow[]> {
  const counts = bench.quick ? [0, 1_000, 2_000] : [0, 20_000, 50_000];
  const rows: FigureRow[] = [];
  let empty: Awaited<ReturnType<typeof levelAt>> | undefined;
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

async function levelAt(bench: Bench, count: number) {
  const bare = bareClient(bench);
  const missing = count - await storedCount(bench);
  if (missing > 0) await put(bench, bare, closed(missing, { maxMs: 900_000 }));
  const heapBytes = await heapOfIdle(bench);
  const plan = closed(bench.quick ? 500 : 3_000);
  const { perSecond: barePerSecond } = await put(bench, bare, plan);
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  await untilIndexed(bundle);
  await warmUp(bench, falcoWebhook(bundle));
  const { perSecond } = await put(bench, falcoWebhook(bundle), plan);
  const { readyAfterMs } = bundle;
  return { heapBytes, readyAfterMs, perSecond, barePerSecond, ratio: perSecond / barePerSecond };
}

async function storedCount({ server: { api } }: Bench): Promise<number> {
  const { items, metadata } = await api.list(OBSERVATIONS, { namespace: BENCH_NAMESPACE, limit: 1 });
  return items.length + (metadata.remainingItemCount ?? 0);
}

async function heapOfIdle({ server }: Bench): Promise<number> {
  await using bundle = await startBundle(server, { env: UNLIMITED, inspect: true });
  await untilIndexed(bundle);
  await sleep(3_000);
  return await heapAfterGc(bundle.controller.lines);
}

/** 50,000 findings in 5,000 reports that are there at the start; then a restart over all that is stored. */
async function reports(bench: Bench): Promise<FigureRow[]> {
  const { server } = bench;
  const count = bench.quick ? 100 : 5_000;
  const findings = count * FINDINGS_PER_REPORT;
  const plan = closed(bench.quick ? 500 : 5_000);
  const numbers = Array.from({ length: count }, (_, number) => number).values();
  const writer = async () => {
    for (const number of numbers) {
      const report = vulnerabilityReport(BENCH_NAMESPACE, number, FINDINGS_PER_REPORT);
      await server.api.create(VULNERABILITY_REPORTS, report);
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
  await untilStatus(bundle, ({ books }) => done(books.trivy ?? {}));
  return performance.now() - startedAt;
}

/** The samples of the demo as they are stored. */
async function size({ server }: Bench): Promise<FigureRow[]> {
  await feedObjects(server.api);
  await using bundle = await startBundle(server);
  for (const source of ["falco", "audit"]) {
    await feedWebhook(`${bundle.controller.url}/${source}/webhook`, `${source}.ndjson`);
  }
  for (let last = -1, now = 0; now !== last || now === 0; await sleep(2_000)) {
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
async function idle({ server, quick }: Bench): Promise<FigureRow[]> {
  await createNamespaces(server.api, [BENCH_NAMESPACE]);
  await feedObjects(server.api);
  await using bundle = await startBundle(server);
  await sleep(quick ? 3_000 : 30_000);
  const minutes = quick ? 0.1 : 2;
  const pids = [bundle.controller.pid];
  const [cpuBefore, before] = [await cpuMs(pids), await server.requests()];
  await sleep(minutes * 60_000);
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
