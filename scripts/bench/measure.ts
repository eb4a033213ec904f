/** One load on one target, and what is seen of it. */
import { listedObjects } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { type Bundle, untilQuiet } from "./controller.ts";
import { numberPattern, OBSERVATIONS_PATH } from "./inputs.ts";
import type { Load } from "./tasks.ts";
import { cpuMs, type Memory } from "./process.ts";
import { type BenchServer, openServer } from "./server.ts";
import { startWorker, type Worker } from "./worker.ts";

/** What a measurement works with: a server of its own, and the processes that send and watch. */
export interface Bench extends AsyncDisposable {
  readonly server: BenchServer;
  readonly load: Worker;
  readonly watcher: Worker;
  /** A short look, whose figures say little. */
  readonly quick: boolean;
}

const PAGE = 500;
const SAMPLE_MS = 200;

/** Starts all of it. */
export async function openBench(entry: string, quick: boolean): Promise<Bench> {
  await using opened = new AsyncDisposableStack();
  const server = opened.use(await openServer(entry));
  const load = opened.use(startWorker());
  const watcher = opened.use(startWorker());
  const all = opened.move();
  return { server, load, watcher, quick, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Who is sent the load. */
export interface Target extends Pick<Load, "url" | "token" | "caPem" | "input"> {
  /** The answer that acknowledges. */
  readonly accepts: 200 | 201;
  /** The process whose time counts. */
  readonly pid?: number;
  readonly memory?: () => Promise<Memory>;
  /** Waits for what an acknowledged event costs later. */
  readonly quiet?: () => Promise<void>;
}

/** The bare client: the load generator creates the Observations itself, over the HTTP client that the controller has. */
export function bareClient({ server: { own } }: Bench): Target {
  return { ...own, url: own.url + OBSERVATIONS_PATH, input: "observations", accepts: 201 };
}

/** The floor: a server without logic between the load generator and the API server. */
export async function startFloor({ server: { own } }: Bench): Promise<Target & AsyncDisposable> {
  const floor = startWorker();
  const { url } = await floor.ask("floor", own);
  const dispose = () => floor[Symbol.asyncDispose]();
  return { url, input: "observations", accepts: 200, pid: floor.pid, [Symbol.asyncDispose]: dispose };
}

/** The controller's Falco webhook. */
export function falcoWebhook(bundle: Bundle): Target {
  const { controller: { url, pid }, memory } = bundle;
  const quiet = () => untilQuiet(bundle);
  return { url: `${url}/falco/webhook`, input: "alerts", accepts: 200, pid, memory, quiet };
}

/** What one load showed. */
export interface Seen {
  readonly run: string;
  /** Numbers of the acknowledged events. */
  readonly accepted: readonly number[];
  readonly perSecond: number;
  /** From when a request was due to when the watcher saw its Observation; nothing where no watcher ran. */
  readonly visibleMs: readonly number[];
  /** Of the target's process, for each acknowledged request. */
  readonly cpuMsEach: number;
  readonly memory: readonly Memory[];
}

/** How much is sent, and how. */
export interface Plan extends Pick<Load, "count" | "pace"> {
  readonly watched?: boolean;
}

/** Puts a load on a target. Throws where nothing of it was acknowledged. */
export async function put(bench: Bench, target: Target, { watched = false, ...plan }: Plan): Promise<Seen> {
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
    visibleMs: sightings.map(([number, at]) => at - (due[number] ?? NaN)),
    cpuMsEach: cpu / accepted.length,
    memory: samples,
  };
}

/** The first requests of a process are compiled, not measured. */
export async function warmUp(bench: Bench, target: Target): Promise<void> {
  const pace = { kind: "closed", senders: 16, maxMs: 60_000 } as const;
  await put(bench, target, { count: bench.quick ? 300 : 2_000, pace });
}

/** The load by each number of senders in turn: the fastest. `look` sees them all. */
export async function fastest(
  bench: Bench,
  target: Target,
  { senders, look }: { senders: readonly number[]; look?: (seen: Seen) => Promise<void> },
): Promise<number> {
  const maxMs = bench.quick ? 1_500 : 4_000;
  let best = 0;
  for (const each of senders) {
    const seen = await put(bench, target, {
      count: maxMs * 3,
      pace: { kind: "closed", senders: each, maxMs },
    });
    await look?.(seen);
    best = Math.max(best, seen.perSecond);
  }
  return best;
}

/** The numbers of a run's stored Observations, one for each object. */
export async function storedNumbers({ server }: Bench, run: string): Promise<number[]> {
  const pattern = numberPattern(run);
  const found: number[] = [];
  for await (const { spec } of stored(server)) {
    const number = pattern.exec(JSON.stringify(spec))?.[1];
    if (number !== undefined) found.push(Number(number));
  }
  return found;
}

/** Every stored Observation, page by page. */
export function stored({ api }: Pick<BenchServer, "api">) {
  return listedObjects((page) => api.list(OBSERVATIONS, { limit: PAGE, ...page }));
}
