/**
 * Minutes of every kind of load on one process, at a steady number of stored Observations: its heap after a full
 * collection must not grow. `ZEN_SOAK_MINUTES` makes it longer.
 */
import { assert, assertEquals } from "@std/assert";
import { linesOf } from "../../scripts/support/lines.ts";
import { alert } from "../support/alerts.ts";
import { closedBooks } from "../support/books.ts";
import { type DevWorld, startDevWorld, STORED_TYPE } from "../support/dev_world.ts";
import { changeReports, VULNERABILITY_REPORTS } from "../support/reports.ts";
import { eventually } from "../support/eventually.ts";
import { pause, printLine } from "./form.ts";

const MINUTES = Number(Deno.env.get("ZEN_SOAK_MINUTES") ?? "5");
const SAMPLES = Math.max(10, Math.round(MINUTES * 4));
/** What the heap may grow by in an hour: at this load a leak of 60 bytes an event would. */
const MAX_SLOPE_MIB_PER_HOUR = 24;
/** Caches fill up first: dedup windows, interned names, compiled code. */
const WARM_UP_SHARE = 0.35;
const BATCH = 20;
const BATCHES_PER_SECOND = 4;
const PODS = 2_000;
const REPORTS = 60;

interface Sample {
  readonly atSeconds: number;
  readonly heapMib: number;
  readonly rssMib: number;
}

/** The program in a process of its own, asked for its memory by a line of input. */
class Soaked implements AsyncDisposable {
  readonly url: string;
  readonly #child: Deno.ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;

  private constructor(child: Deno.ChildProcess, answers: AsyncIterator<string>, url: string) {
    this.#child = child;
    this.#answers = answers;
    this.#input = child.stdin.getWriter();
    this.url = url;
  }

  static async start(server: string): Promise<Soaked> {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--v8-flags=--expose-gc",
        new URL("soak_process.ts", import.meta.url).pathname,
        server,
      ],
      env: {
        WATCHER_ADDRESS: "127.0.0.1",
        WATCHER_PORT: "0",
        METRICS_PORT: "0",
        SHUTDOWN_DELAY: "0s",
        RESYNC_INTERVAL: "20s",
        RESOLVE_GRACE_SECONDS: "5",
        GC_INTERVAL: "10s",
        OBSERVATION_TTL_SECONDS: "45",
        RESOLVED_TTL_SECONDS: "45",
        LOG_LEVEL: "ERROR",
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const answers = answersOf(child.stdout);
    const first = await answers.next();
    if (first.done) throw new Error("Cannot start the soaked program: it ended");
    return new Soaked(child, answers, JSON.parse(first.value).url);
  }

  async sample(atSeconds: number): Promise<Sample> {
    await this.#input.write(new TextEncoder().encode("\n"));
    const answer = await this.#answers.next();
    if (answer.done) throw new Error("Cannot sample the heap: the program ended");
    const { heapUsed, rss } = JSON.parse(answer.value);
    return { atSeconds, heapMib: heapUsed / 2 ** 20, rssMib: rss / 2 ** 20 };
  }

