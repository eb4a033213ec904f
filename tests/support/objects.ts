/** Puts real objects on a real API server, as `kubectl apply --server-side` would. */
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { RealCluster } from "./cluster.ts";
import { eventually } from "./eventually.ts";

/** What a server sets itself and does not take from a client. */
const SERVER_SET = [
  "uid",
  "resourceVersion",
  "creationTimestamp",
  "managedFields",
  "generation",
  "selfLink",
  "deletionTimestamp",
];

/** Applies every object; namespaces that are missing are made. */
export async function applyObjects(cluster: RealCluster, objects: readonly JsonObject[]): Promise<void> {
  const cleaned = objects.map(withoutServerFields);
  await ensureNamespaces(cluster, cleaned.map(namespaceOf));
  const paths = new Map<string, Promise<ServedKind>>();
  const queue = cleaned.values();
  const worker = async () => {
    for (const object of queue) {
      const kind = `${object.apiVersion} ${object.kind}`;
      const served = paths.get(kind) ?? servedKind(cluster, object);
      paths.set(kind, served);
      await apply(cluster, object, await served);
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
}

/** Makes the namespaces that are missing. */
export async function ensureNamespaces(cluster: RealCluster, names: Iterable<string>): Promise<void> {
  for (const name of new Set(names)) {
    if (name === "") continue;
    if ((await cluster.settled("GET", `/api/v1/namespaces/${name}`)).status === 200) continue;
    await cluster.expect("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
  }
}

/** All objects at a path, page by page. */
export async function listAll(cluster: RealCluster, path: string): Promise<JsonObject[]> {
  const items: JsonObject[] = [];
  let next = "";
  do {
    const query = new URLSearchParams({ limit: "500", ...(next ? { continue: next } : {}) });
    const { body } = await cluster.expect("GET", `${path}?${query}`);
    if (Array.isArray(body.items)) items.push(...body.items.filter(isObject));
    next = isObject(body.metadata) && typeof body.metadata.continue === "string"
      ? body.metadata.continue
      : "";
  } while (next !== "");
  return items;
}

interface ServedKind {
  readonly prefix: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

async function apply(
  cluster: RealCluster,
  object: JsonObject,
  { prefix, plural, namespaced }: ServedKind,
): Promise<void> {
  const { name } = isObject(object.metadata) ? object.metadata : {};
  const place = namespaced ? `/namespaces/${namespaceOf(object) || "default"}` : "";
  const path = `${prefix}${place}/${plural}/${encodeURIComponent(String(name))}`;
  await cluster.expect("PATCH", `${path}?fieldManager=kubectl&force=true`, {
    body: object,
    contentType: "application/apply-patch+yaml",
  });
}

/** A CRD's kind can take a moment to be found. */
async function servedKind(cluster: RealCluster, { apiVersion, kind }: JsonObject): Promise<ServedKind> {
  const prefix = String(apiVersion).includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return await eventually(`${apiVersion} ${kind} to be served`, async () => {
    const { body } = await cluster.ask("GET", prefix);
    const resources = Array.isArray(body.resources) ? body.resources.filter(isObject) : [];
    const found = resources.find((each) => each.kind === kind && !String(each.name).includes("/"));
    return found && { prefix, plural: String(found.name), namespaced: found.namespaced === true };
  });
}

function withoutServerFields(object: JsonObject): JsonObject {
  const metadata = isObject(object.metadata) ? object.metadata : {};
  const kept = Object.entries(metadata).filter(([key]) => !SERVER_SET.includes(key));
  return { ...object, metadata: Object.fromEntries(kept) };
}

function namespaceOf({ metadata }: JsonObject): string {
  return isObject(metadata) && typeof metadata.namespace === "string" ? metadata.namespace : "";
}
