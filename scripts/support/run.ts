/** Other programs, run to their end. */

/** Where and with what a program runs. */
export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Said after the error. */
  readonly why?: string;
}

/** Runs a program and resolves with its stdout. Throws, with the end of its stderr, where it fails. */
export async function exec(
  program: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<string> {
  const { why, ...rest } = options;
  const reason = why === undefined ? "" : ` (${why})`;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, { args: [...args], stdin: "null", ...rest }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot run "${program}": it is not on PATH${reason}`);
  }
  const decoder = new TextDecoder();
  if (output.success) return decoder.decode(output.stdout);
  const said = (decoder.decode(output.stdout) + decoder.decode(output.stderr)).trim().split("\n").slice(-15);
  throw new Error(`Cannot run "${program} ${args.join(" ")}"${reason}:\n${said.join("\n")}`);
}
