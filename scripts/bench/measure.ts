/** One load put on the API server by a bare client, or on the controller, and what is seen of it. */
import { OBSERVATIONS } from "../support/feed.ts";
import { type Access, NAMESPACE, OBSERVATIONS_PATH } from "./access.ts";
import type { Bundle } from "./controller.ts";
import { type Figures, latencies, reconcile } from "./figures.ts";
import { AUDIT_RELEVANT, numberPattern } from "./inputs.ts";
import type { Load, LoadResult } from "./load.ts";
import { cpuSeconds, type Usage, usageDuring } from "./process.ts";
import type { BenchServer } from "./server.ts";
import type { Sightings } from "./watch.ts";
import type { Worker } from "./worker.ts";

/** What scenarios work with. */
export interface Bench {
  readonly server: BenchServer;
  readonly load: Worker;
  readonly watcher: Worker;
  /** A short look instead of a measurement. */
  readonly quick: boolean;
  readonly note: (text: string) => Promise<void>;
  /** Where profiles go, for the scenario that takes them. */
  readonly profiles: string;
}

type Plan = Omit<Load, "url" | "token" | "caPem" | "run">;

const QUIET_MS = 20_000;
const POLL_MS = 100;
const PAGE = 500;

/** The bare client: `fetch` over kept-alive HTTP/1.1, with which events are sent to the controller too; bodies made before. */
export async function bare(
  { server, load, watcher }: Bench,
  plan: Omit<Plan, "input">,
  { watched = false } = {},
): Promise<{ readonly figures: Figures; readonly result: LoadResult }> {
  const run = newRun();
  const { url, caPem, token } = server.access;
  if (watched) await startWatch(watcher, server.admin, run);
  const cpuBefore = await serverCpu(server);
  const result = await load.ask<LoadResult>({
    ...plan,
    url: url + OBSERVATIONS_PATH,
    caPem,
    token,
    run,
    input: "observation",
  });
  const cpu = await serverCpu(server) - cpuBefore;
  const visible = watched ? visibleAfter(result, await watcher.ask<Sightings>({ ask: "stop" })) : [];
  const created = numbersWith(result, 201).length;
  return {
    result,
    figures: {
      createdPerSecond: created / secondsOf(result),
      refused: result.status.length - created,
      serverCpuMsPerCreate: cpu * 1_000 / Math.max(1, created),
      ...latencies("post", timesOf(result, 201)),
      ...latencies("visible", visible),
    },
  };
}

/** Events through the controller's webhook. */
export async function pushed(
  bench: Bench,
  { bundle, path, plan, watched = false }: {
    readonly bundle: Bundle;
    readonly path: string;
    readonly plan: Plan;
    readonly watched?: boolean;
  },
): Promise<{ readonly figures: Figures; readonly result: LoadResult; readonly usage: Usage }> {
  const { server, load, watcher } = bench;
  const run = newRun();
  if (watched) await startWatch(watcher, server.admin, run);
  const before = await server.requests();
  const cpuBefore = await serverCpu(server);
  const pid = bundle.controller.pid;
  const { result, usage } = await usageDuring({ pid, apiPort: bundle.apiPort }, async () => {
    return await load.ask<LoadResult>({ ...plan, url: bundle.controller.url + path, run });
  });
  const cpu = await serverCpu(server) - cpuBefore;
  await untilQuiet(bundle);
  const after = await server.requests();
  const sightings = watched ? await watcher.ask<Sightings>({ ask: "stop" }) : [];
  const accepted = numbersWith(result, 200);
  const stored = await storedNumbers(server, run);
  const seconds = secondsOf(result);
  const requests = after.own - before.own - (after.leases - before.leases);
  const { counts, statuses } = result;
  return {
    result,
    usage,
    figures: {
      seconds,
      acceptedPerSecond: accepted.length / seconds,
      createdPerSecond: (counts.created ?? 0) / seconds,
      refused: statuses[503] ?? 0,
      unanswered: result.status.filter((status) => ![200, 503].includes(status)).length,
      ...reconcile(namedBy(plan.input, accepted), stored),
      ...latencies("post", timesOf(result, 200)),
      ...latencies("visible", visibleAfter(result, sightings)),
      ...usageFigures(usage, accepted.length),
      requestsPerEvent: requests / Math.max(1, accepted.length),
      serverCpuMsPerEvent: cpu * 1_000 / Math.max(1, accepted.length),
    },
  };
}

