import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { failure, invalid, refused } from "./errors.ts";
import { at } from "./json.ts";
import { isHeld, meta, now, type Target } from "./objects.ts";
import { builtIns, definedResource, type Resource, resourceName } from "./resources.ts";
import { Collection, type Revisions, type Stored } from "./store.ts";

const DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions";
const NAMESPACES = "/namespaces";

/** Which resources there are and their objects, with what follows from writes to either. */
export class Cluster {
  readonly resources = new Map<string, Resource>();
  readonly #collections = new Map<string, Collection>();

  constructor(readonly revisions: Revisions) {
    for (const name of ["default", "kube-system", "kube-public"]) {
      const labels = { "kubernetes.io/metadata.name": name };
      const metadata = { name, uid: crypto.randomUUID(), creationTimestamp: now(), labels };
      const namespace = { metadata, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } };
      this.collection(NAMESPACES).put(name, namespace);
    }
    for (const resource of builtIns()) this.#serve(resource);
  }

  /** The objects of a resource, by its name. */
  collection(name: string): Collection {
    const collection = this.#collections.get(name) ?? new Collection(this.revisions);
    this.#collections.set(name, collection);
    return collection;
  }

  collectionOf({ resource }: Target): Collection {
    return this.collection(resourceName(resource));
  }

  /** The stored object a target names; throws 404. */
  existing(target: Target): Stored {
    const stored = this.collectionOf(target).get(keyOf(target));
    if (!stored) throw failure("NotFound", target);
    return stored;
  }

  /** Throws unless the target's namespace is there and takes new objects. */
  requireNamespace(target: Target): void {
    const { namespace: name } = target;
    const stored = name && this.collection(NAMESPACES).get(name);
    if (name && !stored) throw failure("NotFound", { resource: this.resources.get(NAMESPACES)!, name });
    if (!stored || !meta(JSON.parse(stored.body)).deletionTimestamp) return;
    const why = `unable to create new content in namespace ${name} because it is being terminated`;
    const message = `namespace ${name} is being terminated`;
    const causes = [{ reason: "NamespaceTerminating", message, field: "metadata.namespace" }];
    throw failure("Forbidden", target, { why, causes });
  }

  /** Stores an object (without apiVersion and kind) that has passed every check. */
  put(target: Target, object: JsonObject): Stored {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) checkDefinition(target, object);
    const stored = this.collection(name).put(keyOf(target), object);
    if (name === NAMESPACES) this.#finishNamespace(stored.key);
    return name === DEFINITIONS ? this.#establish(stored, object) : stored;
  }

  /** Deletes an object: at once, or, where finalizers hold it, by marking it. Returns what is left. */
  delete(target: Target, object: JsonObject): Stored | undefined {
    const metadata = meta(object);
    const isNamespace = resourceName(target.resource) === NAMESPACES;
    if (!isNamespace && !isHeld(object)) {
      this.remove(target, object);
      return undefined;
    }
    if (metadata.deletionTimestamp) return this.existing(target);
    metadata.deletionTimestamp = now();
    if (isNamespace) object.status = { phase: "Terminating" };
    else metadata.deletionGracePeriodSeconds = 0;
    if (metadata.generation) metadata.generation = Number(metadata.generation) + 1;
    const marked = this.collectionOf(target).put(keyOf(target), object);
    if (isNamespace) this.#emptyNamespace(marked.key);
    return marked;
  }

  /** Takes an object away for good. */
  remove(target: Target, object: JsonObject): void {
    const name = resourceName(target.resource);
    if (name === DEFINITIONS) this.#dropDefined(object);
    this.collection(name).remove(keyOf(target), object);
    if (target.namespace !== undefined) this.#finishNamespace(target.namespace);
  }

  /** Forgets all history. */
  compact(): void {
    for (const collection of this.#collections.values()) collection.compact();
  }

  #serve(resource: Resource): void {
    this.resources.set(resourceName(resource), resource);
    this.collection(resourceName(resource));
  }

  #emptyNamespace(namespace: string): void {
    for (const resource of this.resources.values()) {
      if (resource.namespaced) this.#empty(resource, `${namespace}/`);
    }
    this.#finishNamespace(namespace);
  }

  #empty(resource: Resource, prefix: string): void {
    for (const { key, body } of [...this.collection(resourceName(resource)).range(prefix)]) {
      const [name = "", namespace] = key.split("/").reverse();
      const version = resource.versions[0]!;
      this.delete({ resource, version, name, ...(namespace && { namespace }) }, JSON.parse(body));
    }
  }

  /** A terminating namespace goes with the last thing in it. */
  #finishNamespace(name: string): void {
    const stored = this.collection(NAMESPACES).get(name);
    const object: JsonObject = JSON.parse(stored?.body ?? "{}");
    if (!meta(object).deletionTimestamp || isHeld(object)) return;
    if ([...this.#collections.values()].some((each) => each.count(`${name}/`) > 0)) return;
    this.collection(NAMESPACES).remove(name, object);
  }

  #establish(stored: Stored, object: JsonObject): Stored {
    this.#serve(definedResource(JSON.parse(stored.body).spec));
    if (at(object, "status", "conditions")) return stored;
    const met = { status: "True", reason: "NoConflicts", message: "", lastTransitionTime: now() };
    const conditions = ["NamesAccepted", "Established"].map((type) => ({ type, ...met }));
    const acceptedNames = at(object, "spec", "names")!;
    object.status = { conditions, acceptedNames, storedVersions: storageVersions(object) };
    return this.collection(DEFINITIONS).put(stored.key, object);
  }

  #dropDefined(object: JsonObject): void {
    const resource = definedResource(JSON.parse(JSON.stringify(object.spec)));
    const name = resourceName(resource);
    this.#empty(resource, "");
    this.resources.delete(name);
    this.collection(name).end();
    this.#collections.delete(name);
  }
}

function checkDefinition(target: Target, object: JsonObject): void {
  const [spec, names] = [at(object, "spec"), at(object, "spec", "names")];
  const { group, scope, versions } = isObject(spec) ? spec : {};
  const { plural, kind } = isObject(names) ? names : {};
  const lacksSchema = (version: Json) => !isObject(at(version, "schema", "openAPIV3Schema"));
  const rules: [holds: boolean, field: string, why: string][] = [
    [target.name === `${plural}.${group}`, "metadata.name", 'must be spec.names.plural+"."+spec.group'],
    [scope === "Namespaced" || scope === "Cluster", "spec.scope", "must be Namespaced or Cluster"],
    [typeof kind === "string", "spec.names.kind", "must be given"],
    [storageVersions(object).length === 1, "spec.versions", "must have exactly one storage version"],
    [Array.isArray(versions) && !versions.some(lacksSchema), "spec.versions", "schemas are required"],
  ];
  const broken = rules.filter(([holds]) => !holds);
  const causes = broken.map(([, field, why]) => refused(field, at(object, ...field.split(".")), why));
  if (causes.length > 0 || !isObject(spec)) throw invalid(target, causes);
  spec.names = { singular: String(kind).toLowerCase(), listKind: `${kind}List`, ...Object(names) };
  spec.conversion ??= { strategy: "None" };
}

function storageVersions(definition: JsonObject): string[] {
  const versions = at(definition, "spec", "versions");
  const stored = Array.isArray(versions) ? versions.filter((each) => at(each, "storage") === true) : [];
  return stored.map((each) => String(at(each, "name")));
}

/** The key of a target's object in its collection. */
export function keyOf({ namespace, name }: Target): string {
  return namespace === undefined ? name! : `${namespace}/${name}`;
}
