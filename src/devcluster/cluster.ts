import type { JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { type Cause, forbidden, invalid, notFound } from "./errors.ts";
import { kinded, meta, named, now, type Target } from "./objects.ts";
import { builtIns, definedResource, type Resource, resourceName } from "./resources.ts";
import { type Collection, type HistoryLimits, Store, type Stored } from "./store.ts";

const DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions";
const NAMESPACES = "/namespaces";

/** The state of the cluster: which resources it knows and their objects, with what follows from writes to either. */
export class Cluster {
  readonly store: Store;
  #resources = new Map<string, Resource>();

  constructor(limits: HistoryLimits) {
    this.store = new Store(limits);
    for (const resource of builtIns()) this.#resources.set(resourceName(resource), resource);
    for (const name of ["default", "kube-system", "kube-public", "kube-node-lease"]) {
      const metadata = {
        name,
        uid: crypto.randomUUID(),
        creationTimestamp: now(),
        labels: { "kubernetes.io/metadata.name": name },
      };
      const object = { metadata, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } };
      this.store.collection(NAMESPACES).put(name, object);
    }
  }

  resources(): Iterable<Resource> {
    return this.#resources.values();
  }

  resource(name: string): Resource | undefined {
    return this.#resources.get(name);
  }

  collection(resource: Resource): Collection {
    return this.store.collection(resourceName(resource));
  }

  /** The stored object a target names; throws 404. */
  existing(target: Target): Stored {
    const stored = this.collection(target.resource).get(keyOf(target));
    if (!stored) throw notFound(named(target));
    return stored;
  }

  /** Throws unless the target's namespace is there and takes new objects. */
  requireNamespace(target: Target): void {
    const { namespace } = target;
    if (namespace === undefined) return;
    const stored = this.store.collection(NAMESPACES).get(namespace);
    if (!stored) throw notFound({ group: "", kind: "namespaces", name: namespace });
    if (!stored.body.includes('"deletionTimestamp"')) return;
    const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
    const message = `namespace ${namespace} is being terminated`;
    throw forbidden(named(target), why, [{
      reason: "NamespaceTerminating",
      message,
      field: "metadata.namespace",
    }]);
  }

  /** Stores an object (without apiVersion and kind) that has passed every check. */
  put(target: Target, object: JsonObject): Stored {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) this.#checkDefinition(target, object);
    const stored = this.store.collection(name).put(keyOf(target), object);
    return name === DEFINITIONS ? this.#establish(stored, object) : stored;
  }

  /** Deletes an object: at once, or, where finalizers hold it, by marking it. Returns what is left. */
  delete(target: Target, object: JsonObject): Stored | undefined {
    const collection = this.collection(target.resource);
    const metadata = meta(object);
    const isNamespace = target.resource.kind === "Namespace" && !target.resource.custom;
    if ((Array.isArray(metadata.finalizers) && metadata.finalizers.length > 0) || isNamespace) {
      if (metadata.deletionTimestamp) return collection.get(keyOf(target));
      metadata.deletionTimestamp = now();
      if (isNamespace) object.status = { phase: "Terminating" };
      else metadata.deletionGracePeriodSeconds = 0;
      if (metadata.generation) metadata.generation = Number(metadata.generation) + 1;
      const marked = collection.put(keyOf(target), object);
      if (isNamespace) this.#emptyNamespace(keyOf(target));
      return marked;
    }
    this.remove(target, object);
    return undefined;
  }

  /** Takes an object away for good. */
  remove(target: Target, object: JsonObject): void {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) this.#dropDefined(object);
    this.store.collection(name).remove(keyOf(target), object);
    if (target.namespace !== undefined) this.#finishNamespace(target.namespace);
  }

  #emptyNamespace(namespace: string): void {
    for (const resource of this.#resources.values()) {
      if (resource.namespaced) this.#empty(resource, `${namespace}/`);
    }
    this.#finishNamespace(namespace);
  }

  #empty(resource: Resource, prefix: string): void {
    const version = resource.versions[0]!;
    for (const { key, body } of [...this.collection(resource).range(prefix)]) {
      const [namespace, name] = key.includes("/") ? key.split("/") as [string, string] : [undefined, key];
      this.delete(
        { resource, version, name, ...(namespace === undefined ? {} : { namespace }) },
        JSON.parse(body),
      );
    }
  }

  #finishNamespace(namespace: string): void {
    const namespaces = this.store.collection(NAMESPACES);
    const stored = namespaces.get(namespace);
    if (!stored?.body.includes('"deletionTimestamp"')) return;
    const object: JsonObject = JSON.parse(stored.body);
    const finalizers = meta(object).finalizers;
    if (Array.isArray(finalizers) && finalizers.length > 0) return;
    for (const collection of this.store.collections()) if (collection.count(`${namespace}/`) > 0) return;
    namespaces.remove(namespace, object);
  }

  #checkDefinition(target: Target, object: JsonObject): void {
    const spec = isObject(object.spec) ? object.spec : {};
    const names = isObject(spec.names) ? spec.names : {};
    const versions = Array.isArray(spec.versions) ? spec.versions.filter(isObject) : [];
    const causes: Cause[] = [];
    const refuse = (field: string, message: string) =>
      causes.push({ reason: "FieldValueInvalid", message, field });
    if (target.name !== `${names.plural}.${spec.group}`) {
      refuse("metadata.name", `Invalid value: "${target.name}": must be spec.names.plural+"."+spec.group`);
    }
    if (spec.scope !== "Namespaced" && spec.scope !== "Cluster") refuse("spec.scope", "Required value");
    if (typeof names.kind !== "string") refuse("spec.names.kind", "Required value");
    if (versions.filter((version) => version.storage === true).length !== 1) {
      refuse("spec.versions", "Invalid value: must have exactly one version marked as storage version");
    }
    versions.forEach((version, index) => {
      if (isObject(version.schema) && isObject(version.schema.openAPIV3Schema)) return;
      refuse(`spec.versions[${index}].schema.openAPIV3Schema`, "Required value: schemas are required");
    });
    if (causes.length > 0) throw invalid(kinded(target, object), causes);
    names.singular ??= String(names.kind).toLowerCase();
    names.listKind ??= `${names.kind}List`;
    spec.conversion ??= { strategy: "None" };
  }

  #establish(stored: Stored, object: JsonObject): Stored {
    const resource = definedResource(object);
    this.#resources.set(resourceName(resource), resource);
    if (isObject(object.status) && Array.isArray(object.status.conditions)) return stored;
    const spec = object.spec as JsonObject;
    const versions = (spec.versions as JsonObject[]).filter((version) => version.storage === true);
    const condition = { status: "True", lastTransitionTime: now() };
    object.status = {
      conditions: [
        { type: "NamesAccepted", ...condition, reason: "NoConflicts", message: "no conflicts found" },
        {
          type: "Established",
          ...condition,
          reason: "InitialNamesAccepted",
          message: "the initial names have been accepted",
        },
      ],
      acceptedNames: spec.names!,
      storedVersions: versions.map((version) => version.name!),
    };
    return this.store.collection(DEFINITIONS).put(stored.key, object);
  }

  #dropDefined(object: JsonObject): void {
    const resource = definedResource(object);
    this.#empty(resource, "");
    this.#resources.delete(resourceName(resource));
    this.store.drop(resourceName(resource));
  }
}

/** The key of a target's object in its collection. */
export function keyOf({ namespace, name }: Target): string {
  return namespace === undefined ? name! : `${namespace}/${name}`;
}
