/** Plays the samples in scripts/samples through the real ways in: the API server and the webhooks. */
import { parse } from "yaml";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SECRETS } from "../../src/kube/core_resources.ts";

const SAMPLES = new URL("../samples/", import.meta.url);
const OUR_CRDS = new URL("../../crds/", import.meta.url);
const ESTABLISHED_TRIES = 200;
const READY_TRIES = 400;
const TRY_INTERVAL_MS = 50;

/** The label of all that is created here: what bears it is replaced by the next run, and removed by `removeSamples`. */
const OURS = { "zen.kube-zen.io/created-by": "samples" };
/** Selects it. */
export const OURS_SELECTOR = "zen.kube-zen.io/created-by=samples";

/** Our CRDs and those of the tools. */
export async function sampleCrds(): Promise<readonly KubeObject[]> {
  return [...await readCrds(OUR_CRDS), ...await readCrds(new URL("crds/", SAMPLES))];
}

/** Installs our CRDs, and those of the tools. */
export async function installCrds(api: KubeApi): Promise<void> {
  const crds = await sampleCrds();
  for (const crd of crds) await place(api, CUSTOM_RESOURCE_DEFINITIONS, crd);
  for (const crd of crds) await untilEstablished(api, crd.metadata.name ?? "");
}

/** The namespaces of the samples. */
export async function sampleNamespaces(): Promise<readonly string[]> {
  const names = (await sampleObjects()).flatMap(({ metadata }) => metadata.namespace ?? []);
  return [...new Set(names)].sort();
}

