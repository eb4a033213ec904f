/** `deno compile`, with a runtime that the environment names, that Deno downloads, or that Python packages hold. */
import { join } from "node:path";
import { alone, cacheFolder } from "./cache.ts";
import { isFile } from "./files.ts";
import { isThisMachine, nameOf, type Platform, platformOf } from "./platform.ts";
import { say } from "./script.ts";

/** A compiler, and the runtime it embeds: both of one version, as a program of two versions ends at its start. */
export interface Runtime {
  readonly compiler: string;
  /** Absent: the compiler downloads that of its own version. */
  readonly denort?: string;
}

/** What `compileWith()` compiles. */
export interface Compilation {
  /** The program's entry, in `folder`. */
  readonly entry: string;
  readonly folder: string;
  /** The file to write. */
  readonly output: string;
  readonly platform: Platform;
  /** Permissions and other options of `deno compile`. */
  readonly flags: readonly string[];
}

/**
 * A program that `deno compile` made holds the runtime whole, so bids-validator-deno holds the runtime of this Deno, for both
 * architectures of Linux, and the package deno holds the compiler.
 */
const PYTHON_PACKAGES = {
  version: "2.6.10",
  compiler: "deno==2.6.10",
  program: "bids-validator-deno==2.4.1",
};
/** What Deno says where it cannot download the runtime. */
const NO_RUNTIME = "Setting up base binary";

/**
 * What a runtime before this Deno's lacks and the packages in the bundle call at their start, done as a runtime would that
 * marks nothing and knows no limit of memory.
 */
const FOR_OLDER_RUNTIMES = `
import process from "node:process";
import threads from "node:worker_threads";
threads.markAsUncloneable ??= () => {};
process.constrainedMemory ??= () => 0;
`;

const found = new Map<string, Promise<Runtime>>();

/** The runtime for a platform's programs, and its compiler. */
export function compilerRuntime(platform: Platform): Promise<Runtime> {
  const runtime = found.get(platform.target) ?? findRuntime(platform);
  found.set(platform.target, runtime);
  return runtime;
}

/** Compiles a program. Throws with the compiler's words where it fails, and where a program of this machine does not start. */
export async function compileWith({ compiler, denort }: Runtime, options: Compilation): Promise<void> {
  const { entry, folder, output, platform } = options;
  const flags = [...options.flags, ...await flagsFor(compiler, folder), `--target=${platform.target}`];
  const { success, text } = await run(compiler, {
    args: ["compile", "--quiet", "--no-config", "--no-lock", ...flags, `--output=${output}`, entry],
    cwd: folder,
    env: denort === undefined ? {} : { DENORT_BIN: denort },
  });
  if (!success) throw new Error(`Cannot compile "${entry}" with "${compiler}": ${text.trim()}`);
  if (!isThisMachine(platform)) return;
  const started = await run(output, { args: ["--version"], cwd: "/" });
  if (started.success) return;
  await Deno.remove(output);
  throw new Error(
    `Cannot start what "${compiler}" compiled${denort ? ` with the runtime "${denort}"` : ""}: ` +
      `${started.text.trim().split("\n")[0]}\nName a compiler of the runtime's version with DENO_COMPILER`,
  );
}

/** For the runtime of another Deno: the flag that adds what that may lack, before the program starts. */
async function flagsFor(compiler: string, folder: string): Promise<readonly string[]> {
  const { text } = await run(compiler, { args: ["--version"] });
  if (text.startsWith(`deno ${Deno.version.deno} `)) return [];
  const file = join(folder, "older_runtime.js");
  await Deno.writeTextFile(file, FOR_OLDER_RUNTIMES);
  // Its time is in the program.
  await Deno.utime(file, 0, 0);
  return ["--preload=./older_runtime.js"];
}

async function findRuntime(platform: Platform): Promise<Runtime> {
  const denort = Deno.env.get("DENORT_BIN");
  const named = Deno.env.get("DENO_COMPILER");
  const compiler = named || Deno.execPath();
  if (denort) return { compiler, denort };
  const isPackaged = platformOf().os === "linux" && platform.os === "linux";
  if (named || !isPackaged || await downloads(compiler, platform)) return { compiler };
  const packaged = await fromPythonPackages(platform);
  say(
    `compile: the runtime of "${compiler}" cannot be downloaded: taking that of Deno ${PYTHON_PACKAGES.version}`,
  );
  return packaged;
}

