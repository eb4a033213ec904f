/** An embedded API server with our CRDs and the tools', and what tests do to it: replicas, processes, objects. */
import { assert } from "@std/assert";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { createNamespaces, installCrds } from "../../scripts/support/feed.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { DevClusterOptions } from "../../src/devcluster/mod.ts";
import { fixedConnection, hasStatus, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { startTestApp, type TestApp, type TestAppOptions } from "./app.ts";
import { eventually } from "./eventually.ts";
import { startTestCluster, type TestCluster } from "./test_cluster.ts";
import { NAMESPACES } from "../../src/kube/core_resources.ts";

/** As the embedded server names them. */
export const STORED_TYPE = "observations.zen.kube-zen.io";
/** What a server sets itself and does not take from a client. */
const SERVER_SET = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink"];

/** See `startDevWorld()`. */
export class DevWorld implements AsyncDisposable {
  readonly server: TestCluster;
  readonly api: KubeClient;
  readonly kubeconfig: string;
  readonly #types = new Map<string, ResourceType>();

  constructor(server: TestCluster, kubeconfig: string) {
    this.server = server;
    this.kubeconfig = kubeconfig;
    const { tls } = server.options;
    this.api = createKubeClient(fixedConnection({ server: server.url, ...(tls && { caPem: tls.ca }) }));
  }

  /** A replica in this process. */
  replica(name: string, options: Partial<TestAppOptions> = {}): Promise<TestApp> {
    return startTestApp({
      server: this.server.url,
      ...options,
      env: { POD_NAME: name, ...options.env },
    });
  }

  /** A replica that is a process of its own. */
  process(name: string, env: Readonly<Record<string, string>> = {}): Promise<Controller> {
    return startController({
      kubeconfig: this.kubeconfig,
      env: { POD_NAME: name, DISCOVERY_INTERVAL: "1s", ...env },
    });
  }

  observations(): JsonObject[] {
    return this.server.objects(STORED_TYPE);
  }

  /** `namespace/name` → resourceVersion of everything stored. */
  versions(): ReadonlyMap<string, string> {
    return new Map(
      this.observations().map((object) => {
        const { namespace, name, resourceVersion } = metadataOf(object);
        return [`${namespace}/${name}`, String(resourceVersion)];
      }),
    );
  }

  /** Writes to Observations and their status since the log of requests was cleared. */
  writes(): number {
    return ["create", "update", "patch", "delete", "deletecollection"].reduce(
      (sum, verb) => sum + this.server.requests.count({ verb, path: "/observations" }),
      0,
    );
  }

  async namespaces(names: Iterable<string>): Promise<void> {
    for (const name of new Set(names)) {
      if (name === "") continue;
      await this.api.create(NAMESPACES, { metadata: { name } }).catch((error) => {
        if (!hasStatus(error, 409)) throw error;
      });
    }
  }

  /** Creates objects as they would be found: with their status, in namespaces that are made where they are missing. */
  async create(objects: readonly JsonObject[]): Promise<void> {
    for (const object of objects) {
      const type = await this.typeOf(object);
      const metadata = Object.entries(metadataOf(object)).filter(([key]) => !SERVER_SET.includes(key));
      const placed = { ...object, metadata: Object.fromEntries(metadata) } as KubeObject;
      const { name = "", namespace = "default" } = placed.metadata;
      const at = type.namespaced ? { namespace } : {};
      if (type.namespaced) await this.namespaces([namespace]);
      const { status } = await this.api.create(type, placed, at);
      if (!isObject(object.status) || status !== undefined) continue;
      const patch = { status: object.status };
      await this.api.patch(type, name, patch, { ...at, type: "merge", subresource: "status" });
    }
  }

  /** An object as it is stored now. */
  async read(object: JsonObject): Promise<JsonObject> {
    const { plural, group, namespaced } = await this.typeOf(object);
    const { name, namespace = "default" } = metadataOf(object);
    const resource = group === "" ? plural : `${plural}.${group}`;
    const stored = this.server.objects(resource, namespaced ? String(namespace) : undefined);
    const found = stored.find((each) => metadataOf(each).name === name);
    if (!found) throw new Error(`Cannot read ${plural} "${name}": it is not stored`);
    // It is stored in one version and read in another.
    return { ...found, apiVersion: object.apiVersion ?? "" };
  }

  async delete(objects: readonly JsonObject[]): Promise<void> {
    for (const object of objects) {
      const type = await this.typeOf(object);
      const { name, namespace = "default" } = metadataOf(object);
      await this.api.delete(type, String(name), type.namespaced ? { namespace: String(namespace) } : {});
    }
  }

  /** The resource an object is of, by discovery; undefined where it is not served. */
  async find({ apiVersion, kind }: JsonObject): Promise<ResourceType | undefined> {
    const known = this.#types.get(`${apiVersion} ${kind}`);
    if (known) return known;
    const [version = "", group = ""] = String(apiVersion).split("/").reverse();
    const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
    const { resources } = await this.api.getPath(path).catch((): JsonObject => ({}));
    const found = (Array.isArray(resources) ? resources.filter(isObject) : []).find((each) =>
      each.kind === kind && !String(each.name).includes("/")
    );
    if (!found) return undefined;
    const namespaced = found.namespaced === true;
    const type = { group, version, plural: String(found.name), kind: String(kind), namespaced };
    this.#types.set(`${apiVersion} ${kind}`, type);
    return type;
  }

  async typeOf(object: JsonObject): Promise<ResourceType> {
    return await eventually(
      `${object.apiVersion} ${object.kind} to be served`,
      () => this.find(object),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close();
    await this.server[Symbol.asyncDispose]();
    await Deno.remove(this.kubeconfig.slice(0, this.kubeconfig.lastIndexOf("/")), { recursive: true });
  }
}

/** Starts the server, installs the CRDs, makes `zen-system` and `namespaces`. */
export async function startDevWorld(
  { namespaces = [], ...options }: DevClusterOptions & { readonly namespaces?: readonly string[] } = {},
): Promise<DevWorld> {
  const server = startTestCluster(options);
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-test-" });
  await Deno.writeTextFile(`${folder}/kubeconfig`, server.kubeconfig());
  const world = new DevWorld(server, `${folder}/kubeconfig`);
  await installCrds(world.api);
  await createNamespaces(world.api, ["zen-system", ...namespaces]);
  return world;
}

export function metadataOf({ metadata }: JsonObject): JsonObject {
  assert(isObject(metadata), "an object has metadata");
  return metadata;
}

/** How often all stored Observations together were seen. */
export function occurrencesOf(observations: Iterable<JsonObject>): number {
  let sum = 0;
  for (const { status } of observations) sum += isObject(status) ? Number(status.occurrences) : 0;
  return sum;
}
