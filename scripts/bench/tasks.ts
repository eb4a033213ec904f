/** What is sent, and the processes that send and watch: each reads questions and writes answers, one line of JSON each. */
import { Hono } from "hono";
import process from "node:process";
import { listen } from "../../src/http/server.ts";
import { sleep } from "../../src/kube/retry.ts";
import { errorMessage } from "../../src/model/error_message.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { createDryRun } from "../../src/cli/operate/dry_run.ts";
import { chooseSource } from "../../src/cli/operate/chosen_source.ts";
import { compileFilters } from "../../src/filters/filter.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { readSettings } from "../../src/settings.ts";
import { linesOf } from "../support/lines.ts";

type Tasks = typeof TASKS;

const ENTRY = new URL("tasks.ts", import.meta.url).pathname;
const END_MS = 5_000;

/** Starts a process that does tasks, one after the other. */
export function startWorker(denoArgs: readonly string[] = []) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", ...denoArgs, ENTRY],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const input = child.stdin.getWriter();
  const lines = linesOf(child.stdout);
  return {
    pid: child.pid,
    /** Does a task; throws what went wrong in it. */
    async ask<T extends keyof Tasks>(
      task: T,
      question: Parameters<Tasks[T]>[0],
    ): Promise<Awaited<ReturnType<Tasks[T]>>> {
      await input.write(new TextEncoder().encode(JSON.stringify({ task, question }) + "\n"));
      const { done, value } = await lines.next();
      if (done) throw new Error(`Cannot do "${task}": the process has ended`);
      const answer = JSON.parse(value);
      if (typeof answer.error === "string") throw new Error(`Cannot do "${task}": ${answer.error}`);
      return answer.value;
    },
    async [Symbol.asyncDispose]() {
      await input.close().catch(() => {});
      const patience = setTimeout(() => child.kill("SIGKILL"), END_MS);
      await lines.return(undefined);
      await child.status;
      clearTimeout(patience);
    },
  };
}

/** Where the events' resources, and so their Observations, are. */
export const BENCH_NAMESPACE = "bench";
/** The collection that they are stored in. */
export const OBSERVATIONS_PATH = `/apis/zen.kube-zen.io/v1/namespaces/${BENCH_NAMESPACE}/observations`;

const SAMPLES = await Deno.readTextFile(new URL("../samples/falco.ndjson", import.meta.url));
const [SAMPLE = ""] = SAMPLES.split("\n");

/** The first sample alert, about a Pod of its own, at this moment: the same run and number is the same event. */
export function benchAlert(run: string, number: number): JsonObject {
  const sample = JSON.parse(SAMPLE);
  const fields = {
    ...sample.output_fields,
    "k8s.ns.name": BENCH_NAMESPACE,
    "k8s.pod.name": `bench-${run}-${number}`,
  };
  return { ...sample, time: new Date().toISOString(), output_fields: fields };
}

/** Finds an alert's number in a stored Observation or a line of a watch. */
export function numberPattern(run: string): RegExp {
  return new RegExp(`bench-${run}-(\\d+)`);
}

/** The server's own intake over a store in memory, for Falco's alerts. */
function dryIntake() {
  const settings = readSettings(() => undefined);
  const chosen = chooseSource("falco", { named: [], settings });
  const dryRun = createDryRun({ ...chosen, filters: compileFilters([]), settings });
  const take = (body: JsonObject[]) =>
    dryRun.take({ body, origin: { confined: false }, receivedAt: Date.now() });
  return { take, events: dryRun.events };
}

/** The Observations of alerts, as text. */
export async function observationsOf(alerts: JsonObject[]): Promise<string[]> {
  const { take, events } = dryIntake();
  await take(alerts);
  return events.map(({ observation }) =>
    JSON.stringify(observation).replace('"explained"', `"${crypto.randomUUID()}"`)
  );
}

/** An address, its root of trust and a bearer token. */
export interface BenchAccess {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
}

