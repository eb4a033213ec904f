/** The bundle as it runs in a Pod: its permissions, V8 flags, trust and ServiceAccount folder. */
import { join } from "node:path";
import { Reaper } from "../../tests/support/server_process.ts";
import { type Controller, startController } from "../support/controller.ts";
import { podPermissions, TLS_ENV, V8_FLAGS } from "../support/permissions.ts";
import { CONTROLLER_NAMESPACE } from "./access.ts";
import { type Inspector, inspectorUrl, openInspector } from "./inspector.ts";
import type { BenchServer } from "./server.ts";

export const BUNDLE = new URL("../../dist/main.js", import.meta.url).pathname;

/** Settings that lift what limits a source and a sender. */
export const UNLIMITED: Readonly<Record<string, string>> = {
  DEDUP_MAX_RATE_PER_SOURCE: "1000000",
  DEDUP_RATE_BURST: "1000000",
  WEBHOOK_RATE_LIMIT: "1000000",
  WEBHOOK_RATE_BURST: "1000000",
};

export interface BundleOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Opens the inspector, which costs memory of its own. */
  readonly inspect?: boolean;
}

/** A running bundle; disposing of it stops it as Kubernetes would. */
export interface Bundle extends AsyncDisposable {
  readonly controller: Controller;
  /** Undefined where it was not asked for. */
  readonly inspector: Inspector | undefined;
  readonly apiPort: number;
  status(): Promise<ControllerStatus>;
}

/** What scenarios read of `/tools/status`. */
export interface ControllerStatus {
  readonly books: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly storage: {
    readonly indexComplete: boolean;
    readonly observations: number;
    readonly statusWritesPending: number;
  };
}

const STOP_MS = 15_000;

/** Starts the bundle against `server` and waits until it is ready. */
export async function startBundle(server: BenchServer, options: BundleOptions = {}): Promise<Bundle> {
  const reaper = await Reaper.start("zen-bench-");
  const { folder } = reaper;
  const { url, caPem, token } = server.access;
  const { hostname, port } = new URL(url);
  try {
    await Deno.writeTextFile(join(folder, "token"), token, { mode: 0o600 });
    await Deno.writeTextFile(join(folder, "ca.crt"), caPem);
    await Deno.writeTextFile(join(folder, "namespace"), CONTROLLER_NAMESPACE);
    const controller = await startController({
      entry: BUNDLE,
      permissions: podPermissions([folder]),
      denoArgs: [V8_FLAGS, ...(options.inspect ? ["--inspect=127.0.0.1:0"] : [])],
      env: {
        ...TLS_ENV,
        KUBERNETES_SERVICE_HOST: hostname,
        KUBERNETES_SERVICE_PORT: port,
        SERVICE_ACCOUNT_FOLDER: folder,
        POD_NAMESPACE: CONTROLLER_NAMESPACE,
        // A Pod's restarted container takes its own lease back at once.
        POD_NAME: "zen-watcher-bench",
        ...options.env,
      },
    });
    await reaper.add(controller.pid);
    const inspector = options.inspect ? await openInspector(inspectorUrl(controller.lines)) : undefined;
    return {
      controller,
      inspector,
      apiPort: Number(port),
      status: async () => await (await fetch(`${controller.url}/tools/status`)).json(),
      async [Symbol.asyncDispose]() {
        inspector?.[Symbol.dispose]();
        controller.kill("SIGTERM");
        const patience = setTimeout(() => controller.kill("SIGKILL"), STOP_MS);
        await controller.exited;
        clearTimeout(patience);
        await reaper.remove(controller.pid);
        await reaper[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await reaper[Symbol.asyncDispose]();
    throw error;
  }
}
