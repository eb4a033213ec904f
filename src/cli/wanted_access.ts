/** Everything zen-watcher asks of the API server, by the sources there are and the settings. Pure. */
import { GROUP, PLURAL } from "../core/observation.ts";
import type { Access } from "../kube/access.ts";
import type { Settings } from "../settings.ts";
import type { CompiledIngester } from "../sources/mapped/compile.ts";
import type { SourceDefinition } from "../sources/source.ts";

const READ = ["get", "list", "watch"] as const;

/** What is wanted, and by whom. */
export interface Wanted extends Access {
  /** For people: `source trivy`, `the lease`. */
  readonly by: string;
}

export interface WantedOptions {
  readonly settings: Settings;
  readonly sources: readonly SourceDefinition[];
  readonly ingesters: readonly CompiledIngester[];
}

/** One entry a verb, resource and place. */
export function wantedAccess({ settings, sources, ingesters }: WantedOptions): Wanted[] {
  const reads = [
    ...sources.flatMap((source) => sourceAccess(source, settings)),
    ...ingesters.flatMap((ingester) => ingesterAccess(ingester, settings)),
  ];
  return [...ownAccess(settings), ...reads];
}

function ownAccess(settings: Settings): Wanted[] {
  const own = settings.podNamespace;
  const filterNamespace = settings.filterConfigMapNamespace || own;
  const configuration = ["observationfilters", "ingesters", "observationmappings"];
  const eventNamespaces = [...new Set([own, filterNamespace])];
  return [
    ...everywhere(
      settings,
      { group: GROUP, resource: PLURAL },
      [...READ, "create", "patch", "delete"],
      "Observations",
    ),
    ...everywhere(
      settings,
      { group: GROUP, resource: PLURAL, subresource: "status" },
      ["patch"],
      "Observations",
    ),
    ...configuration.flatMap((resource) => [
      ...wants({ group: GROUP, resource }, READ, "configuration"),
      ...wants({ group: GROUP, resource, subresource: "status" }, ["patch"], "configuration"),
    ]),
    ...wants(
      { group: "", resource: "configmaps", namespace: filterNamespace, name: settings.filterConfigMapName },
      READ,
      "filters",
    ),
    ...wants({ group: "coordination.k8s.io", resource: "leases", namespace: own }, [
      ...READ,
      "create",
      "update",
    ], "the lease"),
    ...eventNamespaces.flatMap((namespace) =>
      wants({ group: "", resource: "events", namespace }, ["create", "patch"], "Events")
    ),
  ];
}

function sourceAccess({ name, input }: SourceDefinition, settings: Settings): Wanted[] {
  const by = `source ${name}`;
  if (input.type === "webhook") return [];
  if (input.type === "configmap") {
    const namespaces: Readonly<Record<string, string>> = {
      KUBE_BENCH_NAMESPACE: settings.kubeBenchNamespace,
      CHECKOV_NAMESPACE: settings.checkovNamespace,
    };
    const namespace = namespaces[input.namespaceEnv] ?? input.namespace;
    return wants({ group: "", resource: "configmaps", namespace }, READ, by);
  }
  // Versions of one resource need one rule.
  const resources = new Map(input.resources.map((type) => [`${type.plural}.${type.group}`, type]));
  return [...resources.values()].flatMap(({ group, plural, namespaced }) => {
    const access = { group, resource: plural };
    return namespaced ? everywhere(settings, access, READ, by) : wants(access, READ, by);
  });
}

function ingesterAccess({ source, input }: CompiledIngester, settings: Settings): Wanted[] {
  const by = `source ${source}`;
  if (input.type === "configmap") {
    return wants({ group: "", resource: "configmaps", namespace: input.namespace }, READ, by);
  }
  // An ObservationMapping names a kind, whose plural only discovery knows.
  if (input.type === "webhook" || input.resource === undefined) return [];
  const access = { group: input.group, resource: input.resource };
  if (input.namespace !== "") return wants({ ...access, namespace: input.namespace }, READ, by);
  return everywhere(settings, access, READ, by);
}

/** In the namespaces of the shard, or in all of them. */
function everywhere(
  { watchNamespaces }: Settings,
  access: Omit<Access, "verb">,
  verbs: readonly string[],
  by: string,
): Wanted[] {
  if (watchNamespaces.length === 0) return wants(access, verbs, by);
  return watchNamespaces.flatMap((namespace) => wants({ ...access, namespace }, verbs, by));
}

function wants(access: Omit<Access, "verb">, verbs: readonly string[], by: string): Wanted[] {
  return verbs.map((verb) => ({ verb, ...access, by }));
}
