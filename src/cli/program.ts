/** The command tree, and how arguments find their command. */
import { Command, CommanderError } from "commander";
import { hasStatus, NetworkError } from "../kube/api.ts";
import { errorMessage } from "../model/error_message.ts";
import { cleanLines } from "../text/clean.ts";
import { type CommandContext, FlagError, usage, wrongCall } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { completeLine } from "./completion.ts";
import { CommandError, type Io } from "./io.ts";
import { versionLine } from "./version.ts";

/** The command context that `main` passes on. */
export type ProgramOptions = Omit<CommandContext, "args" | "finish" | "printStyled">;

/** Runs the command that the arguments name; resolves with its exit code. */
export async function runProgram(args: readonly string[], options: ProgramOptions): Promise<number> {
  const io = cleaned(options.io);
  let exitCode = 0;
  const finish = async (code: number | Promise<number>) => void (exitCode = await code);
  const program = buildProgram({ ...options, args, io, printStyled: io.styled, finish });
  if (args[0] === "__complete") {
    io.stdout(await completeLine(program, args.slice(1), options));
    return 0;
  }
  let running = "";
  program.hook("preAction", (_, command) => void (running = command.name()));
  try {
    await program.parseAsync(args.map(withoutEquals), { from: "user" });
    return exitCode;
  } catch (error) {
    // The end of `--help` and `--version`.
    if (error instanceof CommanderError) return error.exitCode;
    throw error instanceof FlagError ? usage(running, error.message) : mended(error);
  }
}

/** Adds what mends it to an error of the API server, where the command has not said so itself. */
function mended(error: unknown): unknown {
  const mend = hasStatus(error, 401)
    ? "Log in again, or name another context with --context"
    : error instanceof NetworkError
    ? "Check that the cluster of this context is the right one and that it runs"
    : undefined;
  return mend === undefined ? error : new CommandError(`${errorMessage(error)}. ${mend}`);
}

/** Builds the tree of all commands. */
function buildProgram(context: CommandContext): Command {
  const { io } = context;
  const program = new Command("zen-watcher")
    .description("Collects what security tools report as Observations.")
    .version(versionLine(), "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .configureOutput({
      writeOut: io.stdout,
      // `main` prints errors.
      writeErr: () => {},
      // Else it reads variables of the environment, which a Pod has no permission to do.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText(
      "after",
      "\nThe settings of run are environment variables. " +
        "Exit codes: 0 all is well, 1 something was found wrong, 2 the command was called wrongly.",
    )
    .exitOverride((error) => wrongCall(error, program));
  for (const [heading, commands] of COMMANDS) {
    program.commandsGroup(heading);
    for (const register of commands) register(program, context);
  }
  return program.helpCommand("help [command]", "print the help of a command");
}

/** kubectl takes `-o=json` for `-o json`. */
function withoutEquals(arg: string): string {
  return arg.replace(/^(-[a-zA-Z])=/, "$1");
}

/** No control, bidi or zero-width character of an input reaches the terminal. A line of progress is removed before others are printed. */
function cleaned(io: Io): Io & { readonly styled: Io["stdout"] } {
  let isProgressShown = false;
  const progress = (text: string) => {
    if (text !== "" || isProgressShown) io.progress?.(text);
    isProgressShown = text !== "";
  };
  const print = (write: Io["stdout"], clean: (text: string) => string = (text) => text) => (text: string) => {
    progress("");
    write(clean(text));
  };
  return {
    ...io,
    progress,
    styled: print(io.stdout),
    stdout: print(io.stdout, cleanLines),
    stderr: print(io.stderr, cleanLines),
  };
}
