/** Arguments by kubectl's conventions. */
import { parseArgs } from "node:util";
import { didYouMean } from "../filters/problem.ts";
import { CommandError } from "./io.ts";

const OPTIONS = {
  help: { type: "boolean", short: "h" },
  filename: { type: "string", short: "f", multiple: true },
  namespace: { type: "string", short: "n" },
  output: { type: "string", short: "o" },
  source: { type: "string" },
  filters: { type: "string" },
  ingester: { type: "string", multiple: true },
  rbac: { type: "boolean" },
  kubeconfig: { type: "string" },
  context: { type: "string" },
} as const;

/** Names of all options. */
export type OptionName = keyof typeof OPTIONS;

/** Parsed arguments of one command. */
export interface Arguments {
  readonly positionals: readonly string[];
  readonly help: boolean;
  readonly filename: readonly string[];
  readonly namespace: string | undefined;
  readonly output: string | undefined;
  readonly source: string | undefined;
  readonly filters: string | undefined;
  readonly ingester: readonly string[];
  readonly rbac: boolean;
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
}

/** Reads the arguments after a command's name; `allowed` are its options. Throws a `CommandError` of exit code 2. */
export function readArguments(
  args: readonly string[],
  { command, allowed }: { readonly command: string; readonly allowed: readonly OptionName[] },
): Arguments {
  const names: readonly OptionName[] = ["help", ...allowed];
  const options = Object.fromEntries(names.map((name) => [name, OPTIONS[name]]));
  const { values, positionals, tokens } = parsed(args, options);
  for (const token of tokens) {
    if (token.kind !== "option" || names.some((name) => name === token.name)) continue;
    const guess = didYouMean(token.name, names);
    const hint = guess === undefined ? "" : `; did you mean --${guess}?`;
    throw usage(command, `there is no option "${token.rawName}"${hint}`);
  }
  for (const name of names) {
    if (OPTIONS[name].type === "string" && [values[name]].flat().some((value) => value === true)) {
      throw usage(command, `--${name} wants a value`);
    }
  }
  const one = (name: OptionName) => typeof values[name] === "string" ? values[name] : undefined;
  const many = (name: OptionName) => [values[name] ?? []].flat().filter((value) => typeof value === "string");
  return {
    positionals,
    help: values.help === true,
    filename: many("filename"),
    namespace: one("namespace"),
    output: one("output"),
    source: one("source"),
    filters: one("filters"),
    ingester: many("ingester"),
    rbac: values.rbac === true,
    kubeconfig: one("kubeconfig"),
    context: one("context"),
  };
}

/** An error in how a command was called: exit code 2. */
export function usage(command: string, why: string): CommandError {
  return new CommandError(`Cannot ${command}: ${why}. See zen-watcher ${command} -h`, 2);
}

const FORMATS = ["json", "yaml"] as const;

/** What `-o` takes. */
export type Format = typeof FORMATS[number];

/** `-o`, or undefined for text for people. */
export function outputOf({ output }: Arguments, command: string): Format | undefined {
  if (output === undefined) return undefined;
  const format = FORMATS.find((known) => known === output);
  if (format === undefined) {
    throw usage(command, `expected -o ${FORMATS.join("|")}, received ${JSON.stringify(output)}`);
  }
  return format;
}

function parsed(args: readonly string[], options: Record<string, (typeof OPTIONS)[OptionName]>) {
  // Not strict: its own messages know neither our words nor a better spelling.
  const { values, positionals, tokens } = parseArgs({
    // kubectl takes -o=json for -o json.
    args: args.map((arg) => arg.replace(/^(-[a-z])=/, "$1")),
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  return {
    values: values as Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>,
    positionals,
    tokens,
  };
}
