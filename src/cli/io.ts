/** What commands read and write: handed in, so that tests need no process. */
import { environment } from "../settings.ts";

/** The world as commands see it. */
export interface Io {
  /** Text of a file; `-` is standard input. */
  readText(path: string): Promise<string>;
  /** Paths of the files below a folder, sorted; undefined where `path` is no folder. */
  listFolder(path: string): Promise<readonly string[] | undefined>;
  stdout(text: string): void;
  stderr(text: string): void;
  env(name: string): string | undefined;
  now(): number;
}

/** A command ends with a message for people and an exit code: 1 for what was found wrong, 2 for how it was called. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The process's own streams and files. */
export const processIo: Io = {
  async readText(path) {
    try {
      return path === "-" ? await new Response(Deno.stdin.readable).text() : await Deno.readTextFile(path);
    } catch (error) {
      throw new CommandError(`Cannot read "${path}": ${reasonOf(error)}`);
    }
  },
  async listFolder(path) {
    try {
      if (!(await Deno.stat(path)).isDirectory) return undefined;
      return (await Array.fromAsync(filesBelow(path))).sort();
    } catch (error) {
      if (path === "-") return undefined;
      throw new CommandError(`Cannot read "${path}": ${reasonOf(error)}`);
    }
  },
  stdout: (text) => write(Deno.stdout, text),
  stderr: (text) => write(Deno.stderr, text),
  env: environment,
  now: () => Date.now(),
};

/** Folders nest in good faith, links may not: deeper than this is a circle. */
const MAX_DEPTH = 16;

async function* filesBelow(folder: string, depth = 0): AsyncGenerator<string> {
  if (depth > MAX_DEPTH) return;
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder.replace(/\/+$/, "")}/${entry.name}`;
    if (entry.isDirectory) yield* filesBelow(path, depth + 1);
    else yield path;
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  return error instanceof Error ? error.message : String(error);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
}