/** At a fixed rate, or as fast as so many senders can. */
export type Pace =
  | { readonly kind: "open"; readonly ratePerSecond: number }
  | { readonly kind: "closed"; readonly senders: number; readonly maxMs: number };

/** A load: events for one address. */
export interface BenchLoad {
  readonly url: string;
  readonly token?: string;
  readonly caPem?: string;
  /** The alerts, or the Observations that zen-watcher makes of them. */
  readonly input: "alerts" | "observations";
  /** Sets the events of this load apart from all others. */
  readonly run: string;
  readonly count: number;
  readonly pace: Pace;
}

/** Every task, by name. */
const TASKS = { load, watch, sightings, floor, duplicates };

/** An open loop sends no more at a time: a server that stalls must not fill this process. */
const MAX_SENDERS = 2_000;
const SOCKETS = 256;
const REQUEST_MS = 120_000;
/** For what was stored at the end to come by. */
const LAST_SIGHTINGS_MS = 500;
const ALERTS = 1_000;

const now = () => performance.timeOrigin + performance.now();

/** Sends a load; bodies are made before the first is sent. `complaint` is one of the answers that were no success. */
async function load(
  { url, token, caPem, input, run, count, pace }: BenchLoad,
): Promise<Shots & { readonly complaint?: string }> {
  const alerts = Array.from({ length: count }, (_, number) => benchAlert(run, number));
  const texts = input === "alerts"
    ? alerts.map((each) => JSON.stringify(each))
    : await observationsOf(alerts);
  const bodies = texts.map((text) => new TextEncoder().encode(text));
  // HTTP/1.1, as the controller's own requests.
  using client = Deno.createHttpClient({
    http2: false,
    poolMaxIdlePerHost: SOCKETS,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
  });
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  let complaint: string | undefined;
  const send = async (index: number): Promise<number> => {
    const signal = AbortSignal.timeout(REQUEST_MS);
    try {
      const body = bodies[index] ?? null;
      const response = await fetch(url, { method: "POST", body, headers, client, signal });
      const text = await response.text();
      if (!response.ok) complaint ??= `${response.status} ${text.slice(0, 300)}`;
      return response.status;
    } catch (error) {
      complaint ??= String(error);
      return 0;
    }
  };
  const paced = pace.kind === "closed"
    ? pace
    : { senders: MAX_SENDERS, dueAfterMs: (index: number) => index * 1_000 / pace.ratePerSecond };
  const shots = await sendAll({ count, ...paced, now, sleep, send });
  return { ...shots, ...(complaint === undefined ? {} : { complaint }) };
}

let seen = new Map<number, number>();
let watching = new AbortController();

/** Opens a watch of Observations; notes when each of a run is first seen. */
async function watch({ access, run }: { readonly access: BenchAccess; readonly run: string }): Promise<null> {
  const { signal } = watching = new AbortController();
  const own = seen = new Map();
  const client = Deno.createHttpClient({ caCerts: [access.caPem], http2: true });
  const headers = { authorization: `Bearer ${access.token}` };
  const url = access.url + OBSERVATIONS_PATH;
  const list = await (await fetch(`${url}?limit=1`, { client, headers })).json();
  const query = `watch=1&resourceVersion=${list.metadata.resourceVersion}`;
  const response = await fetch(`${url}?${query}`, { client, headers, signal });
  if (!response.ok || !response.body) throw new Error(`Cannot watch: HTTP ${response.status}`);
  const pattern = numberPattern(run);
  const read = async (body: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const line of linesOf(body)) {
      const number = pattern.exec(line)?.[1];
      if (number !== undefined && !own.has(Number(number))) own.set(Number(number), now());
    }
  };
  read(response.body).catch(() => {}).finally(() => client.close());
  return null;
}

/** Ends the watch: pairs of number and time, in ms since the epoch. */
async function sightings(): Promise<readonly (readonly [number: number, at: number])[]> {
  await sleep(LAST_SIGHTINGS_MS);
  watching.abort();
  return [...seen];
}

