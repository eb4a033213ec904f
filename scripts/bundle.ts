/**
 * `deno task bundle [ENTRY] [FOLDER]`: the production entry as one code-split bundle, client-node and other heavy parts as lazy
 * chunks. `deno compile` takes the bundle, never the sources: an unbundled prom-client overflows its stack.
 */

/** CommonJS packages in the bundle ask for Node's built-in modules by `require`. */
const BANNER = 'import{createRequire as __createRequire}from"node:module";' +
  "const require=__createRequire(import.meta.url);\n";

/** Bundles `entry` into `folder`; throws with the bundler's words where it fails. */
export async function bundle(entry: string, folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--quiet",
      "--platform=deno",
      "--minify",
      "--keep-names",
      "--code-splitting",
      `--outdir=${folder}`,
      entry,
    ],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`Cannot bundle "${entry}": ${new TextDecoder().decode(stderr)}`);
  for await (const { name } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (name.endsWith(".js")) await Deno.writeTextFile(path, BANNER + await Deno.readTextFile(path));
  }
}

if (import.meta.main) await bundle(Deno.args[0] ?? "main.ts", Deno.args[1] ?? "dist");
