import { at, isObject, type Json, type JsonObject } from "../model/json.ts";
import { failure, invalid, refused } from "./errors.ts";
import { isHeld, meta, now, objectKey, prepareNew, type Target } from "./objects.ts";
import { type ApiResource, builtIns, definedResource, type Definition, pluralName } from "./resources.ts";
import type { Matches } from "./selectors.ts";
import { Collection, type Revisions, type Stored } from "./store.ts";

/** Which resources there are, with their objects, and what follows from writes to either. */
export class Cluster {
  /** By name. */
  readonly resources = new Map<string, ApiResource>();
  readonly #namespaces: ApiResource;
  readonly #definitions: ApiResource;

  constructor(readonly revisions: Revisions) {
    for (const definition of builtIns()) this.#serve(definition);
    this.#namespaces = this.resources.get("namespaces")!;
    this.#definitions = this.resources.get("customresourcedefinitions.apiextensions.k8s.io")!;
    for (const name of ["default", "kube-system", "kube-public"]) {
      const target = { resource: this.#namespaces, version: this.#namespaces.versions[0]!, name };
      const namespace = { metadata: { name } };
      prepareNew(namespace, target);
      this.put(target, namespace);
    }
  }

  /** The stored object a target names; throws 404. */
  existing(target: Target): Stored {
    const stored = target.resource.objects.get(objectKey(target));
    if (!stored) throw failure("NotFound", target);
    return stored;
  }

  /** Throws unless the target's namespace is there and takes new objects. */
  requireNamespace(target: Target): void {
    const { namespace: name } = target;
    if (name === undefined) return;
    const { body } = this.existing({ ...target, resource: this.#namespaces, name, namespace: undefined });
    if (!meta(JSON.parse(body)).deletionTimestamp) return;
    const why = `unable to create new content in namespace ${name} because it is being terminated`;
    const message = `namespace ${name} is being terminated`;
    const causes = [{ reason: "NamespaceTerminating", message, field: "metadata.namespace" }];
    throw failure("Forbidden", target, { why, causes });
  }

  /** Stores an object (without apiVersion and kind) that has passed every check; gone if it only waited for this. */
  put(target: Target, object: JsonObject): { body: string } {
    const { resource } = target;
    if (resource === this.#definitions) establish(target, object);
    if (resource !== this.#namespaces && meta(object).deletionTimestamp && !isHeld(object)) {
      this.#remove(target, object);
      return { body: JSON.stringify(object) };
    }
    const stored = resource.objects.put(objectKey(target), object);
    if (resource === this.#definitions) this.#serve(definedResource(JSON.parse(stored.body).spec));
    if (resource === this.#namespaces) this.#finishNamespace(stored.key);
    return stored;
  }

  /** Deletes an object: at once, or, where finalizers hold it, by marking it. Returns what is left. */
  delete(target: Target, object: JsonObject): Stored | undefined {
    const metadata = meta(object);
    const isNamespace = target.resource === this.#namespaces;
    if (!isNamespace && !isHeld(object)) return this.#remove(target, object);
    if (metadata.deletionTimestamp) return this.existing(target);
    metadata.deletionTimestamp = now();
    if (isNamespace) object.status = { phase: "Terminating" };
    else metadata.deletionGracePeriodSeconds = 0;
    if (metadata.generation) metadata.generation = Number(metadata.generation) + 1;
    const marked = target.resource.objects.put(objectKey(target), object);
    if (!isNamespace) return marked;
    for (const resource of this.resources.values()) {
      if (resource.namespaced) this.empty(resource, `${marked.key}/`);
    }
    this.#finishNamespace(marked.key);
    return marked;
  }

  /** Deletes the objects of a resource whose keys have this prefix and, if given, that match. */
  empty(resource: ApiResource, prefix: string, matches: Matches = () => true): void {
    for (const { key, body } of [...resource.objects.range(prefix)]) {
      const [name = "", namespace] = key.split("/").reverse();
      const object: JsonObject = JSON.parse(body);
      if (matches(object)) this.delete({ resource, version: resource.versions[0]!, name, namespace }, object);
    }
  }

  #serve(definition: Definition): void {
    const name = pluralName(definition);
    const objects = this.resources.get(name)?.objects ?? new Collection(this.revisions);
    this.resources.set(name, { ...definition, objects });
  }

  #remove(target: Target, object: JsonObject): undefined {
    if (target.resource === this.#definitions) {
      const defined = this.resources.get(target.name!)!;
      this.empty(defined, "");
      this.resources.delete(target.name!);
      defined.objects.end();
    }
    target.resource.objects.remove(objectKey(target), object);
    if (target.namespace !== undefined) this.#finishNamespace(target.namespace);
  }

  /** A terminating namespace goes with the last thing in it. */
  #finishNamespace(name: string): void {
    const stored = this.#namespaces.objects.get(name);
    const object: JsonObject = JSON.parse(stored?.body ?? "{}");
    if (!meta(object).deletionTimestamp || isHeld(object)) return;
    if ([...this.resources.values()].some(({ objects }) => objects.count(`${name}/`) > 0)) return;
    this.#namespaces.objects.remove(name, object);
  }
}

/** Checks a definition and completes it, as a server does that has begun to serve it. */
function establish(target: Target, object: JsonObject): void {
  const spec: JsonObject = Object(object.spec);
  const { group, scope, versions, names } = spec;
  const { plural, kind }: JsonObject = Object(names);
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
  if (causes.length > 0) throw invalid(target, causes);
  const acceptedNames = { singular: String(kind).toLowerCase(), listKind: `${kind}List`, ...Object(names) };
  spec.names = acceptedNames;
  spec.conversion ??= { strategy: "None" };
  const met = { status: "True", reason: "NoConflicts", message: "", lastTransitionTime: now() };
  const conditions = ["NamesAccepted", "Established"].map((type) => ({ type, ...met }));
  object.status ??= { conditions, acceptedNames, storedVersions: storageVersions(object) };
}

function storageVersions(definition: JsonObject): string[] {
  const versions = at(definition, "spec", "versions");
  const stored = Array.isArray(versions) ? versions.filter((each) => at(each, "storage") === true) : [];
  return stored.map((each) => String(at(each, "name")));
}
