/** A process that does the tasks of `tasks.ts`, one after the other. */
import { linesOf } from "../support/lines.ts";
import type { TASKS } from "./tasks.ts";

type Tasks = typeof TASKS;

/** See `startWorker()`. Disposing of it ends the process. */
export interface Worker extends AsyncDisposable {
  readonly pid: number;
  /** Does a task; throws what went wrong in it. */
  ask<T extends keyof Tasks>(task: T, question: Question<T>): Promise<Awaited<ReturnType<Tasks[T]>>>;
}

type Question<T extends keyof Tasks> = Parameters<Tasks[T]>[0];

const ENTRY = new URL("tasks.ts", import.meta.url).pathname;
const END_MS = 5_000;

/** Starts the process. */
export function startWorker(denoArgs: readonly string[] = []): Worker {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", ...denoArgs, ENTRY],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const input = child.stdin.getWriter();
  const lines = linesOf(child.stdout);
  return {
    pid: child.pid,
    async ask(task, question) {
      await input.write(new TextEncoder().encode(JSON.stringify({ task, question }) + "\n"));
      const { done, value } = await lines.next();
      if (done) throw new Error(`Cannot do "${task}": the process has ended`);
      const answer = JSON.parse(value);
      if (typeof answer.error === "string") throw new Error(`Cannot do "${task}": ${answer.error}`);
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
