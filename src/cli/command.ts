/** What every command is made of: its texts, kubectl's flags, and the context it runs in. */
import { type Command, type CommanderError, Option } from "commander";
import type { Settings } from "../settings.ts";
import { CommandError, type Io } from "./io.ts";

/** What a command runs in. */
export interface CommandContext {
  /** Everything that is printed is cleaned: input may hold control characters. */
  readonly io: Io;
  /** The command line as it was typed. */
  readonly args: readonly string[];
  /** Prints text with colours as it is: its caller cleans every part of it. */
  readonly printStyled: (text: string) => void;
  /** Reads the operator's settings; throws a `SettingsError`. */
  readonly settings: () => Settings;
  /** Runs the controller. */
  readonly run: (options: RunOptions) => Promise<number>;
  /** Takes the exit code of the command: 0, or 1 where something was found wrong. */
  readonly finish: (exitCode: number | Promise<number>) => Promise<void>;
}

export interface RunOptions extends ClusterFlags {
  readonly settings: Settings;
}

/** Adds one command to the program. */
export type Register = (program: Command, context: CommandContext) => void;

/** What the help of a command says. */
export interface CommandTexts {
  /** With its arguments, as commander takes them: `test [dir...]`. */
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  readonly description: string;
  /** Command lines without the program's name, each with what it does. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** Further text after the flags. */
  readonly more?: string;
}

/** Adds a command with its help. A wrong call becomes a `CommandError` with exit code 2. */
export function addCommand(program: Command, texts: CommandTexts): Command {
  const { name, summary, description, examples, more } = texts;
  const lines = examples.map(([line, what]) => `  # ${what}\n  zen-watcher ${line}\n`);
  const command = program.command(name).summary(summary).description(description)
    .addHelpText("after", `${more === undefined ? "" : `\n${more}`}\nExamples:\n${lines.join("\n")}`);
  return command.exitOverride((error) => wrongCall(error, command));
}

/** Throws the error of a wrong call; the end of `--help` passes unchanged. */
export function wrongCall(error: CommanderError, command: Command): never {
  if (error.exitCode === 0) throw error;
  const name = command.parent === null ? "" : command.name();
  if (error.code === "commander.missingMandatoryOptionValue") throw usage(name, missingFlags(command));
  throw usage(name, error.message.replace(/^error: /, "").replace(/\.?\n/g, " ").replace(/\.$/, ""));
}

/** All mandatory flags that are missing; commander names the first one alone. */
function missingFlags(command: Command): string {
  const missing = command.options.filter((option) =>
    option.mandatory && command.getOptionValue(option.attributeName()) === undefined
  );
  return `expected ${missing.map(({ flags }) => flags).join(", ")}`;
}

/** The error of a command that was called wrongly: exit code 2. */
export function usage(command: string, why: string): CommandError {
  const line = ["zen-watcher", command].filter(Boolean).join(" ");
  return new CommandError(`Cannot run "${line}": ${why}. See ${line} --help`, 2);
}

/** What is wrong with a flag that several commands take; `runProgram` adds the command. */
export class FlagError extends Error {
  override readonly name = "FlagError";
}

/** Flags that name the cluster and the user, as kubectl's do. */
export interface ClusterFlags {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly as?: string | undefined;
  readonly asGroup?: readonly string[] | undefined;
  readonly asUid?: string | undefined;
}

/** `--kubeconfig`, `--context`, `--as`, `--as-group` and `--as-uid`. */
export function clusterFlags(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "kubeconfig file (default: KUBECONFIG, else ~/.kube/config)")
    .option("--context <context>", "context of the kubeconfig")
    .option("--as <user>", "impersonate this user")
    .addOption(repeated("--as-group <group>", "a group of that user; may be given again"))
    .option("--as-uid <uid>", "the UID of that user");
}

/** Flags of the commands for rule writers. */
export interface RuleFlags<Output = Format> extends ClusterFlags {
  readonly filename?: readonly string[];
  readonly namespace?: string;
  readonly output?: Output;
}

/** The settings, with `-n` as the controller's namespace. */
export function settingsOf(read: () => Settings, { namespace }: RuleFlags<string>): Settings {
  const settings = read();
  return { ...settings, podNamespace: namespace ?? settings.podNamespace };
}

/** `-n` as the commands for rule writers mean it. */
export function controllerNamespaceFlag(command: Command): Command {
  return command.option(
    "-n, --namespace <namespace>",
    "namespace of the controller, and of objects that name none (default: POD_NAMESPACE, else zen-system)",
  );
}

/** `-f`, which may be given again. */
export function filenameFlag(command: Command, description: string): Command {
  return command.addOption(repeated("-f, --filename <file>", `${description}; may be given again`));
}

/** A flag with a value that may be given again; undefined where it is not given. */
export function repeated(flags: string, description: string): Option {
  return new Option(flags, description)
    .argParser((value: string, earlier: readonly string[] | undefined) => [...earlier ?? [], value]);
}

/** What `-o` takes where a command prints one document. */
export const FORMATS = ["json", "yaml"] as const;
export type Format = typeof FORMATS[number];

/** `-o`; without it a command prints text for people. */
export function outputFlag(command: Command, formats: readonly string[] = FORMATS): Command {
  return command.addOption(new Option("-o, --output <format>", "format of the output").choices(formats));
}
