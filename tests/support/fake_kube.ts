/** Observations in memory behind `KubeApi`: optimistic concurrency, status subresource, preconditions; faults by script. */
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import type { Observation } from "../../src/model/observation.ts";
import {
  ApiError,
  type DeleteOptions,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ListOptions,
  type PatchOptions,
  type RequestOptions,
  type ResourceType,
  type WatchFrame,
  type WriteOptions,
} from "../../src/kube/api.ts";
import type { WatchEvent } from "../../src/kube/watch.ts";
import type { StoredObservation } from "../../src/store/observations.ts";

/** A request as faults and the log see it. */
export interface FakeCall {
  readonly verb: "list" | "get" | "create" | "patch" | "delete";
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
}

/** Faults. `before` and `after` throw instead of answering: before the request is carried out, or after it. */
export interface KubeFaults {
  before?(call: FakeCall): void | Promise<void>;
  after?(call: FakeCall): void | Promise<void>;
  /** Gives the request the answer to another one, which is carried out or not; undefined: its own. */
  mixUp?(call: FakeCall): { readonly answer: StoredObservation; readonly isCarriedOut: boolean } | undefined;
}

/** The API server, for Observations alone. */
export class FakeKube implements KubeApi {
  readonly calls: FakeCall[] = [];
  readonly missingNamespaces = new Set<string>();
  readonly terminatingNamespaces = new Set<string>();
  script: KubeFaults = {};
  readonly #now: () => number;
  readonly #objects = new Map<string, StoredObservation>();
  readonly #listeners = new Set<(event: WatchEvent<StoredObservation>) => void>();
  #version = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What is stored, in order of namespace and name. */
  get stored(): StoredObservation[] {
    return [...this.#objects].sort(([a], [b]) => a < b ? -1 : 1).map(([, object]) => structuredClone(object));
  }

  /** Requests of a verb (`patch/status` for a subresource). */
  count(verb: string): number {
    return this.calls.filter((call) =>
      (call.subresource ? `${call.verb}/${call.subresource}` : call.verb) === verb
    )
      .length;
  }

  /** Lists and watches, as the watcher tells it. Returns how to stop. */
  feed(take: (event: WatchEvent<StoredObservation>) => void): () => void {
    take({ type: "init" });
    for (const object of this.stored) take({ type: "apply", object });
    take({ type: "synced", resourceVersion: String(this.#version) });
    this.#listeners.add(take);
    return () => this.#listeners.delete(take);
  }

  /** Stores an object as it is, as another writer would. */
  put(object: Observation): StoredObservation {
    return this.#store(object as StoredObservation);
  }

  /** Deletes as kubectl would. */
  remove(namespace: string, name: string): void {
    this.#remove(`${namespace}/${name}`);
  }

  async create<T extends KubeObject>(_type: ResourceType, object: T, options: WriteOptions = {}): Promise<T> {
    const namespace = options.namespace ?? "";
    const name = object.metadata.name ?? "";
    return await this.#carryOut({ verb: "create", namespace, name, subresource: "" }, () => {
      if (this.missingNamespaces.has(namespace)) {
        throw apiError("create", 404, "NotFound", {
          message: `namespaces "${namespace}" not found`,
          details: { kind: "namespaces", name: namespace },
        });
      }
      if (this.terminatingNamespaces.has(namespace)) {
        throw apiError("create", 403, "Forbidden", {
          details: { causes: [{ reason: "NamespaceTerminating" }] },
        });
      }
      if (this.#objects.has(`${namespace}/${name}`)) throw apiError("create", 409, "AlreadyExists");
      const { status: _status, ...rest } = object;
      return this.#store(structuredClone(rest) as unknown as StoredObservation);
    }) as unknown as T;
  }

  async get<T extends KubeObject>(
    _type: ResourceType,
    name: string,
    options: RequestOptions = {},
  ): Promise<T> {
    const namespace = options.namespace ?? "";
    return await this.#carryOut(
      { verb: "get", namespace, name, subresource: "" },
      () => this.#existing(namespace, name),
    ) as unknown as T;
  }

  async list<T extends KubeObject>(_type: ResourceType, options: ListOptions = {}): Promise<KubeList<T>> {
    let items: StoredObservation[] = [];
    await this.#carryOut(
      { verb: "list", namespace: options.namespace ?? "", name: "", subresource: "" },
      () => {
        const [key = "", value = ""] = (options.labelSelector ?? "").split("=");
        items = this.stored.filter(({ metadata }) => key === "" || metadata.labels?.[key] === value);
      },
    );
    return { metadata: { resourceVersion: String(this.#version) }, items: items as unknown as T[] };
  }

  page<T extends KubeObject>(type: ResourceType, options?: ListOptions): Promise<KubeList<T>> {
    return this.list(type, options);
  }

  async patch<T extends KubeObject>(
    _type: ResourceType,
    name: string,
    patch: Json,
    { namespace = "", type, subresource = undefined }: PatchOptions,
  ): Promise<T> {
    const call: FakeCall = { verb: "patch", namespace, name, subresource: subresource ?? "" };
    return await this.#carryOut(call, () => {
      const before = this.#existing(namespace, name);
      const json = structuredClone(before) as unknown as JsonObject;
      const after = type === "merge" ? merged(json, patch) : jsonPatched(json, patch);
      const { metadata, spec, status } = after as unknown as StoredObservation;
      if (metadata.uid !== before.metadata.uid) throw apiError("patch", 422, "Invalid");
      if (metadata.resourceVersion !== before.metadata.resourceVersion) {
        throw apiError("patch", 409, "Conflict");
      }
      const changed = subresource === "status"
        ? { ...before, ...(status && { status }) }
        : { ...before, metadata, spec };
      return this.#store(changed);
    }) as unknown as T;
  }

  async delete(_type: ResourceType, name: string, options: DeleteOptions = {}): Promise<void> {
    const { namespace = "", preconditions: { uid, resourceVersion } = {} } = options;
    await this.#carryOut({ verb: "delete", namespace, name, subresource: "" }, () => {
      const { metadata } = this.#existing(namespace, name);
      const other = (uid !== undefined && metadata.uid !== uid) ||
        (resourceVersion !== undefined && metadata.resourceVersion !== resourceVersion);
      if (other) throw apiError("delete", 409, "Conflict");
      this.#remove(`${namespace}/${name}`);
    });
  }