/** Creates what is missing of the samples' namespaces and `more`. */
export async function createNamespaces(api: KubeApi, more: readonly string[]): Promise<void> {
  for (const name of new Set([...more, ...await sampleNamespaces()])) {
    await place(api, NAMESPACES, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
}

/** Creates every sample object. */
export async function feedObjects(api: KubeApi): Promise<number> {
  const objects = await sampleObjects();
  for (const object of objects) await place(api, await resourceType(api, object), object);
  return objects.length;
}

/** The token that the demo's Alertmanager shows. */
const ALERTMANAGER_TOKEN = "demo-token";
const ALERTMANAGER_PATH = "/ingest/alertmanager";
const EXAMPLES = new URL("../../examples/", import.meta.url);

async function sampleMappings(): Promise<readonly KubeObject[]> {
  const files = ["alertmanager.yaml", "cert-manager.yaml"];
  return await Promise.all(
    files.map(async (file) => parse(await Deno.readTextFile(new URL(file, EXAMPLES))) as KubeObject),
  );
}

/** Configures two tools that have no built-in source, by the shipped manifests: Alertmanager and cert-manager. */
async function feedMappings(api: KubeApi, namespace: string): Promise<void> {
  await place(api, SECRETS, {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "alertmanager-webhook", namespace, labels: { "zen.kube-zen.io/webhook-auth": "true" } },
    data: { token: btoa(ALERTMANAGER_TOKEN) },
  });
  for (const object of await sampleMappings()) {
    const placed = { ...object, metadata: { ...object.metadata, namespace } };
    const type = await resourceType(api, placed);
    await place(api, type, placed);
    await untilReady(api, type, placed);
  }
}

/** Until the controller says `Ready=True` on a source by configuration. */
async function untilReady(api: KubeApi, type: ResourceType, { metadata }: KubeObject): Promise<void> {
  const { name = "", namespace = "" } = metadata;
  let last: unknown;
  for (let tries = 0; tries < READY_TRIES; tries++) {
    const { status } = await api.get(type, name, { namespace });
    const conditions = isObject(status) && Array.isArray(status["conditions"]) ? status["conditions"] : [];
    last = conditions.find((condition) => isObject(condition) && condition["type"] === "Ready");
    if (isObject(last) && last["status"] === "True") return;
    await new Promise((resolve) => setTimeout(resolve, TRY_INTERVAL_MS));
  }
  throw new Error(`Cannot use ${type.kind} "${namespace}/${name}": it is not ready: ${JSON.stringify(last)}`);
}

/** Posts every line of a sample file; a 503 is tried again as a sender would. Returns how many were taken. */
export async function feedWebhook(url: string, file: string, token?: string): Promise<number> {
  const text = await Deno.readTextFile(new URL(file, SAMPLES));
  const lines = text.split("\n").filter(Boolean);
  for (const line of lines) await post(url, line, token);
  return lines.length;
}

/** Where samples are fed. */
export interface Destination {
  /** The controller's. */
  readonly url: string;
  /** Of the built-in webhooks, where they want one. */
  readonly token?: string;
}

/** How much was posted. */
export interface Posted {
  readonly falco: number;
  readonly audit: number;
  readonly alerts: number;
}

/** Plays every sample that is pushed. The Ingester of Alertmanager must be there. */
export async function feedWebhooks({ url, token }: Destination): Promise<Posted> {
  return {
    falco: await feedWebhook(`${url}/falco/webhook`, "falco.ndjson", token),
    audit: await feedWebhook(`${url}/audit/webhook`, "audit.ndjson", token),
    alerts: await feedWebhook(`${url}${ALERTMANAGER_PATH}`, "alertmanager.ndjson", ALERTMANAGER_TOKEN),
  };
}

/** Plays all samples, by every way in; `namespace` is the controller's own. Returns how much that was, in words. */
export async function feedSamples(
  api: KubeApi,
  { namespace, ...to }: Destination & { readonly namespace: string },
): Promise<string> {
  // First of all: an Ingester with filters makes the controller evaluate again what it has read.
  await feedMappings(api, namespace);
  const objects = await feedObjects(api);
  const { falco, audit, alerts } = await feedWebhooks(to);
  return `${objects} reports and ConfigMaps, ${falco} Falco alerts, ${audit} audit batches, ${alerts} notifications`;
}

/** Observations by source and severity, as `samples/expected.json` has them. */
export function tally(
  observations: readonly Readonly<Record<string, unknown>>[],
): Record<string, Record<string, number>> {
  const counts: Record<string, Record<string, number>> = {};
  for (const { spec } of observations) {
    if (!isObject(spec)) continue;
    const row = counts[String(spec.source)] ??= {};
    row[String(spec.severity)] = (row[String(spec.severity)] ?? 0) + 1;
  }
  return counts;
}

/** Creates `object`, or replaces it where it is there. */
export async function createOrReplace(api: KubeApi, type: ResourceType, object: KubeObject): Promise<void> {
  const namespace = object.metadata.namespace;
  const options = namespace === undefined ? {} : { namespace };
  try {
    await api.create(type, object, options);
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
    const existing = await api.get(type, object.metadata.name ?? "", options);
    const { resourceVersion = "" } = existing.metadata;
    await api.replace(type, { ...object, metadata: { ...object.metadata, resourceVersion } }, options);
  }
}

/** Creates an object with our label. One that is there is replaced only where it bears the label: any other belongs to the cluster. */
async function place(api: KubeApi, type: ResourceType, object: KubeObject): Promise<void> {
  const { name = "", namespace, labels } = object.metadata;
  const at = namespace === undefined ? {} : { namespace };
  const labelled = { ...object, metadata: { ...object.metadata, labels: { ...labels, ...OURS } } };
  try {
    await api.create(type, labelled, at);
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
    const { metadata } = await api.get(type, name, at);
    if (isOurs(metadata) && type !== NAMESPACES) await createOrReplace(api, type, labelled);
  }
}

function isOurs({ labels = {} }: KubeObject["metadata"]): boolean {
  return Object.entries(OURS).every(([key, value]) => labels[key] === value);
}

/** The resources of all that is fed, as far as the cluster serves them. */
export async function sampleTypes(api: KubeApi): Promise<readonly ResourceType[]> {
  const kinds = new Map<string, KubeObject>();
  for (const object of [...await sampleObjects(), ...await sampleMappings()]) {
    kinds.set(`${object.apiVersion} ${object.kind}`, object);
  }
  const types = await Promise.all([...kinds.values()].map((object) => servedType(api, object)));
  return [...types.filter((type) => type !== undefined), SECRETS];
}

async function sampleObjects(): Promise<readonly KubeObject[]> {
  const list = JSON.parse(await Deno.readTextFile(new URL("objects.json", SAMPLES)));
  return list.items;
}

async function readCrds(folder: URL): Promise<readonly KubeObject[]> {
  const crds: KubeObject[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (!entry.name.endsWith(".yaml")) continue;
    crds.push(parse(await Deno.readTextFile(new URL(entry.name, folder))) as KubeObject);
  }
  return crds;
}

async function untilEstablished(api: KubeApi, name: string): Promise<void> {
  for (let tries = 0; tries < ESTABLISHED_TRIES; tries++) {
    const { status } = await api.get(CUSTOM_RESOURCE_DEFINITIONS, name);
    const conditions = isObject(status) && Array.isArray(status["conditions"]) ? status["conditions"] : [];
    if (
      conditions.some((condition) =>
        isObject(condition) && condition["type"] === "Established" && condition["status"] === "True"
      )
    ) return;
    await new Promise((resolve) => setTimeout(resolve, TRY_INTERVAL_MS));
  }
  throw new Error(`Cannot install CustomResourceDefinition "${name}": it is not established after 10 s`);
}

/** The resource an object is of, once it is served. */
async function resourceType(api: KubeApi, object: KubeObject): Promise<ResourceType> {
  for (let tries = 0; tries < ESTABLISHED_TRIES; tries++) {
    const type = await servedType(api, object);
    if (type) return type;
    await new Promise((resolve) => setTimeout(resolve, TRY_INTERVAL_MS));
  }
  throw new Error(`Cannot find the resource of ${object.apiVersion} ${object.kind}: it is not served`);
}

/** The resource an object is of, by discovery; undefined where it is not served. */
async function servedType(
  api: KubeApi,
  { apiVersion = "", kind = "" }: KubeObject,
): Promise<ResourceType | undefined> {
  const [version = "", group = ""] = apiVersion.split("/").reverse();
  const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const served = await api.getPath(path).catch((): JsonObject => ({}));
  const resources = Array.isArray(served["resources"]) ? served["resources"] : [];
  const found = resources.find((entry) =>
    isObject(entry) && entry["kind"] === kind && !String(entry["name"]).includes("/")
  );
  if (!isObject(found)) return undefined;
  return { group, version, plural: String(found["name"]), kind, namespaced: found["namespaced"] === true };
}

async function post(url: string, body: string, token?: string): Promise<void> {
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  for (let tries = 0; tries < 30; tries++) {
    const response = await fetch(url, { method: "POST", body, headers });
    const answer = await response.text();
    if (response.ok) return;
    if (response.status !== 503) throw new Error(`Cannot post to ${url}: HTTP ${response.status} ${answer}`);
    const seconds = Number(response.headers.get("retry-after") ?? "1");
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  }
  throw new Error(`Cannot post to ${url}: refused with 503 thirty times`);
}
