/** The controller in this process, until SIGTERM or SIGINT. */
import { startApp } from "../../app.ts";
import { configureLogging, logger } from "../../telemetry/logging.ts";
import { COMMIT, VERSION } from "../../version.ts";
import type { RunOptions } from "../command.ts";
import { connectionOf } from "../connect.ts";

const log = logger("main");

/** Runs the controller; resolves with the exit code once it has stopped. */
export async function runController({ settings, ...flags }: RunOptions): Promise<number> {
  const format = settings.logFormat ?? (Deno.stdout.isTerminal() ? "text" : "json");
  configureLogging({ level: settings.logLevel, format });
  log.info("Starting", { version: VERSION, commit: COMMIT, deno: Deno.version.deno });
  const connection = await connectionOf(flags, settings);
  log.info("Cluster found", { cluster: connection.description });
  // Before the first probe is answered, so that no signal finds the process without its listeners.
  const stopped = stopSignal();
  const app = await startApp({ settings, connection });
  await stopped;
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
  // Without a listener it ends the process. Deno 2.9.6 opens V8's inspector all the same under `deno run`, half a second after the start.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGUSR1", () => {});
  return promise;
}
