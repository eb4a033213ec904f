/** The CRDs that tests install. */

const ROOT = new URL("../../", import.meta.url);

/** The YAML files of a folder, by name. */
export async function yamlFiles(folder: URL): Promise<URL[]> {
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  return names.filter((name) => name.endsWith(".yaml")).sort().map((name) => new URL(name, folder));
}

/** Those of zen-watcher's own kinds. */
export const OWN_CRDS: readonly URL[] = await yamlFiles(new URL("crds/", ROOT));

/** The same, and Trivy's vulnerability reports with an open schema. */
export const CRDS: readonly URL[] = [
  ...OWN_CRDS,
  new URL("scripts/samples/crds/aquasecurity.github.io_vulnerabilityreports.yaml", ROOT),
];
