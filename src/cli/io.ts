/** What commands read and write: handed in, so that tests need no process. */
import { environment } from "../settings.ts";

/** The files, streams, environment and clock that a command sees. */
export interface Io {
  /** Text of a file; `-` is standard input. */
  readText(path: string): Promise<string>;
  /** Paths of the files below a folder, sorted; undefined where `path` is no folder. */
  listFolder(path: string): Promise<readonly string[] | undefined>;
  stdout(text: string): void;
  stderr(text: string): void;
  /** The terminal that stdout is; undefined for a pipe or a file. */
  terminal?(): Terminal | undefined;
  /** Replaces the line of progress on the terminal that stderr is; "" removes it. */
  progress?(text: string): void;
  env(name: string): string | undefined;
  now(): number;
}

/** The terminal that a command prints to. */
export interface Terminal {
  /** Columns; 0 where the terminal does not know, as a fresh pseudo-terminal does not. */
  readonly width: number;
  /** False with `NO_COLOR`. */
  readonly colors: boolean;
}

/** Ends a command with a message for people and an exit code: 1 for what was found wrong, 2 for how it was called. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Largest input. */
export const MAX_INPUT_BYTES = 256 * 2 ** 20;
/** Files listed below one folder. */
const MAX_FILES = 10_000;
/** Links may lead in a circle: folders that nest deeper are left out. */
const MAX_DEPTH = 16;

/** The process's own streams and files. */
export const processIo: Io = {
  async readText(path) {
    try {
      return path === "-" ? await readAll(Deno.stdin.readable) : await readFile(path);
    } catch (error) {
      throw new CommandError(`Cannot read "${path}": ${reasonOf(error)}`);
    }
  },
  async listFolder(path) {
    if (path === "-") return undefined;
    try {
      if (!(await Deno.stat(path)).isDirectory) return undefined;
      const files: string[] = [];
      for await (const file of filesBelow(path)) {
        if (files.push(file) > MAX_FILES) {
          throw new Error(`it holds more than ${MAX_FILES} files. Name a folder further down`);
        }
      }
      return files.sort();
    } catch (error) {
      throw new CommandError(`Cannot read "${path}": ${reasonOf(error)}`);
    }
  },
  stdout: (text) => write(Deno.stdout, text),
  stderr: (text) => write(Deno.stderr, text),
  terminal: () =>
    Deno.stdout.isTerminal() ? { width: Deno.consoleSize().columns, colors: !Deno.noColor } : undefined,
  progress(text) {
    if (Deno.stderr.isTerminal()) write(Deno.stderr, `\r\x1b[K${text}`);
  },
  env: environment,
  now: () => Date.now(),
};

/** A device or a pipe may never end, so that only regular files are opened. */
async function readFile(path: string): Promise<string> {
  const { isFile, isDirectory, size } = await Deno.stat(path);
  if (isDirectory) throw new Error("it is a folder. Name a file in it");
  if (!isFile) throw new Error("it is not a regular file. Pipe it in with -f -");
  if (size > MAX_INPUT_BYTES) throw tooLarge(MAX_INPUT_BYTES);
  const file = await Deno.open(path);
  return await readAll(file.readable);
}

/** The text of a stream; throws where it is longer than `maxBytes`. */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number = MAX_INPUT_BYTES,
): Promise<string> {
  let decoder: TextDecoder | undefined;
  let text = "";
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge(maxBytes);
    // Windows PowerShell writes what is redirected to a file as UTF-16 with a mark.
    decoder ??= new TextDecoder(chunk[0] === 0xff && chunk[1] === 0xfe ? "utf-16le" : "utf-8");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + (decoder?.decode() ?? "");
}

function tooLarge(maxBytes: number): Error {
  return new Error(`it is larger than ${maxBytes / 2 ** 20} MiB. Split it into smaller files`);
}

async function* filesBelow(folder: string, depth = 0): AsyncGenerator<string> {
  if (depth > MAX_DEPTH) return;
  for await (const { name, isDirectory, isFile, isSymlink } of Deno.readDir(folder)) {
    const path = `${folder.replace(/\/+$/, "")}/${name}`;
    if (isDirectory) yield* filesBelow(path, depth + 1);
    else if (isFile || isSymlink) yield path;
  }
}

/** True where the runtime refused what the program was built without: that of the image has the permissions of a Pod alone. */
export function isBeyondPermissions(error: unknown): boolean {
  if (error instanceof Deno.errors.NotCapable) return true;
  return error instanceof Error && error.cause !== undefined && isBeyondPermissions(error.cause);
}

function reasonOf(error: unknown): string {
  if (isBeyondPermissions(error)) return "the image's program may not read files. Pipe it in with -f -";
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  return error instanceof Error ? error.message : String(error);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    // The program at the other end of the pipe (`head`) has read enough.
    if (error instanceof Deno.errors.BrokenPipe) Deno.exit(0);
    throw error;
  }
}
