/** Processes of the benchmark: they read questions and write answers, one line of JSON each, and end with their input. */
import { errorMessage } from "../../src/model/error_message.ts";
import { linesOf } from "../support/lines.ts";

/** A process that answers questions, one after the other. */
export interface Worker extends AsyncDisposable {
  readonly pid: number;
  ask<T>(question: unknown): Promise<T>;
}

const END_MS = 5_000;

/** Starts `entry`, a file of this folder, as a process. */
export function startWorker(entry: string, denoArgs: readonly string[] = []): Worker {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", ...denoArgs, new URL(entry, import.meta.url).pathname],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const input = child.stdin.getWriter();
  const lines = linesOf(child.stdout);
  return {
    pid: child.pid,
    async ask(question) {
      await input.write(new TextEncoder().encode(JSON.stringify(question) + "\n"));
      const { done, value } = await lines.next();
      if (done) throw new Error(`Cannot ask "${entry}": the process has ended`);
      const answer = JSON.parse(value);
      if (typeof answer.error === "string") throw new Error(`Cannot run "${entry}": ${answer.error}`);
      return answer.value;
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

/** The process's side: answers until its input ends. */
export async function answerQuestions<Q>(answer: (question: Q) => Promise<unknown>): Promise<never> {
  for await (const line of linesOf(Deno.stdin.readable)) {
    const reply = await answer(JSON.parse(line)).then(
      (value) => ({ value }),
      (error) => ({ error: errorMessage(error) }),
    );
    let bytes = new TextEncoder().encode(JSON.stringify(reply) + "\n");
    // The write fails where the benchmark was killed: then the input has ended too.
    while (bytes.length > 0) bytes = bytes.subarray(await Deno.stdout.write(bytes).catch(() => Deno.exit(1)));
  }
  Deno.exit(0);
}
