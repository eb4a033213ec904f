/** The command line: arguments → command → exit code. */
import type { Settings } from "../settings.ts";
import { runCommand } from "./commands.ts";
import { processIo } from "./io.ts";
import { run } from "./run.ts";

/** Runs the command the arguments name, on this process's own streams. */
export function main(
  args: readonly string[],
  { settings }: { readonly settings: () => Settings },
): Promise<number> {
  return runCommand(args, { io: processIo, settings, run });
}