/** True where the compiler has its runtime, or can download it. */
async function downloads(compiler: string, platform: Platform): Promise<boolean> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "main.js"), "");
    const flags = ["--no-config", "--no-lock", `--target=${platform.target}`];
    const args = ["compile", ...flags, `--output=${join(folder, "program")}`, "main.js"];
    const { text } = await run(compiler, { args, cwd: folder });
    return !text.includes(NO_RUNTIME);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function fromPythonPackages(platform: Platform): Promise<Runtime> {
  const { version, compiler, program } = PYTHON_PACKAGES;
  const folder = cacheFolder("deno", version);
  const runtime = { compiler: join(folder, "deno"), denort: join(folder, `denort-${platform.arch}`) };
  return await alone(folder, async () => {
    if (!await isFile(runtime.compiler)) {
      await fromWheel(compiler, { folder, platform: platformOf(), file: "deno" }, async (deno) => {
        await Deno.chmod(deno, 0o755);
        await Deno.rename(deno, runtime.compiler);
      });
    }
    if (!await isFile(runtime.denort)) {
      await fromWheel(program, { folder, platform, file: "bids-validator-deno" }, async (withProgram) => {
        const denort = withoutProgram(await Deno.readFile(withProgram));
        await Deno.writeFile(withProgram, denort, { mode: 0o755 });
        await Deno.rename(withProgram, runtime.denort);
      });
    }
    return runtime;
  });
}

/** Downloads a platform's wheel and hands a program of it on. */
async function fromWheel(
  name: string,
  { folder, platform, file }: { folder: string; platform: Platform; file: string },
  take: (path: string) => Promise<void>,
): Promise<void> {
  say(`compile: downloading ${name} for ${nameOf(platform)} from Python packages into ${folder}`);
  const work = await Deno.makeTempDir({ dir: folder });
  try {
    // Both are for glibc 2.27 and later.
    const [cpu] = platform.target.split("-");
    const wheel = ["--no-deps", "--only-binary=:all:", `--platform=manylinux_2_27_${cpu}`];
    await python(["-m", "pip", "download", "--quiet", ...wheel, "-d", work, name]);
    for await (const { name } of Deno.readDir(work)) {
      if (name.endsWith(".whl")) await python(["-m", "zipfile", "-e", join(work, name), work]);
    }
    await take(await scriptIn(work, file));
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** An ELF file ends with its section headers; what `deno compile` appended comes after them. */
export function withoutProgram(file: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const header = new DataView(file.buffer, file.byteOffset, 64);
  const offset = Number(header.getBigUint64(0x28, true));
  const size = header.getUint16(0x3a, true);
  const count = header.getUint16(0x3c, true);
  return file.subarray(0, offset + size * count);
}

/** Where a wheel that was unpacked in `folder` has the program `name`. */
async function scriptIn(folder: string, name: string): Promise<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name, "scripts", name);
    if (entry.name.endsWith(".data") && await isFile(path)) return path;
  }
  throw new Error(`Cannot find "${name}" in its Python package`);
}

async function python(args: readonly string[]): Promise<void> {
  const { success, text } = await run("python3", { args });
  if (success) return;
  throw new Error(
    `Cannot get the runtime from Python packages: ${text.trim().split("\n").at(-1)}. ` +
      "Name a runtime with DENORT_BIN, and its compiler with DENO_COMPILER",
  );
}

interface Run {
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

async function run(program: string, { args, ...options }: Run): Promise<{ success: boolean; text: string }> {
  const env = { ...options.env, NO_COLOR: "1" };
  const command = new Deno.Command(program, { args: [...args], ...options, env, stdin: "null" });
  try {
    const { success, stdout, stderr } = await command.output();
    const decoder = new TextDecoder();
    return { success, text: decoder.decode(stderr) + decoder.decode(stdout) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { success: false, text: `"${program}" is not there` };
  }
}
