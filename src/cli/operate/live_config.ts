/** The filters, Ingesters and ObservationMappings of a cluster, for `explain --live`. */
import { parseFilterDocuments, readFilterSpec } from "../../filters/document.ts";
import { OBSERVATION_FILTERS } from "../../filters/observation_filters.ts";
import { formatPath, formatProblem } from "../../filters/problem.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../../kube/api.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import type { Settings } from "../../settings.ts";
import { CONFIGMAPS } from "../../sources/feeds/configmap.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "../../mapped/kinds.ts";
import { CommandError } from "../io.ts";

/** The configuration in a cluster. */
export interface LiveConfig {
  readonly filters: readonly FilterDocument[];
  /** Ingesters and ObservationMappings of the controller's and the trusted namespaces. */
  readonly mapped: readonly KubeObject[];
}

/** Reads it; throws where a filter is invalid, because only the running controller knows which one is in force instead. */
export async function readLiveConfig(api: KubeApi, settings: Settings): Promise<LiveConfig> {
  const namespace = settings.podNamespace;
  const trusted = [...new Set([namespace, ...settings.trustedConfigNamespaces])];
  const inAll = async (list: (from: string) => Promise<readonly KubeObject[]>) =>
    (await Promise.all(trusted.map(list))).flat();
  const [configMap, filters, ingesters, mappings] = await Promise.all([
    configMapDocuments(api, settings),
    listed(() => api.list(OBSERVATION_FILTERS, settings.tenantFilters ? {} : { namespace })),
    inAll((from) => listed(() => api.list(INGESTERS, { namespace: from }))),
    inAll((from) => listed(() => api.list(OBSERVATION_MAPPINGS, { namespace: from }))),
  ]);
  const kinds: readonly (readonly [readonly KubeObject[], string])[] = [
    [ingesters, INGESTERS.kind],
    [mappings, OBSERVATION_MAPPINGS.kind],
  ];
  return {
    filters: [...configMap, ...filters.map((object) => filterDocument(object, namespace))],
    mapped: kinds.flatMap(([objects, kind]) => objects.map((object) => ({ ...object, kind }))),
  };
}

async function configMapDocuments(api: KubeApi, settings: Settings): Promise<readonly FilterDocument[]> {
  const { filterConfigMapName: name, filterConfigMapKey: key } = settings;
  const namespace = settings.filterConfigMapNamespace || settings.podNamespace;
  let object: KubeObject;
  try {
    object = await api.get(CONFIGMAPS, name, { namespace });
  } catch (error) {
    if (hasStatus(error, 404)) return [];
    throw error;
  }
  const text = (object.data as Readonly<Record<string, string>> | undefined)?.[key];
  if (text === undefined) {
    throw new CommandError(`Cannot load filters "${namespace}/${name}": it has no key "${key}"`);
  }
  const parsed = parseFilterDocuments(text, `ConfigMap ${namespace}/${name}`);
  if (parsed.ok) return parsed.value;
  const told = parsed.problems.map((problem) =>
    formatProblem(`load filters "${namespace}/${name}"`, problem)
  );
  throw new CommandError(told.join("\n"));
}

async function listed(
  list: () => Promise<{ readonly items: readonly KubeObject[] }>,
): Promise<readonly KubeObject[]> {
  try {
    return (await list()).items;
  } catch (error) {
    if (hasStatus(error, 404)) return [];
    throw error;
  }
}

function filterDocument({ metadata, spec }: KubeObject, ownNamespace: string): FilterDocument {
  const { namespace = "", name = "" } = metadata;
  const isTenant = namespace !== ownNamespace;
  const read = readFilterSpec(spec, {
    name: `ObservationFilter ${namespace}/${name}`,
    ...(isTenant && { tenantNamespace: namespace }),
  });
  if (read.ok) return read.value;
  const told = read.problems.map(({ path, message }) =>
    formatProblem(`load filters "${namespace}/${name}"`, { path: formatPath(path), message })
  );
  throw new CommandError(told.join("\n"));
}