  replace<T extends KubeObject>(): Promise<T> {
    return Promise.reject(new Error("update is not allowed: the RBAC rules allow patches alone"));
  }

  // deno-lint-ignore require-yield -- the index is fed by `feed`
  async *watch<T extends KubeObject>(): AsyncGenerator<WatchFrame<T>> {
    throw await Promise.resolve(new Error("the index is fed by feed()"));
  }

  getPath(): Promise<JsonObject> {
    return Promise.reject(new Error("not part of this server"));
  }

  async #carryOut<T>(call: FakeCall, carryOut: () => T): Promise<T> {
    this.calls.push(call);
    await Promise.resolve();
    await this.script.before?.(call);
    const mixUp = this.script.mixUp?.(call);
    if (mixUp) {
      if (mixUp.isCarriedOut) carryOut();
      return structuredClone(mixUp.answer) as unknown as T;
    }
    const answer = carryOut();
    await this.script.after?.(call);
    return structuredClone(answer);
  }

  #existing(namespace: string, name: string): StoredObservation {
    const object = this.#objects.get(`${namespace}/${name}`);
    if (!object) throw apiError("get", 404, "NotFound", { details: { name, kind: "observations" } });
    return object;
  }

  #store(object: StoredObservation): StoredObservation {
    const stored: StoredObservation = {
      ...object,
      metadata: {
        uid: crypto.randomUUID(),
        creationTimestamp: new Date(this.#now()).toISOString().slice(0, 19) + "Z",
        ...object.metadata,
        resourceVersion: String(++this.#version),
      },
      status: { phase: "Active", occurrences: 1, processed: true, ...object.status },
    };
    this.#objects.set(keyOf(object), stored);
    for (const take of this.#listeners) take({ type: "apply", object: structuredClone(stored) });
    return stored;
  }

  #remove(key: string): void {
    const object = this.#objects.get(key);
    if (!object) throw new Error(`no Observation "${key}"`);
    this.#objects.delete(key);
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    for (const take of this.#listeners) take({ type: "delete", object: last });
  }
}

/** An answer that is an error. */
export function apiError(doing: string, status: number, reason: string, body: object = {}): ApiError {
  return new ApiError(doing, status, { code: status, reason, ...body });
}

function keyOf({ metadata }: Observation): string {
  return `${metadata.namespace ?? ""}/${metadata.name ?? ""}`;
}

function merged(target: Json | undefined, patch: Json): JsonObject {
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(isObject(patch) ? patch : {})) {
    if (value === null) delete result[key];
    else result[key] = isObject(value) ? merged(result[key], value) : value;
  }
  return result;
}

function jsonPatched(target: JsonObject, operations: Json): JsonObject {
  for (const operation of Array.isArray(operations) ? operations : []) {
    if (!isObject(operation)) continue;
    const path = String(operation["path"]).split("/").slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = path.pop() ?? "";
    const parent = path.reduce<JsonObject>((object, key) => object[key] as JsonObject, target);
    if (operation["op"] === "remove") delete parent[last];
    else parent[last] = operation["value"] ?? null;
  }
  return target;
}
