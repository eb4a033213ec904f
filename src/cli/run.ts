/** `zen-watcher run`: the controller, until SIGTERM or SIGINT. */
import { startApp } from "../app.ts";
import { findConnection } from "../kube/auth/connect.ts";
import type { Settings } from "../settings.ts";
import { configureLogging, logger } from "../telemetry/logging.ts";
import { VERSION } from "../version.ts";

export interface RunOptions {
  readonly settings: Settings;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

const log = logger("main");

/** Runs the controller; resolves with the exit code once it was told to stop and has. */
export async function run({ settings, kubeconfig, context }: RunOptions): Promise<number> {
  configureLogging({ level: settings.logLevel, format: settings.logFormat });
  log.info("Starting", { version: VERSION, deno: Deno.version.deno });
  const connection = await findConnection({
    kubeconfig,
    context,
    kubeconfigEnv: settings.kubeconfig,
    home: settings.home,
    serviceHost: settings.serviceHost,
    servicePort: settings.servicePort,
    serviceAccountFolder: settings.serviceAccountFolder,
  });
  log.info("Cluster found", { cluster: connection.description });
  const app = await startApp({ settings, connection });
  await stopSignal();
  await app.stop();
  return 0;
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let asked = false;
  const stop = () => {
    if (asked) Deno.exit(1);
    asked = true;
    resolve();
  };
  Deno.addSignalListener("SIGTERM", stop);
  Deno.addSignalListener("SIGINT", stop);
  // Without a listener V8's inspector opens on port 9229.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGUSR1", () => {});
  return promise;
}
