/** The controller as a process of its own, for the demo, the benchmark and the chaos suite. */
import { linesOf } from "./lines.ts";

const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const KEPT_LINES = 5_000;

export interface ControllerOptions {
  /** Absent: the environment says where the cluster is, as in a Pod. */
  readonly kubeconfig?: string;
  /** All of them by default. */
  readonly permissions?: readonly string[];
  /** What to run: the source entry by default, or a bundle. */
  readonly entry?: string;
  readonly denoArgs?: readonly string[];
  /** The words that run the runtime: by default the one of this process. */
  readonly command?: readonly [string, ...string[]];
  /** `command` runs a compiled program: the permissions, the runtime's arguments and the entry are in it. */
  readonly compiled?: boolean;
  /** Only `env` and the defaults, nothing of this process's environment. */
  readonly clearEnv?: boolean;
  readonly args?: readonly string[];
  /** On top of the defaults here: free ports on loopback, no delay at shutdown. */
  readonly env?: Readonly<Record<string, string>>;
  /** Do not wait for `/ready`. */
  readonly waitReady?: boolean;
  readonly onLine?: (line: string) => void;
}

/** A running controller. Disposing kills it. */
export interface Controller extends AsyncDisposable {
  readonly pid: number;
  readonly url: string;
  readonly metricsUrl: string;
  /** The last lines of its log. */
  readonly lines: readonly string[];
  /** Milliseconds from the start of the process to its first `/ready` 200; undefined where the caller did not wait. */
  readonly readyAfterMs: number | undefined;
  readonly exited: Promise<Deno.CommandStatus>;
  kill(signal: Deno.Signal): void;
}

/** Starts the controller and waits until it is ready. */
export async function startController(options: ControllerOptions): Promise<Controller> {
  const startedAt = performance.now();
  const { entry = new URL("../../main.ts", import.meta.url).pathname, env = {}, args = [] } = options;
  const { command: [program, ...words] = [Deno.execPath()], clearEnv = false } = options;
  const child = new Deno.Command(program, {
    args: [
      ...words,
      ...(options.compiled
        ? []
        : ["run", ...(options.permissions ?? ["-A", "--no-prompt"]), ...(options.denoArgs ?? []), entry]),
      "run",
      ...(options.kubeconfig === undefined ? [] : ["--kubeconfig", options.kubeconfig]),
      ...args,
    ],
    clearEnv,
    env: {
      WATCHER_ADDRESS: "127.0.0.1",
      WATCHER_PORT: "0",
      METRICS_PORT: "0",
      SHUTDOWN_DELAY: "0s",
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines: string[] = [];
  const { promise: listening, resolve, reject } = Promise.withResolvers<
    { url: string; metricsUrl: string }
  >();
  listening.catch(() => {});
  const onLine = (line: string) => {
    if (lines.push(line) > KEPT_LINES) lines.splice(0, KEPT_LINES / 2);
    options.onLine?.(line);
    const ports = listeningPorts(line);
    if (ports) resolve(ports);
  };
  const reading = Promise.all([readLines(child.stdout, onLine), readLines(child.stderr, onLine)]);
  const exited = child.status.then(async (status) => {
    await reading;
    reject(
      new Error(
        `Cannot start the controller: it ended with code ${status.code}\n${lines.slice(-20).join("\n")}`,
      ),
    );
    return status;
  });
  const { url, metricsUrl } = await listening;
  const kill = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // It has ended already.
    }
  };
  let readyAfterMs: number | undefined;
  try {
    if (options.waitReady !== false) {
      await untilReady(url, exited);
      readyAfterMs = performance.now() - startedAt;
    }
  } catch (error) {
    kill("SIGKILL");
    await exited;
    throw new Error(`${error instanceof Error ? error.message : error}\n${lines.slice(-20).join("\n")}`);
  }
  return {
    pid: child.pid,
    url,
    metricsUrl,
    lines,
    readyAfterMs,
    exited,
    kill,
    async [Symbol.asyncDispose]() {
      kill("SIGKILL");
      await exited;
    },
  };
}

/** The addresses in the controller's own log line `Listening`, which is JSON or text. */
function listeningPorts(line: string): { url: string; metricsUrl: string } | undefined {
  const [, url, metricsUrl] =
    /\bListening"?[ ,]"?url"?[=:]"?(http[^\s",]+)"?[ ,]"?metricsUrl"?[=:]"?(http[^\s",]+)/.exec(line) ?? [];
  return url === undefined || metricsUrl === undefined ? undefined : { url, metricsUrl };
}

async function readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onLine: (line: string) => void,
): Promise<void> {
  for await (const line of linesOf(stream)) if (line !== "") onLine(line);
}

async function untilReady(url: string, exited: Promise<unknown>): Promise<void> {
  let ended = false;
  exited.then(() => ended = true);
  for (const deadline = performance.now() + READY_TIMEOUT_MS; performance.now() < deadline;) {
    if (ended) throw new Error("Cannot start the controller: it ended before it was ready");
    const response = await fetch(`${url}/ready`).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error("Cannot start the controller: it is not ready after a minute");
}
