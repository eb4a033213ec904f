/** Server processes of tests: logs to a file, killed by process id, and gone when the test run is, however it ends. */
import { join } from "node:path";

/** What `sh` does with the ids written to it: once its input ends, nothing of the run is left behind. */
const REAP = `
trap '' INT TERM HUP
pids=
while read -r verb pid; do
  case $verb in
    add) pids="$pids $pid" ;;
    del) rest=; for p in $pids; do [ "$p" = "$pid" ] || rest="$rest $p"; done; pids=$rest ;;
  esac
done
[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
`;

/** A folder and processes that end with this one, even where this one is killed: a shell waits for our end of its pipe to close. */
export class Reaper implements AsyncDisposable {
  readonly folder: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;

  private constructor(folder: string) {
    this.folder = folder;
    this.#child = new Deno.Command("sh", {
      args: ["-c", REAP, "reaper", folder],
      // A signal to the whole process group must not end the process that cleans up after it.
      detached: true,
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
  }

  /** Makes a temporary folder and the reaper that will remove it. */
  static async start(prefix: string): Promise<Reaper> {
    return new Reaper(await Deno.makeTempDir({ prefix }));
  }

  async add(pid: number): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`add ${pid}\n`));
  }

  async remove(pid: number): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`del ${pid}\n`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#child.status;
  }
}

/** One server program that can be killed and started again with the same arguments. */
export class ServerProcess {
  readonly name: string;
  readonly logPath: string;
  readonly #command: readonly [path: string, ...args: string[]];
  readonly #reaper: Reaper;
  #child: Deno.ChildProcess | undefined;

  constructor(reaper: Reaper, name: string, command: readonly [path: string, ...args: string[]]) {
    this.name = name;
    this.logPath = join(reaper.folder, `${name}.log`);
    this.#command = command;
    this.#reaper = reaper;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Throws where it is not running. */
  get pid(): number {
    if (!this.#child) throw new Error(`Cannot tell the process id of "${this.name}": it is not running`);
    return this.#child.pid;
  }

  async start(): Promise<void> {
    if (this.#child) throw new Error(`Cannot start "${this.name}": it is running`);
    // `exec` keeps the process id: it is the server itself that is killed, not a shell around it.
    const child = new Deno.Command("sh", {
      args: ["-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", this.logPath, ...this.#command],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child = child;
    child.status.then(() => {
      if (this.#child === child) this.#child = undefined;
    });
    await this.#reaper.add(child.pid);
  }

  /** Sends `signal` and waits for the end; a server that does not heed it within 5 s is killed: open watches can hold a graceful end for a minute. */
  async stop(signal: Deno.Signal): Promise<void> {
    const child = this.#child;
    if (!child) return;
    child.kill(signal);
    const patience = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await child.status;
    clearTimeout(patience);
    this.#child = undefined;
    await this.#reaper.remove(child.pid);
  }

  /** Waits until `probe` is true. Throws, with the end of the log, when the process ends or `timeoutMs` have passed. */
  async ready(probe: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!await probe().catch(() => false)) {
      const late = performance.now() > deadline;
      if (late || !this.#child) {
        const why = late ? `not ready after ${timeoutMs / 1000} s` : "it ended";
        throw new Error(`Cannot start "${this.name}": ${why}\n${await this.logTail()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async logTail(lines = 30): Promise<string> {
    const text = await Deno.readTextFile(this.logPath).catch(() => "");
    return text.trimEnd().split("\n").slice(-lines).join("\n");
  }
}
