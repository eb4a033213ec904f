import { isObject, type JsonObject } from "../src/model/json.ts";
import { VERSION } from "../src/version.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task sbom > sbom.cdx.json

Prints the npm packages that the program's bundle is made of, as CycloneDX 1.5 JSON. Packages of tests and scripts are not in
it: what counts is what the program's entry and the page's entry reach.
`;

/** The program, and the page that is embedded in it. */
const ENTRIES = ["main.ts", "src/ui/page/main.tsx"];
const ROOT = new URL("../", import.meta.url);

interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly string[];
}

/** The bill of materials. */
export async function billOfMaterials(entries: readonly string[] = ENTRIES): Promise<JsonObject> {
  const graphs = await Promise.all(entries.map(graphOf));
  const packages = new Map(graphs.flatMap(({ npmPackages }) => Object.entries(npmPackages)));
  const direct = new Set(
    graphs.flatMap(({ modules }) => modules).flatMap(({ npmPackage }) => npmPackage ?? [])
      .filter((id) => !id.startsWith("@types/")),
  );
  const reached = reachable(direct, packages);
  const integrity = await integrities();
  const components = reached.map((id) => component(packages.get(id), integrity.get(id)));
  const ref = (id: string) => purlOf(packages.get(id));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": "zen-watcher",
        name: "zen-watcher",
        version: VERSION,
        licenses: [{ license: { id: "Apache-2.0" } }],
      },
      tools: { components: [{ type: "application", name: "deno", version: Deno.version.deno }] },
    },
    components: [...components, {
      type: "platform",
      "bom-ref": "deno",
      name: "deno",
      version: Deno.version.deno,
    }],
    dependencies: [
      { ref: "zen-watcher", dependsOn: ["deno", ...[...direct].sort().map(ref)] },
      ...reached.map((id) => ({ ref: ref(id), dependsOn: (packages.get(id)?.dependencies ?? []).map(ref) })),
    ],
  };
}

interface Graph {
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
  readonly modules: readonly { readonly npmPackage?: string }[];
}

async function graphOf(entry: string): Promise<Graph> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", new URL(entry, ROOT).pathname],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error(`Cannot read the graph of "${entry}": ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function reachable(direct: ReadonlySet<string>, packages: ReadonlyMap<string, NpmPackage>): string[] {
  const reached = new Set(direct);
  // A set takes additions while it is walked.
  for (const id of reached) {
    for (const dependency of packages.get(id)?.dependencies ?? []) reached.add(dependency);
  }
  return [...reached].sort();
}

/** `sha512-…` of the lock file, by package. */
async function integrities(): Promise<ReadonlyMap<string, string>> {
  const lock: unknown = JSON.parse(await Deno.readTextFile(new URL("deno.lock", ROOT)));
  const found = new Map<string, string>();
  for (const [id, entry] of Object.entries(isObject(lock) && isObject(lock.npm) ? lock.npm : {})) {
    if (isObject(entry) && typeof entry.integrity === "string") found.set(id, entry.integrity);
  }
  return found;
}

function component(found: NpmPackage | undefined, integrity: string | undefined): JsonObject {
  if (!found || integrity === undefined) {
    throw new Error(`Cannot list "${found?.name}": deno.lock does not say what it holds`);
  }
  const [algorithm = "", base64 = ""] = integrity.split("-");
  const hex = [...atob(base64)].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  const [scope, name] = found.name.startsWith("@") ? found.name.split("/") : [undefined, found.name];
  return {
    type: "library",
    "bom-ref": purlOf(found),
    ...(scope !== undefined && { group: scope }),
    name: name ?? found.name,
    version: found.version,
    purl: purlOf(found),
    hashes: [{ alg: algorithm.replace("sha", "SHA-"), content: hex }],
  };
}

function purlOf(found: NpmPackage | undefined): string {
  if (!found) throw new Error("Cannot name a package: the graph does not hold it");
  return `pkg:npm/${found.name.replace("@", "%40")}@${found.version}`;
}

if (import.meta.main) {
  await runScript(
    { help: HELP },
    async () => print(`${JSON.stringify(await billOfMaterials(), undefined, 2)}\n`),
  );
}
