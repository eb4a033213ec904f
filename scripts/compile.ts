import { join } from "node:path";
import { bundle } from "./bundle.ts";
import { compilerRuntime, compileWith } from "./support/compiler.ts";
import { kubeconfigPermissions, podPermissions, V8_FLAGS } from "./support/permissions.ts";
import { nameOf, type Platform, platformOf, PLATFORMS } from "./support/platform.ts";
import { runScript, type Values } from "./support/script.ts";

const HELP = `
Usage: deno task compile [--pod] [--platform OS/ARCH]

Bundles the program and compiles dist/zen-watcher: one file with the bundle and the runtime in it.

  --pod        let it do what a Pod needs and nothing more, as the image's does; without, it may also read kubeconfigs and files
  --platform   ${PLATFORMS.map(nameOf).join(", ")}; default: this machine's

Environment:
  DENORT_BIN      the runtime to embed; else Deno downloads its own. Where it cannot, for Linux and without DENO_COMPILER, the
                  runtime and compiler of a Deno that Python packages hold are taken, and kept in the user's cache
  DENO_COMPILER   the deno that compiles: of the version of DENORT_BIN
`;

const ROOT = new URL("../", import.meta.url).pathname;

/** What the compiled program may do: what a Pod needs, or a user's commands too. */
export type ProgramPlace = "pod" | "user";

/** Where `compileBundle()` writes, and what for. */
export interface CompileOptions {
  /** The file to write. */
  readonly output: string;
  readonly place: ProgramPlace;
  /** Default: this machine's. */
  readonly platform?: Platform;
}

/** Compiles a bundle, a folder with `main.js`. */
export async function compileBundle(
  folder: string,
  { output, place, platform = platformOf() }: CompileOptions,
): Promise<void> {
  await compileWith(await compilerRuntime(platform), {
    entry: "main.js",
    folder,
    output,
    platform,
    flags: [
      ...(place === "pod" ? podPermissions() : kubeconfigPermissions()),
      ...await includes(folder),
      V8_FLAGS,
    ],
  });
}

/**
 * The chunks, which are loaded when they are needed. Their times are in the program too: with the same ones, the same
 * sources give the same program.
 */
async function includes(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".js")) names.push(name);
  }
  for (const name of names) await Deno.utime(join(folder, name), 0, 0);
  return names.sort().map((name) => `--include=${name}`);
}

const OPTIONS = { pod: { type: "boolean" }, platform: { type: "string" } } as const;

async function compile({ pod = false, platform: name }: Values<typeof OPTIONS>): Promise<void> {
  const platform = platformOf(name);
  await bundle("main.ts", "dist");
  await compileBundle(`${ROOT}dist`, {
    output: `${ROOT}dist/zen-watcher`,
    place: pod ? "pod" : "user",
    platform,
  });
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, compile);
