/** The bundle as it runs in a Pod: its permissions, V8 flags, trust, ServiceAccount folder and memory cgroup. */
import { join } from "node:path";
import { Reaper } from "../../tests/support/server_process.ts";
import { type Controller, startController } from "../support/controller.ts";
import { IMAGE_ENV, podPermissions, V8_FLAGS } from "../support/permissions.ts";
import { makeCgroup, type Memory, residentMemory } from "./process.ts";
import { type BenchServer, CONTROLLER_NAMESPACE } from "./server.ts";

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
export interface Bundle extends AsyncDisposable {
  readonly controller: Controller;
  /** Ms from the start of the process to its first 200 of `/ready`. */
  readonly readyAfterMs: number;
  memory(): Promise<Memory>;
  status(): Promise<Status>;
}

/** What measurements read of `/tools/status`. */
export interface Status {
  readonly books: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly storage: {
    readonly indexComplete: boolean;
    readonly observations: number;
    readonly statusWritesPending: number;
  };
}

/** What differs from a Pod of the chart. */
export interface BundleOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Opens the inspector, which costs memory of its own. */
  readonly inspect?: boolean;
}

const STOP_MS = 15_000;
let started = 0;

/** Starts the bundle against `server` and waits until it is ready. */
export async function startBundle(
  { entry, own }: Pick<BenchServer, "entry" | "own">,
  { env = {}, inspect = false }: BundleOptions = {},
): Promise<Bundle> {
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
    readyAfterMs: controller.readyAfterMs ?? NaN,
    memory: () => cgroup?.memory() ?? residentMemory(controller.pid),
    status: async () => await (await fetch(`${controller.url}/tools/status`)).json(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Waits until the index holds everything that is stored. */
export async function untilIndexed(bundle: Bundle): Promise<void> {
  while (!(await bundle.status()).storage.indexComplete) await wait(50);
}

/** Waits until the status writes that are due are done. */
export async function untilQuiet(bundle: Bundle): Promise<void> {
  while ((await bundle.status()).storage.statusWritesPending > 0) await wait(100);
}

/** Lets time pass, where time is what is measured. */
export function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