/** The numbers in the names of what these requests say: a batch holds many. */
function namedBy(input: Plan["input"], accepted: readonly number[]): number[] {
  if (input !== "audit") return [...accepted];
  return accepted.flatMap((batch) =>
    Array.from({ length: AUDIT_RELEVANT }, (_, index) => batch * AUDIT_RELEVANT + index)
  );
}

/** Memory, processor time and sockets as figures, per `events`. */
export function usageFigures(usage: Usage, events: number): Figures {
  const { seconds, cpuSeconds, rssMeanMiB, rssPeakMiB, socketsPeak } = usage;
  return {
    cpuSecondsPer1000: cpuSeconds * 1_000 / Math.max(1, events),
    millicores: cpuSeconds * 1_000 / seconds,
    rssMeanMiB,
    rssPeakMiB,
    sockets: socketsPeak,
  };
}

/** Waits until no status write is due. */
export async function untilQuiet(bundle: Bundle): Promise<void> {
  for (const deadline = performance.now() + QUIET_MS; performance.now() < deadline;) {
    const { storage } = await bundle.status();
    if (storage.statusWritesPending === 0) return;
    await wait(POLL_MS);
  }
}

/** The numbers in the names of what is stored, one for each object. */
async function storedNumbers({ api }: BenchServer, run: string): Promise<number[]> {
  const pattern = numberPattern(run);
  const found: number[] = [];
  for await (const object of storedObservations(api)) {
    const number = pattern.exec(JSON.stringify(object.spec))?.[1];
    if (number !== undefined) found.push(Number(number));
  }
  return found;
}

/** Every stored Observation, page by page. */
export async function* storedObservations(api: BenchServer["api"], namespace = NAMESPACE) {
  let continueAt: string | undefined;
  do {
    const page = await api.list(OBSERVATIONS, {
      ...(namespace === "" ? {} : { namespace }),
      limit: PAGE,
      ...(continueAt === undefined ? {} : { continue: continueAt }),
    });
    yield* page.items;
    continueAt = page.metadata.continue || undefined;
  } while (continueAt !== undefined);
}

/** A mark of its own for each load. */
export function newRun(): string {
  return crypto.randomUUID().slice(0, 8);
}

export function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function startWatch(watcher: Worker, access: Access, run: string): Promise<void> {
  await watcher.ask({ ask: "start", access, run });
}

async function serverCpu({ pids }: BenchServer): Promise<number> {
  return (await Promise.all(pids.map(cpuSeconds))).reduce((sum, seconds) => sum + seconds, 0);
}

function numbersWith({ status, number }: LoadResult, wanted: number): number[] {
  return number.filter((_, index) => status[index] === wanted);
}

function timesOf({ status, due, done }: LoadResult, wanted: number): number[] {
  return done.map((at, index) => at - (due[index] ?? 0)).filter((_, index) => status[index] === wanted);
}

function visibleAfter({ due, number }: LoadResult, sightings: Sightings): number[] {
  const dueAt = new Map<number, number>();
  for (const [index, each] of number.entries()) if (!dueAt.has(each)) dueAt.set(each, due[index] ?? 0);
  return sightings.flatMap(([each, at]) => {
    const was = dueAt.get(each);
    return was === undefined ? [] : [at - was];
  });
}

function secondsOf({ due, done }: LoadResult): number {
  let first = Infinity;
  let last = 0;
  for (const at of due) first = Math.min(first, at);
  for (const at of done) last = Math.max(last, at);
  return Math.max(0.001, (last - first) / 1_000);
}
