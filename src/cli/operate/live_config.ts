/** The filters, Ingesters and ObservationMappings of a cluster, for `explain --live`. */
import { parseFilterDocuments, readFilterSpec } from "../../filters/document.ts";
import { filterStatusName, STATUS_KEYS } from "../../filters/filter_status.ts";
import { OBSERVATION_FILTERS, specInForce, storedGood } from "../../filters/observation_filters.ts";
import { formatPath, formatProblem } from "../../text/problem.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../kube/api.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import { readyOf } from "../../kube/conditions.ts";
import type { Settings } from "../../settings.ts";
import { CONFIG_MAPS } from "../../kube/core_resources.ts";
import { type ExceptionDocument, readException } from "../../exceptions/document.ts";
import { listAllowed } from "../../read/drops.ts";
import { listExceptions } from "../../read/exceptions.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "../../mapped/kinds.ts";
import { CommandError } from "../io.ts";

/** The configuration in a cluster. */
export interface LiveConfig {
  readonly filters: readonly FilterDocument[];
  /** Ingesters and ObservationMappings of the controller's and the trusted namespaces, and others that are in force. */
  readonly mapped: readonly KubeObject[];
  /** What the user may not read, each as a sentence. */
  readonly missing: readonly string[];
}

export interface LiveConfigOptions {
  readonly settings: Settings;
  /** Reads the tenants' filters of this namespace alone: no other applies to what belongs to it. */
  readonly namespace?: string | undefined;
}

/**
 * Reads the configuration of a cluster. In place of an invalid filter it has the last good one, which the controller keeps in
 * a status; throws if there is none. Which other namespaces the controller takes objects of is a setting of its own: their
 * objects are in force where their status says so.
 */
export async function readLiveConfig(
  api: KubeApi,
  { settings, namespace }: LiveConfigOptions,
): Promise<LiveConfig> {
  const own = settings.podNamespace;
  const trusted = [...new Set([own, ...settings.trustedConfigNamespaces])];
  const missing: string[] = [];
  const isTrusted = ({ metadata }: KubeObject) => trusted.includes(metadata.namespace ?? "");
  /** Those of all namespaces that are in force; where all may not be listed, those of the trusted ones. */
  const mappedOf = async (type: ResourceType) => {
    const all = await listAllowed(type, { api, namespace: "", missing });
    if (all) return all.filter((object) => isTrusted(object) || readyOf(object)?.status === "True");
    return (await Promise.all(trusted.map((from) => listIn(api, type, from)))).flat();
  };
  const filtersOf = async () => {
    const tenants = namespace === own
      ? []
      : await listAllowed(OBSERVATION_FILTERS, { api, namespace: namespace ?? "", missing });
    if (namespace === undefined && tenants) return tenants;
    return [...await listIn(api, OBSERVATION_FILTERS, own), ...tenants ?? []];
  };
  const [configMap, filters, ingesters, mappings] = await Promise.all([
    configMapDocuments(api, settings),
    filtersOf(),
    mappedOf(INGESTERS),
    mappedOf(OBSERVATION_MAPPINGS),
  ]);
  const kinds: readonly (readonly [readonly KubeObject[], string])[] = [
    [ingesters, INGESTERS.kind],
    [mappings, OBSERVATION_MAPPINGS.kind],
  ];
  return {
    filters: [
      ...configMap,
      ...filters.flatMap((object) =>
        object.metadata.namespace === own ? [ownDocument(object)] : tenantDocument(object)
      ),
    ],
    mapped: kinds.flatMap(([objects, kind]) => objects.map((object) => ({ ...object, kind }))),
    missing,
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

async function listIn(api: KubeApi, type: ResourceType, namespace: string): Promise<readonly KubeObject[]> {
  try {
    return (await api.list(type, { namespace })).items;
  } catch (error) {
    if (hasStatus(error, 404)) return [];
    throw error;
  }
}

function ownDocument({ metadata, spec, status }: KubeObject): FilterDocument {
  const { namespace = "", name = "" } = metadata;
  const options = { name: `ObservationFilter ${namespace}/${name}` };
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

/** The document of a tenant's filter by its status; none where nothing of it is in force. */
function tenantDocument(object: KubeObject): FilterDocument[] {
  const { namespace = "", name = "" } = object.metadata;
  const read = readFilterSpec(specInForce(object), {
    name: `ObservationFilter ${namespace}/${name}`,
    tenantNamespace: namespace,
  });
  return read.ok ? [read.value] : [];
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
