import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { failure, invalid } from "./errors.ts";
import { isHeld, kinded, meta, named, now, type Target } from "./objects.ts";
import { builtIns, definedResource, type Resource, resourceName } from "./resources.ts";
import { at } from "./selectors.ts";
import { type Collection, type HistoryLimits, Store, type Stored } from "./store.ts";

const DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions";
const NAMESPACES = "/namespaces";

/** Which resources there are and their objects, with what follows from writes to either. */
export class Cluster {
  readonly store: Store;
  /** By name of their collection. */
  readonly resources: Map<string, Resource>;

  constructor(limits: HistoryLimits) {
    this.store = new Store(limits);
    this.resources = new Map(builtIns().map((resource) => [resourceName(resource), resource]));
    for (const name of ["default", "kube-system", "kube-public"]) {
      const metadata = {
        name,
        uid: crypto.randomUUID(),
        creationTimestamp: now(),
        labels: { "kubernetes.io/metadata.name": name },
      };
      this.store.collection(NAMESPACES).put(name, {
        metadata,
        spec: { finalizers: ["kubernetes"] },
        status: { phase: "Active" },
      });
    }
    for (const resource of this.resources.values()) this.collection(resource);
  }

  collection(resource: Resource): Collection {
    return this.store.collection(resourceName(resource));
  }

  /** The stored object a target names; throws 404. */
  existing(target: Target): Stored {
    const stored = this.collection(target.resource).get(keyOf(target));
    if (!stored) throw failure("NotFound", named(target));
    return stored;
  }

  /** Throws unless the target's namespace is there and takes new objects. */
  requireNamespace(target: Target): void {
    const { namespace: name } = target;
    if (name === undefined) return;
    const stored = this.store.collection(NAMESPACES).get(name);
    if (!stored) throw failure("NotFound", { group: "", kind: "namespaces", name });
    if (!stored.body.includes('"deletionTimestamp"')) return;
    const why = `unable to create new content in namespace ${name} because it is being terminated`;
    const message = `namespace ${name} is being terminated`;
    throw failure("Forbidden", named(target), {
      why,
      causes: [{ reason: "NamespaceTerminating", message, field: "metadata.namespace" }],
    });
  }

  /** Stores an object (without apiVersion and kind) that has passed every check. */
  put(target: Target, object: JsonObject): Stored {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) checkDefinition(target, object);
    const stored = this.store.collection(name).put(keyOf(target), object);
    if (name === NAMESPACES) this.#finishNamespace(stored.key);
    return name === DEFINITIONS ? this.#establish(stored, object) : stored;
  }

  /** Deletes an object: at once, or, where finalizers hold it, by marking it. Returns what is left. */
  delete(target: Target, object: JsonObject): Stored | undefined {
    const collection = this.collection(target.resource);
    const metadata = meta(object);
    const isNamespace = resourceName(target.resource) === NAMESPACES;
    if (!isNamespace && !isHeld(object)) {
      this.remove(target, object);
      return undefined;
    }
    if (metadata.deletionTimestamp) return collection.get(keyOf(target));
    metadata.deletionTimestamp = now();
    if (isNamespace) object.status = { phase: "Terminating" };
    else metadata.deletionGracePeriodSeconds = 0;
    if (metadata.generation) metadata.generation = Number(metadata.generation) + 1;
    const marked = collection.put(keyOf(target), object);
    if (isNamespace) this.#emptyNamespace(keyOf(target));
    return marked;
  }

  /** Takes an object away for good. */
  remove(target: Target, object: JsonObject): void {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) this.#dropDefined(object);
    this.store.collection(name).remove(keyOf(target), object);
    if (target.namespace !== undefined) this.#finishNamespace(target.namespace);
  }

  #emptyNamespace(namespace: string): void {
    for (const resource of this.resources.values()) {
      if (resource.namespaced) this.#empty(resource, `${namespace}/`);
    }
    this.#finishNamespace(namespace);
  }

  #empty(resource: Resource, prefix: string): void {
    for (const { key, body } of [...this.collection(resource).range(prefix)]) {
      const [name, namespace] = key.split("/").reverse();
      const place = namespace === undefined ? { name: name! } : { name: name!, namespace };
      this.delete({ resource, version: resource.versions[0]!, ...place }, JSON.parse(body));
    }
  }

  /** A terminating namespace goes with the last thing in it. */
  #finishNamespace(name: string): void {
    const namespaces = this.store.collection(NAMESPACES);
    const stored = namespaces.get(name);
    if (!stored?.body.includes('"deletionTimestamp"')) return;
    const object: JsonObject = JSON.parse(stored.body);
    if (isHeld(object) || [...this.store.collections()].some((each) => each.count(`${name}/`) > 0)) return;
    namespaces.remove(name, object);
  }

  #establish(stored: Stored, object: JsonObject): Stored {
    const resource = definedResource(stored.body);
    this.resources.set(resourceName(resource), resource);
    this.collection(resource);
    if (at(object, ["status", "conditions"])) return stored;
    const condition = (type: string, reason: string, message: string) => ({
      type,
      status: "True",
      lastTransitionTime: now(),
      reason,
      message,
    });
    object.status = {
      conditions: [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
      ],
      acceptedNames: at(object, ["spec", "names"])!,
      storedVersions: storageVersions(object),
    };
    return this.store.collection(DEFINITIONS).put(stored.key, object);
  }

  #dropDefined(object: JsonObject): void {
    const resource = definedResource(JSON.stringify(object));
    this.#empty(resource, "");
    this.resources.delete(resourceName(resource));
    this.store.drop(resourceName(resource));
  }
}

function checkDefinition(target: Target, object: JsonObject): void {
  const spec = isObject(object.spec) ? object.spec : {};
  const names = isObject(spec.names) ? spec.names : {};
  const versions = Array.isArray(spec.versions) ? spec.versions : [];
  const lacksSchema = versions.some((version) => !isObject(at(version, ["schema", "openAPIV3Schema"])));
  const rules: [string, boolean, string][] = [
    [
      "metadata.name",
      target.name === `${names.plural}.${spec.group}`,
      'must be spec.names.plural+"."+spec.group',
    ],
    ["spec.scope", spec.scope === "Namespaced" || spec.scope === "Cluster", "must be Namespaced or Cluster"],
    ["spec.names.kind", typeof names.kind === "string", "must be given"],
    [
      "spec.versions",
      storageVersions(object).length === 1,
      "must have exactly one version marked as storage version",
    ],
    ["spec.versions", !lacksSchema, "schemas are required"],
  ];
  const broken = rules.filter(([, holds]) => !holds);
  const causes = broken.map(([field, , why]) => ({
    reason: "FieldValueInvalid",
    message: `Invalid value: ${why}`,
    field,
  }));
  if (causes.length > 0) throw invalid(kinded(target, object), causes);
  names.singular ??= String(names.kind).toLowerCase();
  names.listKind ??= `${names.kind}List`;
  spec.conversion ??= { strategy: "None" };
}

function storageVersions(definition: JsonObject): Json[] {
  const versions = at(definition, ["spec", "versions"]);
  return (Array.isArray(versions) ? versions.filter(isObject) : []).filter(({ storage }) => storage).map((
    { name },
  ) => name ?? "");
}

/** The key of a target's object in its collection. */
export function keyOf({ namespace, name }: Target): string {
  return namespace === undefined ? name! : `${namespace}/${name}`;
}
