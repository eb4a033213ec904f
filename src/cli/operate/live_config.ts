/** The filters, Ingesters and ObservationMappings of a cluster, for `explain --live`. */
import { parseFilterDocuments, readFilterSpec } from "../../filters/document.ts";
import { filterStatusName, STATUS_KEYS } from "../../filters/filter_status.ts";
import { OBSERVATION_FILTERS, storedGood } from "../../filters/observation_filters.ts";
import { formatPath, formatProblem } from "../../text/problem.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../../kube/api.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import type { Settings } from "../../settings.ts";
import { CONFIG_MAPS } from "../../kube/core_resources.ts";
import { type ExceptionDocument, readException } from "../../exceptions/document.ts";
import { listExceptions } from "../../read/exceptions.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "../../mapped/kinds.ts";
import { CommandError } from "../io.ts";

/** The configuration in a cluster. */
export interface LiveConfig {
  readonly filters: readonly FilterDocument[];
  /** Ingesters and ObservationMappings of the controller's and the trusted namespaces. */
  readonly mapped: readonly KubeObject[];
}

/**
 * Reads the configuration of a cluster. In place of an invalid filter it has the last good one, which the controller keeps in
 * a status; throws if there is none.
 */
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
  const documentName = `ConfigMap ${namespace}/${name}`;
  const data = await dataOf(api, name, namespace);
  const text = data?.[key];
  const parsed = text === undefined ? undefined : parseFilterDocuments(text, documentName);
  if (parsed?.ok) return parsed.value;
  const stored = await dataOf(api, filterStatusName(settings.instance), namespace);
  if (stored?.[STATUS_KEYS.lastGoodOf] === `${namespace}/${name} ${key}`) {
    const lastGood = parseFilterDocuments(stored[STATUS_KEYS.lastGood] ?? "", documentName);
    if (lastGood.ok) return lastGood.value;
  }
  if (data === undefined) return [];
  if (parsed === undefined) {
    throw new CommandError(`Cannot load filters "${namespace}/${name}": it has no key "${key}"`);
  }
  const told = parsed.problems.map((problem) =>
    formatProblem(`load filters "${namespace}/${name}"`, problem)
  );
  throw new CommandError(told.join("\n"));
}

/** The data of a ConfigMap; undefined where it does not exist. */
async function dataOf(
  api: KubeApi,
  name: string,
  namespace: string,
): Promise<Readonly<Record<string, string>> | undefined> {
  try {
    const { data } = await api.get(CONFIG_MAPS, name, { namespace });
    return data as Readonly<Record<string, string>> | undefined ?? {};
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
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

function filterDocument({ metadata, spec, status }: KubeObject, ownNamespace: string): FilterDocument {
  const { namespace = "", name = "" } = metadata;
  const isTenant = namespace !== ownNamespace;
  const options = {
    name: `ObservationFilter ${namespace}/${name}`,
    ...(isTenant && { tenantNamespace: namespace }),
  };
  const read = readFilterSpec(spec, options);
  if (read.ok) return read.value;
  const lastGood = storedGood(status);
  const before = lastGood && readFilterSpec(lastGood.spec, options);
  if (before?.ok) return before.value;
  const told = read.problems.map(({ path, message }) =>
    formatProblem(`load filters "${namespace}/${name}"`, { path: formatPath(path), message })
  );
  throw new CommandError(told.join("\n"));
}

/** The exceptions of a cluster that are valid; undefined where the user may not list them. */
export async function readLiveExceptions(
  api: KubeApi,
  { settings, now }: { readonly settings: Settings; readonly now: number },
): Promise<readonly ExceptionDocument[] | undefined> {
  const objects = await listExceptions(api, {});
  return objects?.flatMap((object) => {
    const read = readException(object, { maxDays: settings.exceptionMaxDays, now });
    return read.ok ? [read.value] : [];
  });
}
