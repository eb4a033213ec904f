/** The frame of every script: `--help`, options, and an error as one line. */
import { basename } from "node:path";
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { errorMessage } from "../../src/model/error_message.ts";

/** What a script says of itself and what it takes. */
export interface ScriptOptions<O extends ParseArgsOptionsConfig> {
  /** All that `--help` prints. Its first line is `Usage: …`. */
  readonly help: string;
  readonly options?: O;
  /** Takes arguments that are no options. */
  readonly takesWords?: boolean;
}

/** What `parseArgs()` makes of the options. */
export type Values<O extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: O; strict: true; allowPositionals: true }>
>["values"];

/** Resolves with the exit code; nothing is 0. */
type Main<V> = (values: V, words: readonly string[]) => Promise<number | void>;

/**
 * Reads the arguments, runs `main` and ends the process: with `main`'s exit code, with 1 and a line on stderr where it
 * throws, with 2 where the arguments are wrong. `--help` prints the help and does nothing else.
 */
export async function runScript<const O extends ParseArgsOptionsConfig = Record<never, never>>(
  { help, options, takesWords = false }: ScriptOptions<O>,
  main: Main<Values<O>>,
): Promise<never> {
  if (Deno.args.some(isHelp)) exitWithHelp(help);
  let read: { readonly values: Values<O>; readonly positionals: readonly string[] };
  try {
    read = parseArgs({ options: options ?? {} as O, strict: true, allowPositionals: takesWords });
  } catch (error) {
    const [why = ""] = errorMessage(error).split(". ");
    say(`Cannot read the arguments: ${why}. --help lists them`);
    Deno.exit(2);
  }
  Deno.exit(await exitCodeOf(() => main(read.values, read.positionals)));
}

/** The same for a script that hands its arguments on to another program; only a leading `--help` is its own. */
export async function runWrapper(
  help: string,
  main: (args: readonly string[]) => Promise<number | void>,
): Promise<never> {
  const [first] = Deno.args;
  if (first !== undefined && isHelp(first)) exitWithHelp(help);
  Deno.exit(await exitCodeOf(() => main(Deno.args)));
}

/** A line for people, on stderr. */
export function say(line: string): void {
  writeAll(Deno.stderr, `${line}\n`);
}

/** Text on stdout. */
export function print(text: string): void {
  writeAll(Deno.stdout, text);
}

function isHelp(arg: string): boolean {
  return arg === "--help" || arg === "-h";
}

function exitWithHelp(help: string): never {
  print(`${help.trim()}\n`);
  Deno.exit(0);
}

async function exitCodeOf(main: () => Promise<number | void>): Promise<number> {
  try {
    return await main() ?? 0;
  } catch (error) {
    const why = errorMessage(error);
    say(why.startsWith("Cannot ") ? why : `Cannot run ${basename(Deno.mainModule)}: ${why}`);
    return 1;
  }
}

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
}
