/** Processes of the benchmark: asked by a line of JSON, answering by a line of JSON, gone when their input ends. */

/** A process that answers questions, one after the other. */
export interface Worker extends AsyncDisposable {
  readonly pid: number;
  ask<T>(question: unknown): Promise<T>;
}

const END_MS = 5_000;

/** Starts `entry` (a file of this folder) as a process of its own. */
export function startWorker(entry: string, denoArgs: readonly string[] = []): Worker {
  const path = new URL(entry, import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", ...denoArgs, path],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const input = child.stdin.getWriter();
  const lines = linesOf(child.stdout);
  let last: Promise<unknown> = Promise.resolve();
  const exchange = async (question: unknown) => {
    await input.write(new TextEncoder().encode(JSON.stringify(question) + "\n"));
    const { done, value } = await lines.next();
    if (done) throw new Error(`Cannot ask "${entry}": the process has ended`);
    const answer = JSON.parse(value);
    if (typeof answer.error === "string") throw new Error(`Cannot run "${entry}": ${answer.error}`);
    return answer.value;
  };
  return {
    pid: child.pid,
    ask: (question) => {
      const answer = last.then(() => exchange(question));
      last = answer.catch(() => {});
      return answer;
    },
    async [Symbol.asyncDispose]() {
      await input.close().catch(() => {});
      const patience = setTimeout(() => child.kill("SIGKILL"), END_MS);
      await lines.return(undefined);
      await child.status;
      clearTimeout(patience);
    },
  };
}

/** The worker's side: answers until its input ends, then ends the process. */
export async function answerQuestions<Q>(answer: (question: Q) => Promise<unknown>): Promise<never> {
  for await (const line of linesOf(Deno.stdin.readable)) {
    let reply: unknown;
    try {
      reply = { value: await answer(JSON.parse(line)) };
    } catch (error) {
      reply = { error: error instanceof Error ? error.message : String(error) };
    }
    try {
      await writeAll(JSON.stringify(reply) + "\n");
    } catch {
      // Nobody waits for the answer any more.
      break;
    }
  }
  Deno.exit(0);
}

/** The lines of a stream. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void> {
  const parts: string[] = [];
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const pieces = text.split("\n");
    for (const [index, piece] of pieces.entries()) {
      parts.push(piece);
      if (index < pieces.length - 1) yield parts.splice(0).join("");
    }
  }
}

async function writeAll(text: string): Promise<void> {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(await Deno.stdout.write(bytes));
}
