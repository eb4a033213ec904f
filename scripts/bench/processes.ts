/** The API server and the bundle as it runs in a Pod: its permissions, V8 flags, trust, ServiceAccount folder, memory cgroup. */
import { join } from "node:path";
import { Reaper } from "../../tests/support/server_process.ts";
import { startController } from "../support/controller.ts";
import { IMAGE_ENV, podPermissions, V8_FLAGS } from "../support/permissions.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { sleep } from "../../src/kube/retry.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { startEnvtest } from "../../tests/support/envtest.ts";
import { ownAccount } from "../../tests/support/rights.ts";
import { createNamespaces, installCrds } from "../support/feed.ts";
import { seriesSum } from "./figures.ts";
import { BENCH_NAMESPACE, type BenchAccess } from "./tasks.ts";

/** Settings that lift what limits a source, a sender and the store. */
export const UNLIMITED: Readonly<Record<string, string>> = {
  DEDUP_MAX_RATE_PER_SOURCE: "1000000",
  DEDUP_RATE_BURST: "1000000",
  WEBHOOK_RATE_LIMIT: "1000000",
  WEBHOOK_RATE_BURST: "1000000",
  OBSERVATION_MAX_TOTAL: "500000",
  OBSERVATION_MAX_BYTES: "2GiB",
};

/** A running bundle; disposing of it stops it as Kubernetes would. */
export type Bundle = Awaited<ReturnType<typeof startBundle>>;

/** What measurements read of `/tools/status`. */
interface Status {
  readonly books: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly storage: Readonly<Record<"indexComplete" | "observations" | "statusWritesPending", number>>;
}

const STOP_MS = 15_000;
let started = 0;

/** Starts the bundle against a server and waits until it is ready. `inspect` opens the inspector, which costs memory of its own. */
export async function startBundle(
  { entry, own }: { readonly entry: string; readonly own: BenchAccess },
  { env = {}, inspect = false }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly inspect?: boolean;
  } = {},
) {
  await using opened = new AsyncDisposableStack();
  const reaper = opened.use(await Reaper.start("zen-bench-"));
  const { folder } = reaper;
  const { hostname, port } = new URL(own.url);
  await Deno.writeTextFile(join(folder, "token"), own.token, { mode: 0o600 });
  await Deno.writeTextFile(join(folder, "ca.crt"), own.caPem);
  await Deno.writeTextFile(join(folder, "namespace"), CONTROLLER_NAMESPACE);
  const cgroup = await makeCgroup(`zen-bench-${Deno.pid}-${started++}`);
  if (cgroup) opened.defer(() => cgroup.remove());
  const [program = "", ...words] = [...cgroup?.command ?? [], Deno.execPath()];
  const controller = await startController({
    command: [program, ...words],
    entry,
    permissions: podPermissions([folder]),
    denoArgs: [V8_FLAGS, ...(inspect ? ["--inspect=127.0.0.1:0"] : [])],
    env: {
      ...IMAGE_ENV,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
      SERVICE_ACCOUNT_FOLDER: folder,
      POD_NAMESPACE: CONTROLLER_NAMESPACE,
      // A Pod's restarted container takes its own lease back at once.
      POD_NAME: "zen-watcher-bench",
      ...env,
    },
  });
  opened.defer(async () => {
    controller.kill("SIGTERM");
    const patience = setTimeout(() => controller.kill("SIGKILL"), STOP_MS);
    await controller.exited;
    clearTimeout(patience);
    await reaper.remove(controller.pid);
  });
  await reaper.add(controller.pid);
  const all = opened.move();
  return {
    controller,
    /** Ms from the start of the process to its first 200 of `/ready`. */
    readyAfterMs: controller.readyAfterMs ?? NaN,
    memory: () => cgroup?.memory() ?? residentMemory(controller.pid),
    status: async (): Promise<Status> => await (await fetch(`${controller.url}/tools/status`)).json(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Polls the status until it is as wanted. */
export async function untilStatus(bundle: Bundle, isWanted: (status: Status) => boolean): Promise<void> {
  while (!isWanted(await bundle.status())) await sleep(50);
}

/** Waits until the index holds everything that is stored. */
export function untilIndexed(bundle: Bundle): Promise<void> {
  return untilStatus(bundle, ({ storage }) => Boolean(storage.indexComplete));
}

const TICKS_PER_SECOND = 100;
const MIB = 2 ** 20;

/** User and system time of processes since they started, together. */
export async function cpuMs(pids: readonly number[]): Promise<number> {
  const each = pids.map(async (pid) => {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    // The name in brackets may hold anything; fields count from behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 1_000 / TICKS_PER_SECOND;
  });
  return (await Promise.all(each)).reduce((sum, ms) => sum + ms, 0);
}

/** Programs that this process has started, by name. */
async function childrenNamed(names: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for await (const entry of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(entry.name)) continue;
    const stat = await Deno.readTextFile(`/proc/${entry.name}/stat`).catch(() => "");
    const [, command = "", rest = ""] = /^\d+ \((.*)\) (.*)$/.exec(stat.trim()) ?? [];
    if (names.includes(command) && Number(rest.split(" ")[1]) === Deno.pid) found.push(Number(entry.name));
  }
  return found;
}

/** Lets processes run on these cores alone (`0`, `1-3`). False where `taskset` is not installed. */
export async function pin(pids: readonly number[], cores: string): Promise<boolean> {
  for (const pid of pids) {
    const args = ["--all-tasks", "--pid", "--cpu-list", cores, String(pid)];
    const child = new Deno.Command("taskset", { args, stdout: "null", stderr: "null" });
    const done = await child.output().catch(() => undefined);
    if (!done?.success) return false;
  }
  return true;
}

/** Memory of one process. */
export interface Memory {
  /** As `kubectl top` counts it: the cgroup's use without inactive file pages. Where no cgroup can be made: resident pages. */
  readonly workingSetMiB: number;
  /** Pages that no file backs. */
  readonly anonymousMiB: number;
}

/**
 * A memory cgroup (version 1 or 2) for a process that is still to be started, with a limit like a container's; undefined where
 * this process may make none.
 */
export async function makeCgroup(name: string, { limitBytes }: { readonly limitBytes?: number } = {}) {
  for (const root of ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]) {
    const folder = `${root}/${name}`;
    const isFirst = root.endsWith("memory");
    const [used, inactive, anonymous] = isFirst
      ? ["memory.usage_in_bytes", "total_inactive_file", "total_rss"]
      : ["memory.current", "inactive_file", "anon"];
    try {
      await Deno.mkdir(folder);
      await Deno.stat(`${folder}/${used}`);
      if (limitBytes !== undefined) {
        const limit = isFirst ? "memory.limit_in_bytes" : "memory.max";
        await Deno.writeTextFile(`${folder}/${limit}`, String(limitBytes), { create: false });
      }
    } catch {
      await Deno.remove(folder).catch(() => {});
      continue;
    }
    return {
      /** Words before a command: they put it into the group and become it. */
      command: ["sh", "-c", `echo $$ > ${folder}/cgroup.procs && exec "$@"`, "sh"],
      async memory(): Promise<Memory> {
        const stat = await Deno.readTextFile(`${folder}/memory.stat`);
        const bytes = (key: string) => Number(new RegExp(`^${key} (\\d+)$`, "m").exec(stat)?.[1]);
        const all = Number(await Deno.readTextFile(`${folder}/${used}`));
        return { workingSetMiB: (all - bytes(inactive)) / MIB, anonymousMiB: bytes(anonymous) / MIB };
      },
      /** Once its process has ended. */
      remove: () => Deno.remove(folder),
    };
  }
  return undefined;
}

/** Resident memory, where there is no cgroup. */
export async function residentMemory(pid: number): Promise<Memory> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const mib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1_024;
  return { workingSetMiB: mib("VmRSS"), anonymousMiB: mib("RssAnon") };
}

