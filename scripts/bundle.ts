/**
 * `deno task bundle [ENTRY] [FOLDER]`: the production entry as one code-split bundle, client-node and other heavy parts as lazy
 * chunks. `deno compile` takes the bundle, never the sources: an unbundled prom-client overflows its stack.
 */

/** CommonJS packages in the bundle ask for Node's built-in modules by `require`. */
const BANNER = 'import{createRequire as __createRequire}from"node:module";' +
  "const require=__createRequire(import.meta.url);\n";

/**
 * Before it starts, the runtime reads every chunk whose name it can find in an `import("…")`, lazy or not: client-node's
 * alone costs 100 MiB of resident memory on a start without a cache. The name of a chunk this large is hidden from it,
 * which asks for the right to read the file when it is loaded: with a kubeconfig there is that right.
 */
const HIDDEN_FROM_BYTES = 1_000_000;

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
  const chunks = new Map<string, string>();
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".js")) chunks.set(name, await Deno.readTextFile(`${folder}/${name}`));
  }
  const large = [...chunks].filter(([, code]) => code.length >= HIDDEN_FROM_BYTES).map(([name]) => name);
  for (const [name, code] of chunks) {
    await Deno.writeTextFile(`${folder}/${name}`, BANNER + hideImports(code, large));
  }
}

function hideImports(code: string, chunks: readonly string[]): string {
  return chunks.reduce(
    (text, name) => text.replaceAll(`import("./${name}")`, `import((name=>name)("./${name}"))`),
    code,
  );
}

if (import.meta.main) await bundle(Deno.args[0] ?? "main.ts", Deno.args[1] ?? "dist");
