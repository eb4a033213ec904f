/** The entry: arguments → command → exit code. */
import { type Settings, SettingsError } from "../settings.ts";
import { cleanLines } from "../text/clean.ts";
import type { RunOptions } from "./command.ts";
import { CommandError, type Io, isBeyondPermissions, processIo } from "./io.ts";

export interface MainOptions {
  /** Reads the operator's settings; throws a `SettingsError`. */
  readonly settings: () => Settings;
  readonly io?: Io;
  readonly run?: (options: RunOptions) => Promise<number>;
}

/**
 * Runs the command that the arguments name; resolves with its exit code (see "Exit codes" in docs/reading.md). Without
 * arguments that is `run` in a Pod, and the help elsewhere.
 */
export async function main(
  args: readonly string[],
  { settings, io = processIo, run = runController }: MainOptions,
): Promise<number> {
  const [first = io.env("KUBERNETES_SERVICE_HOST") ? "run" : "--help", ...rest] = args;
  try {
    // A controller without flags needs no parser: that is 8 MiB less of memory.
    if (first === "run" && rest.length === 0) return await run({ settings: settings() });
    const { runProgram } = await import("./program.ts");
    return await runProgram([first, ...rest], { io, settings, run });
  } catch (error) {
    // The controller's own error names the file of a setting that it may not read.
    if (first !== "run" && isBeyondPermissions(error)) {
      const command = cleanLines(first);
      const why =
        `Cannot run "zen-watcher ${command}" with the image's program: it reads no files of a user. Use that of a release`;
      io.stderr(`${why}\n`);
      return 1;
    }
    io.stderr(`${cleanLines(error instanceof Error ? error.message : String(error))}\n`);
    if (error instanceof CommandError) return error.exitCode;
    return error instanceof SettingsError ? 2 : 1;
  }
}

async function runController(options: RunOptions): Promise<number> {
  return await (await import("./operate/controller.ts")).runController(options);
}
