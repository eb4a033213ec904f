/** The program's modules and what they import, as `deno info` sees them. */
import { isObject, type JsonObject } from "../../src/model/json.ts";

/** One import of a module. */
export interface Import {
  /** Path from the root of the repository, or the name of a package (`hono`, `node:crypto`). */
  readonly target: string;
  /** `await import(…)`: loaded when it is needed. */
  readonly lazy: boolean;
  /** Gone once compiled. */
  readonly typeOnly: boolean;
}

export interface Module {
  /** From the root of the repository. */
  readonly path: string;
  readonly imports: readonly Import[];
  readonly text: string;
  /** Why it could not be read. */
  readonly error?: string;
}

/** Modules by path. */
export type Graph = ReadonlyMap<string, Module>;

/** Reads the graph of these files and of all they import inside `root`. */
export async function readGraph(root: URL, paths: readonly string[]): Promise<Graph> {
  const folder = await Deno.makeTempDir({ prefix: "zen-layers-" });
  try {
    // `deno info` takes one root: a module that imports them all.
    const entry = `${folder}/entry.ts`;
    await Deno.writeTextFile(
      entry,
      paths.map((path) => `import ${JSON.stringify(new URL(path, root))};\n`).join(""),
    );
    const graph = new Map<string, Module>();
    for (const module of await describe(root, entry)) {
      const path = typeof module.specifier === "string" ? inside(root, module.specifier) : undefined;
      if (path === undefined) continue;
      const error = typeof module.error === "string" ? module.error : undefined;
      const text = error === undefined ? await Deno.readTextFile(new URL(path, root)) : "";
      graph.set(path, {
        path,
        imports: importsOf(module, root),
        text,
        ...(error !== undefined && { error }),
      });
    }
    return graph;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Every TypeScript file under these files and folders, from the root of the repository, sorted. */
export async function sourceFiles(root: URL, places: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const place of places) {
    if (place.endsWith(".ts")) {
      found.push(place);
      continue;
    }
    for await (const entry of Deno.readDir(new URL(`${place}/`, root))) {
      const path = `${place}/${entry.name}`;
      if (entry.isDirectory && entry.name !== "fixtures") found.push(...await sourceFiles(root, [path]));
      else if (entry.isFile && /\.tsx?$/.test(entry.name)) found.push(path);
    }
  }
  return found.sort();
}

async function describe(root: URL, entry: string): Promise<JsonObject[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--config", new URL("deno.json", root).pathname, entry],
  }).output();
  if (code !== 0) throw new Error(`Cannot read the module graph: ${new TextDecoder().decode(stderr)}`);
  const info: unknown = JSON.parse(new TextDecoder().decode(stdout));
  return isObject(info) && Array.isArray(info.modules) ? info.modules.filter(isObject) : [];
}

function importsOf(module: JsonObject, root: URL): Import[] {
  const dependencies = Array.isArray(module.dependencies) ? module.dependencies.filter(isObject) : [];
  return dependencies.flatMap((dependency) => {
    const { code, type } = dependency;
    const resolved = isObject(code) ? code : type;
    const specifier = isObject(resolved) ? resolved.specifier : undefined;
    if (typeof specifier !== "string") return [];
    const target = inside(root, specifier) ?? packageName(specifier);
    return [{ target, lazy: dependency.isDynamic === true, typeOnly: !isObject(code) }];
  });
}

/** The path of a file inside the repository. */
function inside(root: URL, specifier: string): string | undefined {
  return specifier.startsWith(root.href) ? decodeURIComponent(specifier.slice(root.href.length)) : undefined;
}

/** `npm:/@scope/name@1.2.3/sub` → `@scope/name`. */
function packageName(specifier: string): string {
  if (!specifier.startsWith("npm:")) return specifier;
  const name = specifier.slice("npm:".length).replace(/^\//, "");
  const parts = name.split("/");
  const kept = name.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0] ?? "";
  const version = kept.lastIndexOf("@");
  return version > 0 ? kept.slice(0, version) : kept;
}
