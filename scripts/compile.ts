import { join } from "node:path";
import { bundle } from "./bundle.ts";
import { compileWith, machinesRuntime } from "./support/compiler.ts";
import { kubeconfigPermissions, podPermissions, V8_FLAGS } from "./support/permissions.ts";
import { runScript } from "./support/script.ts";

const HELP = `
Usage: deno task compile [--pod]

Bundles the program and compiles dist/zen-watcher: one file with the bundle and the runtime in it.

  --pod    let it do what a Pod needs and nothing more, as the image's does; without, it may also read kubeconfigs and files

Environment:
  TARGET          cross-compiles, e.g. aarch64-unknown-linux-gnu
  DENORT_BIN      the runtime to embed; else Deno downloads its own. Where it cannot, and TARGET is not set, the runtime and
                  compiler of a Deno that Python packages hold are taken, and kept in the user's cache
  DENO_COMPILER   the deno that compiles: of the version of DENORT_BIN
`;

const ROOT = new URL("../", import.meta.url).pathname;

/** What the compiled program may do: what a Pod needs, or a user's commands too. */
export type Place = "pod" | "user";

/** Compiles a bundle, a folder with `main.js`, into the file `output`. */
export async function compileBundle(folder: string, output: string, place: Place): Promise<void> {
  const target = Deno.env.get("TARGET");
  await compileWith(await machinesRuntime(target), {
    entry: "main.js",
    folder,
    output,
    flags: [
      ...(place === "pod" ? podPermissions() : kubeconfigPermissions()),
      ...await includes(folder),
      V8_FLAGS,
      ...(target ? [`--target=${target}`] : []),
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

async function compile({ pod = false }: { readonly pod?: boolean | undefined }): Promise<void> {
  await bundle("main.ts", "dist");
  await compileBundle(`${ROOT}dist`, `${ROOT}dist/zen-watcher`, pod ? "pod" : "user");
}

if (import.meta.main) await runScript({ help: HELP, options: { pod: { type: "boolean" } } }, compile);
