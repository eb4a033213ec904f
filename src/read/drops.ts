/** What filters and the storage budget left out lately, by the statuses that zen-watcher writes. */
import { type Drop, dropsOf } from "../filters/drops.ts";
import { hasWarning, STATUS_KEYS, storedDrops } from "../filters/filter_status.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import { OBSERVATION_FILTERS } from "../filters/observation_filters.ts";
import { describeAccess } from "../kube/access.ts";
import { hasStatus, type KubeApi, type KubeObject, listedObjects, type ResourceType } from "../kube/api.ts";
import { INGESTERS } from "../mapped/kinds.ts";
import { at, isObject, type Json, type JsonObject } from "../model/json.ts";

/** What one document left out. */
export interface DroppedBy {
  /** `ObservationFilter shop/no-pods`, as `explain` names it, or `storage budget`. */
  readonly document: string;
  readonly mode: "Enforce" | "Shadow";
  /** Events that it left out since it was made. */
  readonly dropped: number;
  /** Events that it would have left out in the last day, in mode Shadow. */
  readonly wouldDrop: number;
  /** The last different ones, newest first. */
  readonly lastDrops: readonly Drop[];
  /** Why it is not in force, or its warnings; "" otherwise. */
  readonly note: string;
}

/** What could be read. */
export interface Dropped {
  readonly documents: readonly DroppedBy[];
  /** What could not be read, each as a sentence. */
  readonly missing: readonly string[];
}

/** Where zen-watcher keeps its statuses. */
export interface StatusPlaces {
  readonly controllerNamespace: string;
  readonly filterNamespace: string;
  readonly filterName: string;
  /** The ConfigMap that the chart makes for the last good filters and their drops. */
  readonly statusName: string;
}

/** The document that stands for the storage budget. */
export const BUDGET_DOCUMENT = "storage budget";
const PAGE_SIZE = 200;
/** Said of an ObservationFilter without a condition. */
const UNJUDGED =
  "not in force: no zen-watcher has read it (outside the controller's namespace TENANT_FILTERS=true is needed)";

/** Reads them with the user's own rights: in one namespace and the controller's, or in all. */
export async function readDropped(
  api: KubeApi,
  { namespace, places }: { readonly namespace: string | undefined; readonly places: StatusPlaces },
): Promise<Dropped> {
  const missing: string[] = [];
  const from = { api, namespace, own: places.controllerNamespace, missing };
  const filters = await listed(OBSERVATION_FILTERS, from);
  const ingesters = await listed(INGESTERS, from);
  const documents = [
    ...await configMapDocuments(api, { places, missing }),
    ...filters.map(ofFilter),
    ...ingesters.flatMap(ofIngester),
  ];
  return { documents, missing };
}

interface From {
  readonly api: KubeApi;
  readonly namespace: string | undefined;
  readonly own: string;
  readonly missing: string[];
}

async function listed(type: ResourceType, { api, namespace, own, missing }: From): Promise<KubeObject[]> {
  if (namespace !== undefined) {
    const found: KubeObject[] = [];
    for (const each of new Set([namespace, own])) {
      found.push(...await listAllowed(type, { api, namespace: each, missing }) ?? []);
    }
    return found;
  }
  const all = await listAllowed(type, { api, namespace: "", missing });
  return all ?? await listAllowed(type, { api, namespace: own, missing }) ?? [];
}

/** The objects of a namespace, "" for all; undefined where the right is missing, which `missing` then says. */
export async function listAllowed(
  type: ResourceType,
  { api, namespace, missing }: {
    readonly api: KubeApi;
    readonly namespace: string;
    readonly missing: string[];
  },
): Promise<KubeObject[] | undefined> {
  const found: KubeObject[] = [];
  try {
    const listed = listedObjects((page) =>
      api.list(type, { limit: PAGE_SIZE, ...(namespace && { namespace }), ...page })
    );
    for await (const object of listed) found.push(object);
    return found;
  } catch (error) {
    if (hasStatus(error, 404)) return found;
    if (!hasStatus(error, 403)) throw error;
    const access = { verb: "list", group: type.group, resource: type.plural };
    missing.push(`you may not ${describeAccess(namespace === "" ? access : { ...access, namespace })}`);
    return undefined;
  }
}

async function configMapDocuments(
  api: KubeApi,
  { places, missing }: { readonly places: StatusPlaces; readonly missing: string[] },
): Promise<DroppedBy[]> {
  const { filterNamespace: namespace, filterName, statusName: name } = places;
  let data: JsonObject;
  try {
    const stored = await api.get(CONFIG_MAPS, name, { namespace });
    data = isObject(stored.data) ? stored.data : {};
  } catch (error) {
    if (hasStatus(error, 403)) {
      const access = { verb: "get", group: "", resource: CONFIG_MAPS.plural, namespace, name };
      missing.push(`you may not ${describeAccess(access)}`);
    } else if (hasStatus(error, 404)) {
      missing.push(
        `the ConfigMap "${namespace}/${name}" does not exist, so that nothing says what the filters of the ConfigMap left out`,
      );
    } else throw error;
    return [];
  }
  const drops = storedDrops(data);
  const sources = isObject(drops.sources) ? drops.sources : {};
  const message = String(data[STATUS_KEYS.message] ?? "");
  const note = noteOf(data[STATUS_KEYS.ready], message);
  const documents = Object.entries(sources).map(([source, status]) =>
    documentOf(`ConfigMap ${namespace}/${filterName} sources.${source}`, status, note)
  );
  return drops.budget === undefined
    ? documents
    : [...documents, documentOf(BUDGET_DOCUMENT, drops.budget, "")];
}

function ofFilter({ metadata, spec, status }: KubeObject): DroppedBy {
  const root = isObject(status) ? status : {};
  const conditions = Array.isArray(root.conditions) ? root.conditions.filter(isObject) : [];
  const ready = conditions.find(({ type }) => type === "Ready");
  const note = ready ? noteOf(ready.status, String(ready.message ?? "")) : UNJUDGED;
  const name = `ObservationFilter ${metadata.namespace}/${metadata.name}`;
  const mode = isObject(spec) ? String(spec.mode ?? "") : "";
  return { ...documentOf(name, root, note), mode: mode.toLowerCase() === "shadow" ? "Shadow" : "Enforce" };
}

function ofIngester({ metadata, spec, status }: KubeObject): DroppedBy[] {
  if (!isObject(spec) || spec.filters === undefined) return [];
  const own = isObject(status) ? status.filters : undefined;
  const mode = String(at(spec, "filters", "mode") ?? "");
  const document = documentOf(`Ingester ${metadata.namespace}/${metadata.name} spec.filters`, own, "");
  return [{ ...document, mode: mode.toLowerCase() === "shadow" ? "Shadow" : "Enforce" }];
}

function noteOf(ready: Json | undefined, message: string): string {
  return ready !== "True" || hasWarning(message) ? message : "";
}

/** A document by the fields of a status that filters write. */
function documentOf(document: string, status: Json | undefined, note: string): DroppedBy {
  const fields = isObject(status) ? status : {};
  const would = isObject(fields.wouldDrop) ? fields.wouldDrop : undefined;
  return {
    document,
    mode: would ? "Shadow" : "Enforce",
    dropped: countOf(fields.dropped),
    wouldDrop: countOf(would?.lastDay),
    lastDrops: dropsOf(would ? would.samples : fields.lastDrops),
    note,
  };
}

function countOf(value: Json | undefined): number {
  return typeof value === "number" ? value : 0;
}
