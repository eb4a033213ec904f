/** A shell that stays, as a reader's does: what a block of commands sets, the next one has. */

/** One bash. It ends with the first command that fails. */
export class Shell implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #mark = `end-${crypto.randomUUID()}`;

  constructor(options: { readonly cwd: string; readonly env: Readonly<Record<string, string>> }) {
    this.#child = new Deno.Command("bash", {
      ...options,
      args: ["-c", 'exec 2>&1; set -euo pipefail; while IFS= read -r -d "" text; do eval "$text"; done'],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** What the commands print, standard error too; throws where one fails. */
  async run(text: string): Promise<string> {
    const script = `{\n${text}\n} </dev/null\nprintf '\\n%s\\n' ${this.#mark}\0`;
    await this.#input.write(new TextEncoder().encode(script)).catch(() => {});
    let out = "";
    while (!out.endsWith(`\n${this.#mark}\n`)) {
      const { done, value } = await this.#output.read();
      if (done) throw new Error(`Cannot go on after:\n${text}\n${out}`);
      out += value;
    }
    return out.slice(0, -this.#mark.length - 2);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    await this.#output.cancel();
    await this.#child.status;
  }
}
