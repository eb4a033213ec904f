import { join, resolve } from "node:path";
import { bundlePage } from "../src/ui/page_files.ts";
import { runScript } from "./support/script.ts";

const HELP = `
Usage: deno task bundle [ENTRY] [FOLDER]

Bundles ENTRY (main.ts) into FOLDER (dist): code-split, with client-node and other heavy parts as chunks that are loaded when
they are needed. \`deno compile\` takes the bundle, never the sources: an unbundled prom-client overflows its stack.
`;

const ROOT = new URL("../", import.meta.url).pathname;
/** Holds the hash of the sources that a bundle was made of. */
const STAMP = "sources.sha256";

/** The word in src/ui/page_files.ts that the page's script is put in place of. */
const PAGE_WORD = '"ZEN_WATCHER_PAGE_SCRIPT"';

/** CommonJS packages in the bundle ask for Node's built-in modules by `require`. */
const BANNER = 'import{createRequire as __createRequire}from"node:module";' +
  "const require=__createRequire(import.meta.url);\n";

/**
 * Before it starts, the runtime reads every chunk whose name it can find in an `import("…")`, lazy or not: client-node's
 * alone costs 100 MiB of resident memory on a start without a cache. The name of a chunk this large is hidden from it, and so
 * is that of the page, which a controller never loads. Loading a hidden chunk takes the right to read its file: with a
 * kubeconfig there is that right.
 */
const HIDDEN_FROM_BYTES = 1_000_000;

/** The program's bundle, made anew where the sources changed since it was made. Returns the path of its entry. */
export async function freshBundle(root = ROOT): Promise<string> {
  const made = await Deno.readTextFile(join(root, "dist", STAMP)).catch(() => "");
  if (made !== await hashOfSources(root)) await bundle("main.ts", "dist", root);
  return join(root, "dist/main.js");
}

/**
 * Bundles `entry` into `folder`, both below `root` where they are relative. Throws with the bundler's words where it fails,
 * and leaves what was there.
 */
export async function bundle(entry: string, folder: string, root = ROOT): Promise<void> {
  const sources = await hashOfSources(root);
  const target = resolve(root, folder);
  const fresh = `${target}.partial`;
  await Deno.remove(fresh, { recursive: true }).catch(() => {});
  try {
    await bundleInto(fresh, entry, root);
    await Deno.writeTextFile(`${fresh}/${STAMP}`, sources);
    await Deno.remove(target, { recursive: true }).catch(() => {});
    await Deno.rename(fresh, target);
  } catch (error) {
    await Deno.remove(fresh, { recursive: true }).catch(() => {});
    throw error;
  }
}

async function bundleInto(folder: string, entry: string, root: string): Promise<void> {
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
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`Cannot bundle "${entry}": ${new TextDecoder().decode(stderr)}`);
  const chunks = new Map<string, string>();
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".js")) chunks.set(name, await Deno.readTextFile(`${folder}/${name}`));
  }
  const page = await embedPage(chunks, root);
  const hidden = [...chunks].filter(([name, code]) => name === page || code.length >= HIDDEN_FROM_BYTES)
    .map(([name]) => name);
  const banner = `globalThis.ZEN_WATCHER_COMMIT??=${JSON.stringify(await commitOf(root))};${BANNER}`;
  for (const [name, code] of chunks) {
    await Deno.writeTextFile(`${folder}/${name}`, banner + hideImports(code, hidden));
  }
}

/** Puts the page's script into the lazy chunk that serves it. Returns that chunk's name, where it is in the bundle. */
async function embedPage(chunks: Map<string, string>, root: string): Promise<string | undefined> {
  for (const [name, code] of chunks) {
    if (!code.includes(PAGE_WORD)) continue;
    const script = await bundlePage(new URL(`file://${join(root, "src/ui/page/main.tsx")}`));
    chunks.set(name, code.replace(PAGE_WORD, () => JSON.stringify(script)));
    return name;
  }
  return undefined;
}

/** The commit that is built: `REVISION` where there is no repository, as in the image's build. */
export async function commitOf(root: string): Promise<string> {
  const given = Deno.env.get("REVISION");
  if (given) return given.slice(0, 12);
  const args = ["rev-parse", "--short=12", "HEAD"];
  const git = new Deno.Command("git", { args, cwd: root, stderr: "null" });
  const { success, stdout } = await git.output().catch(() => ({ success: false, stdout: new Uint8Array() }));
  return success ? new TextDecoder().decode(stdout).trim() : "unknown";
}

function hideImports(code: string, chunks: readonly string[]): string {
  return chunks.reduce(
    (text, name) => text.replaceAll(`import("./${name}")`, `import((name=>name)("./${name}"))`),
    code,
  );
}

/** A hash of all that a bundle of the program depends on: sources, configuration and the runtime. */
async function hashOfSources(root: string): Promise<string> {
  const paths = ["main.ts", "deno.json", "deno.lock"];
  for await (const path of sourcesBelow(root, "src")) paths.push(path);
  const texts = await Promise.all(paths.sort().map((path) => Deno.readTextFile(join(root, path))));
  const all = JSON.stringify([Deno.version.deno, BANNER, paths, texts]);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(all))).toHex();
}

async function* sourcesBelow(root: string, folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(join(root, folder))) {
    if (isDirectory) yield* sourcesBelow(root, `${folder}/${name}`);
    else if (!name.endsWith("_test.ts")) yield `${folder}/${name}`;
  }
}

if (import.meta.main) {
  await runScript({ help: HELP, takesWords: true }, async (_, [entry = "main.ts", folder = "dist"]) => {
    await bundle(entry, folder);
  });
}
