/** Which command the arguments name, and what it is told. */
import { didYouMean } from "../filters/problem.ts";
import { type Settings, SettingsError } from "../settings.ts";
import { type Arguments, type OptionName, readArguments, usage } from "./args.ts";
import { HELP, helpOf } from "./help.ts";
import { CommandError, type Io } from "./io.ts";
import { version } from "./version.ts";

/** What commands get. */
export interface CommandContext {
  readonly io: Io;
  readonly settings: Settings;
}

export interface CommandsOptions {
  readonly io: Io;
  /** Reads the operator's settings; throws a `SettingsError`. */
  readonly settings: () => Settings;
  /** The controller itself. */
  readonly run: (options: {
    readonly settings: Settings;
    readonly kubeconfig: string | undefined;
    readonly context: string | undefined;
  }) => Promise<number>;
}

interface Command {
  readonly options: readonly OptionName[];
  execute(args: Arguments, context: CommandContext): Promise<number> | number;
}

/** Runs the command the arguments name and returns its exit code: 0, 1 for what was found wrong, 2 for a wrong call. */
export async function runCommand(args: readonly string[], options: CommandsOptions): Promise<number> {
  const { io } = options;
  try {
    return await dispatch(args, options);
  } catch (error) {
    if (error instanceof CommandError) {
      io.stderr(`${error.message}\n`);
      return error.exitCode;
    }
    io.stderr(`${error instanceof Error ? error.message : String(error)}\n`);
    return error instanceof SettingsError ? 2 : 1;
  }
}

async function dispatch(args: readonly string[], options: CommandsOptions): Promise<number> {
  const { io, run } = options;
  // What the others need is loaded when they are asked for: the controller is to be small.
  const commands: Readonly<Record<string, Command>> = {
    run: {
      options: ["kubeconfig", "context"],
      execute({ positionals, kubeconfig, context }, { settings }) {
        if (positionals.length > 0) throw usage("run", `expected no argument, received "${positionals[0]}"`);
        return run({ settings, kubeconfig, context });
      },
    },
    check: {
      options: ["filename", "output", "rbac", "namespace", "kubeconfig", "context"],
      execute: async (args, context) => await (await import("./check.ts")).check(args, context),
    },
    explain: {
      options: ["source", "filename", "filters", "ingester", "output", "namespace", "kubeconfig", "context"],
      execute: async (args, context) => await (await import("./explain.ts")).explain(args, context),
    },
    test: {
      options: ["filename", "output", "namespace"],
      execute: async (args, context) => await (await import("./cases.ts")).test(args, context),
    },
    version: { options: ["output"], execute: version },
  };
  const [first = "run"] = args;
  if (first === "-h" || first === "--help" || first === "help") {
    io.stdout(first === "help" && args[1] !== undefined ? helpOf(args[1]) ?? HELP : HELP);
    return 0;
  }
  // Options without a command are `run`'s, as in `zen-watcher --kubeconfig …`.
  const name = first.startsWith("-") ? "run" : first;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    const guess = didYouMean(name, Object.keys(commands));
    const hint = guess === undefined
      ? `expected one of ${Object.keys(commands).join("|")}`
      : `did you mean "${guess}"?`;
    throw new CommandError(`Cannot run command "${name}": ${hint}`, 2);
  }
  const parsed = readArguments(first === name ? args.slice(1) : args, {
    command: name,
    allowed: command.options,
  });
  if (parsed.help) {
    io.stdout(helpOf(name) ?? HELP);
    return 0;
  }
  return await command.execute(parsed, { io, settings: options.settings() });
}
