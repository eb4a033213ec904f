/**
 * How much of the program one event passes through: the files of which V8 counts an executed function, between a Falco alert
 * and its answer, and between a watch event with a Trivy report and the write of its finding. A reader opens as many.
 */
import { assert } from "@std/assert";
import { Session } from "node:inspector";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { alert } from "./support/alerts.ts";
import type { Said, Told } from "./support/api_server_worker.ts";
import { startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";
import { vulnerabilityReport } from "./support/reports.ts";

/** A reader opens as many. */
const MOST_FILES = { falco: 25, trivy: 25 };
const MOST_LINES = 600;
/** What happens beside the event (the lease is renewed, discovery polls) is not in every round. On a busy machine more are needed. */
const ROUNDS = { least: 5, most: 40 };
const JSON_BODY = { "content-type": "application/json" };
const SRC = new URL("../src/", import.meta.url).href;

Deno.test("a Falco alert passes through few files from request to answer, and none is long", async () => {
  await using server = await startServer();
  await using app = await startTestApp({ server: server.url });
  const files = await filesOf(async (round, counted) => {
    const body = JSON.stringify(alert("shop", round));
    const response = await counted(async () =>
      await fetch(`${app.url}/falco/webhook`, { method: "POST", body, headers: JSON_BODY })
    );
    assert(response.ok, await response.text());
  }, MOST_FILES.falco);
  await report("a Falco alert", files, MOST_FILES.falco);
});

Deno.test("a Trivy report passes through few files from watch event to write, and none is long", async () => {
  await using server = await startServer();
  await using app = await startTestApp({ server: server.url });
  await eventually("the reports to be watched", async () => {
    const { sources } = await (await fetch(`${app.url}/tools/status`)).json();
    return sources.trivy.state === "synced";
  });
  const files = await filesOf(async (round, counted) => {
    const body = JSON.stringify(vulnerabilityReport("shop", round, 1));
    const held = server.holdCreates();
    const url = `${server.url}/apis/aquasecurity.github.io/v1alpha1/namespaces/shop/vulnerabilityreports`;
    await counted(async () => {
      const response = await fetch(url, { method: "POST", body, headers: JSON_BODY });
      assert(response.ok, await response.text());
      await held;
    });
    server.letCreatesGo();
    await eventually("the outcome", () => app.books.accounts().trivy?.created === round + 1);
  }, MOST_FILES.trivy);
  await report("a Trivy report", files, MOST_FILES.trivy);
});

type Round = (round: number, counted: <T>(work: () => Promise<T>) => Promise<T>) => Promise<void>;

/** Files of src with a function that was executed in every round, as paths below src. Rounds end once there are at most `most`. */
async function filesOf(round: Round, most: number): Promise<string[]> {
  using coverage = await Coverage.start();
  let files: Set<string> | undefined;
  for (let number = 0; number < ROUNDS.most; number++) {
    if (number >= ROUNDS.least && files && files.size <= most) break;
    await round(number, async (work) => {
      await eventually("nothing to be executed", async () => (await coverage.take()).size === 0);
      const result = await work();
      const executed = await coverage.take();
      files = files?.intersection(executed) ?? executed;
      return result;
    });
  }
  return [...files ?? []].sort();
}

/** Counts of executed functions in this thread. */
class Coverage implements Disposable {
  readonly #session = new Session();

  /** Starts counting. */
  static async start(): Promise<Coverage> {
    const coverage = new Coverage();
    coverage.#session.connect();
    await coverage.#ask("Profiler.enable");
    await coverage.#ask("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
    return coverage;
  }

  /** The files of src of which a function was executed since the last call. */
  async take(): Promise<Set<string>> {
    const { result } = await this.#ask("Profiler.takePreciseCoverage") as Covered;
    const executed = result.filter(({ url, functions }) =>
      url.startsWith(SRC) && functions.some(({ ranges: [range] }) => range !== undefined && range.count > 0)
    );
    return new Set(executed.map(({ url }) => url.slice(SRC.length)));
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  #ask(method: string, params: object = {}): Promise<unknown> {
    return new Promise((resolve, reject) =>
      this.#session.post(method, params, (error, result) => error ? reject(error) : resolve(result))
    );
  }
}

interface Covered {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly { readonly count: number }[] }[];
  }[];
}

async function report(what: string, files: readonly string[], most: number): Promise<void> {
  const lines = await Promise.all(
    files.map(async (file) => (await Deno.readTextFile(new URL(file, SRC))).split("\n").length - 1),
  );
  const list = files.map((file, index) => `${String(lines[index]).padStart(5)} ${file}`).join("\n");
  const text = `${what} passes through ${files.length} files (lines, file below src):\n${list}\n`;
  await Deno.stdout.write(new TextEncoder().encode(text));
  assert(files.length > 5, text);
  assert(files.length <= most, `more than ${most}: ${text}`);
  assert(lines.every((count) => count <= MOST_LINES), `more than ${MOST_LINES} lines: ${text}`);
}

/** The API server in a worker, with the CRDs and two namespaces. */
async function startServer() {
  const worker = new Worker(new URL("./support/api_server_worker.ts", import.meta.url), { type: "module" });
  const said = () =>
    new Promise<Said>((resolve) =>
      worker.addEventListener("message", ({ data }) => resolve(data), { once: true })
    );
  const tell = (told: Told) => worker.postMessage(told);
  const first = await said();
  const url = "url" in first ? first.url : "";
  using api = createKubeClient(fixedConnection({ server: url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  return {
    url,
    /** Resolves when a create of an Observation has come; it waits, and so does every later one. */
    holdCreates: async () => {
      tell("hold creates");
      await said();
    },
    letCreatesGo: () => tell("let creates go"),
    [Symbol.asyncDispose]: () => Promise.resolve(worker.terminate()),
  };
}