  /** Ends it; its exit code. */
  async end(): Promise<number> {
    await this.#input.close().catch(() => {});
    for (let next = await this.#answers.next(); !next.done;) next = await this.#answers.next();
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.end();
  }
}

async function* answersOf(stdout: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  for await (const line of linesOf(stdout)) if (line.startsWith("soak ")) yield line.slice(5);
}

Deno.test(`${MINUTES} minutes of load: the heap after a full collection does not grow`, async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await using soaked = await Soaked.start(world.server.url);
  await eventually("the program to be ready", async () => {
    const response = await fetch(`${soaked.url}/ready`);
    await response.body?.cancel();
    return response.ok;
  });
  let loading = true;
  const sent = { alerts: 0, changes: 0, scrapes: 0 };
  const whileLoading = async (work: () => Promise<void>) => {
    while (loading) await work();
  };
  const load = Promise.all([
    whileLoading(() => sendBatch(soaked.url, sent)),
    whileLoading(() => churn(world, sent, () => loading)),
    whileLoading(() => scrape(soaked.url, sent)),
  ]);
  const samples: Sample[] = [];
  const beganAt = performance.now();
  try {
    for (let sample = 1; sample <= SAMPLES; sample++) {
      await pause(beganAt + sample * MINUTES * 60_000 / SAMPLES - performance.now());
      samples.push(await soaked.sample((performance.now() - beganAt) / 1_000));
      world.server.requests.clear();
    }
  } finally {
    loading = false;
    await load;
  }
  const { falco, trivy } = await closedBooks(soaked.url);
  assert((falco?.created ?? 0) > 0 && (falco?.deduped ?? 0) > 0 && (trivy?.deduped ?? 0) > 0);
  assertEquals(falco?.failed, 0);
  const warm = samples.filter(({ atSeconds }) => atSeconds >= WARM_UP_SHARE * MINUTES * 60);
  const slope = slopeOf(warm) * 3_600;
  printLine(
    `soak of ${MINUTES} min: ${sent.alerts} alerts, ${sent.changes} report changes, ${sent.scrapes} scrapes, ` +
      `${world.server.count(STORED_TYPE)} stored at the end`,
  );
  printLine(`heap after gc(), MiB: ${samples.map(({ heapMib }) => heapMib.toFixed(1)).join(" ")}`);
  printLine(
    `slope after the warm-up: ${slope.toFixed(1)} MiB/h (at most ${MAX_SLOPE_MIB_PER_HOUR}); RSS at the end ${
      samples.at(-1)?.rssMib.toFixed(0)
    } MiB`,
  );
  assert(slope <= MAX_SLOPE_MIB_PER_HOUR, `the heap grows by ${slope.toFixed(1)} MiB/h`);
  assertEquals(await soaked.end(), 0);
});

/** New Pods in turn, and repeats of them: a steady number is stored once the first have outlived their TTL. */
async function sendBatch(url: string, sent: { alerts: number }): Promise<void> {
  const body = Array.from({ length: BATCH }, (_, index) => alert("shop", (sent.alerts + index) % PODS));
  const response = await fetch(`${url}/falco/webhook`, {
    method: "POST",
    body: JSON.stringify([...body, ...body]),
  });
  await response.body?.cancel();
  sent.alerts += BATCH;
  await pause(1_000 / BATCHES_PER_SECOND);
}

/** Reports come, change and go. */
async function churn(world: DevWorld, sent: { changes: number }, goesOn: () => boolean): Promise<void> {
  const onWrite = async () => {
    sent.changes++;
    await pause(20);
  };
  await changeReports(world.api, { namespace: "shop", reports: [0, REPORTS], found: [0, 4], onWrite });
  for (let waited = 0; waited < 5_000 && goesOn(); waited += 250) await pause(250);
  for (let index = 0; index < REPORTS; index++) {
    const name = `statefulset-app-${index}-main`;
    await world.api.delete(VULNERABILITY_REPORTS, name, { namespace: "shop" });
    sent.changes++;
  }
}

async function scrape(url: string, sent: { scrapes: number }): Promise<void> {
  for (const path of ["/metrics", "/tools/status", "/ready"]) {
    const response = await fetch(url + path);
    await response.body?.cancel();
  }
  sent.scrapes++;
  await pause(1_000);
}

/** Least squares: MiB a second. */
function slopeOf(samples: readonly Sample[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const at = mean(samples.map(({ atSeconds }) => atSeconds));
  const heap = mean(samples.map(({ heapMib }) => heapMib));
  let covariance = 0;
  let variance = 0;
  for (const { atSeconds, heapMib } of samples) {
    covariance += (atSeconds - at) * (heapMib - heap);
    variance += (atSeconds - at) ** 2;
  }
  return variance === 0 ? 0 : covariance / variance;
}