/**
 * The floor: a Hono route on the controller's listener that creates the object it is sent by fetch and then answers. What the
 * controller costs beyond it is its logic.
 */
async function floor({ url, caPem, token }: BenchAccess): Promise<{ readonly url: string }> {
  const client = Deno.createHttpClient({ caCerts: [caPem], http2: false });
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const app = new Hono();
  app.post("/", async (context) => {
    const body = await context.req.text();
    const response = await fetch(url + OBSERVATIONS_PATH, { method: "POST", body, headers, client });
    await response.text();
    return context.json({}, response.status === 201 ? 200 : 503);
  });
  const { url: at } = await listen(app, {
    address: "127.0.0.1",
    port: 0,
    setting: "WATCHER_PORT",
    maxConnections: 1_024,
    requestTimeoutMs: 60_000,
    metrics: createMetrics(),
  });
  return { url: at };
}

/** Repeats of a thousand alerts that the server's own intake decides in a second of CPU time, over a store in memory. */
async function duplicates(
  { warmUp, rounds }: { readonly warmUp: number; readonly rounds: number },
): Promise<number> {
  const { take, events } = dryIntake();
  const alerts = Array.from({ length: ALERTS }, (_, number) => benchAlert("duplicates", number));
  for (let round = 0; round < warmUp; round++) await take(alerts);
  const before = process.cpuUsage();
  for (let round = 0; round < rounds; round++) await take(alerts);
  const { user, system } = process.cpuUsage(before);
  const repeats = events.slice(warmUp * ALERTS).filter(({ outcome }) => outcome === "deduped").length;
  return repeats * 1e6 / (user + system);
}

async function answerQuestions(): Promise<never> {
  const tasks: Readonly<Record<string, (question: never) => Promise<unknown>>> = TASKS;
  for await (const line of linesOf(Deno.stdin.readable)) {
    const { task, question } = JSON.parse(line);
    const reply = await tasks[task]?.(question as never).then(
      (value) => ({ value }),
      (error) => ({ error: errorMessage(error) }),
    );
    let bytes = new TextEncoder().encode(JSON.stringify(reply) + "\n");
    // The write fails where the benchmark was killed: then the input has ended too.
    while (bytes.length > 0) bytes = bytes.subarray(await Deno.stdout.write(bytes).catch(() => Deno.exit(1)));
  }
  Deno.exit(0);
}

/** What happened to each request, by its number. Times in ms since the epoch. */
export interface Shots {
  /** When it was due. */
  readonly due: number[];
  readonly done: number[];
  /** HTTP status; 0: no answer. */
  readonly status: number[];
}

/**
 * Sends every request once, in order. Latency counts from when a request was due, whatever became of earlier ones: a sender
 * that waits for a slow answer measures slow moments seldom (coordinated omission).
 */
export async function sendAll(
  { count, senders, dueAfterMs, maxMs = Infinity, now, sleep, send }: {
    readonly count: number;
    /** Each sends its next request when it has its answer. */
    readonly senders: number;
    /** Ms after the start at which a request is due; by default as soon as a sender is free. */
    readonly dueAfterMs?: (index: number) => number;
    /** Nothing new is sent after this time. */
    readonly maxMs?: number;
    readonly now: () => number;
    readonly sleep: (ms: number) => Promise<void>;
    /** Resolves with the HTTP status, 0 where there was no answer. Never rejects. */
    readonly send: (index: number) => Promise<number>;
  },
): Promise<Shots> {
  const shots: Shots = { due: [], done: [], status: [] };
  const start = now();
  let next = 0;
  const sender = async () => {
    while (next < count && now() < start + maxMs) {
      const index = next++;
      const due = dueAfterMs ? start + dueAfterMs(index) : now();
      while (now() < due) await sleep(Math.max(1, due - now()));
      shots.due[index] = due;
      shots.status[index] = await send(index);
      shots.done[index] = now();
    }
  };
  await Promise.all(Array.from({ length: Math.min(senders, count) }, sender));
  return shots;
}

if (import.meta.main) await answerQuestions();