/** Where the controller is. */
const CONTROLLER_NAMESPACE = "zen-system";

/** See `openServer()`. */
export type BenchServer = Awaited<ReturnType<typeof openServer>>;

/** Starts a server with the CRDs, the namespaces and the ServiceAccount of the controller, whose bundle is `entry`. */
export async function openServer(entry: string) {
  await using opened = new AsyncDisposableStack();
  const envtest = opened.use(await startEnvtest());
  const pids = await childrenNamed(["kube-apiserver", "etcd"]);
  const { url, caPem } = envtest;
  const admin = { url, caPem, token: envtest.user("admin").token };
  const connection = fixedConnection({ server: url, authorization: `Bearer ${admin.token}`, caPem });
  const api = opened.use(createKubeClient(connection, { fieldManager: "bench" }));
  await installCrds(api);
  await createNamespaces(api, [BENCH_NAMESPACE, CONTROLLER_NAMESPACE]);
  await ownAccount(envtest);
  const token = await envtest.serviceAccountToken(CONTROLLER_NAMESPACE, "zen-watcher", 24 * 3_600);
  const all = opened.move();
  return {
    entry,
    /** As the controller: its ServiceAccount. */
    own: { url, caPem, token },
    /** As an administrator, whose requests are not counted. */
    admin,
    api,
    /** The processes of kube-apiserver and etcd. */
    pids,
    /** Requests of ServiceAccounts, and writes of Observations by anyone, since the server started. */
    async requests() {
      const { text } = await api.getPath("/metrics");
      const metrics = String(text);
      const writes = ["POST", "PUT", "PATCH", "DELETE"].map((verb) =>
        seriesSum(metrics, "apiserver_request_total", 'resource="observations"', `verb="${verb}"`)
      );
      const dispatched = "apiserver_flowcontrol_dispatched_requests_total";
      const own = seriesSum(metrics, dispatched, 'flow_schema="service-accounts"');
      return { own, writes: writes.reduce((sum, count) => sum + count, 0) };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Bytes in use after a full collection. `lines` hold the one in which the process printed the inspector's address. */
export async function heapAfterGc(lines: readonly string[]): Promise<number> {
  const url = /Debugger listening on (ws:\S+)/.exec(lines.join("\n"))?.[1];
  if (url === undefined) throw new Error("Cannot open the inspector: the process did not print its address");
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`Cannot open the inspector "${url}"`));
  });
  const call = async (method: string): Promise<{ readonly usedSize?: number }> => {
    const answered = new Promise<MessageEvent>((resolve) => socket.onmessage = resolve);
    socket.send(JSON.stringify({ id: 1, method }));
    return JSON.parse((await answered).data).result;
  };
  // What finalizers hold goes with the second collection.
  await call("HeapProfiler.collectGarbage");
  await call("HeapProfiler.collectGarbage");
  const { usedSize = NaN } = await call("Runtime.getHeapUsage");
  socket.close();
  return usedSize;
}
