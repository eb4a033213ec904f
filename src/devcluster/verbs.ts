import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { type Cluster, keyOf } from "./cluster.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  expired,
  invalid,
  StatusError,
  unsupportedMediaType,
} from "./errors.ts";
import { decode, meta, named, prepareNew, prepareUpdate, type Target } from "./objects.ts";
import { jsonPatch, mergePatch, strategicMergePatch } from "./patch.ts";
import { apiVersion } from "./resources.ts";
import { fieldSelector, labelSelector, type Matches } from "./selectors.ts";
import type { Stored } from "./store.ts";

/** One request for a resource. */
export interface ResourceRequest {
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly contentType: string;
  readonly body: string;
}

/** An answer: objects to be sent whole, or as rows of a table. */
export interface Answer {
  readonly code: number;
  readonly list?: JsonObject;
  /** The JSON of each object, apiVersion and kind included where the real server includes them. */
  readonly items: readonly string[];
}

/** An object's JSON with the apiVersion and kind of the version asked for. */
export function render({ resource, version }: Target, { body }: { readonly body: string }): string {
  return `{"apiVersion":"${apiVersion(resource.group, version.name)}","kind":"${resource.kind}",${
    body.slice(1)
  }`;
}

/** What a request selects by its label and field selectors; undefined for everything. */
export function selection({ target, query }: ResourceRequest): Matches | undefined {
  const labels = labelSelector(query.get("labelSelector"));
  const known = ["metadata.name", "metadata.namespace", ...target.version.selectable];
  const unknown = (field: string) =>
    badRequest(
      target.resource.custom
        ? `field label not supported: ${field}`
        : `"${field}" is not a known field selector: only ${known.map((each) => `"${each}"`).join(", ")}`,
    );
  const fields = fieldSelector(query.get("fieldSelector"), { known, unknown });
  return labels && fields ? (object) => labels(object) && fields(object) : labels ?? fields;
}

/** The prefix of the keys a list, watch or deletecollection is about. */
export function scope({ namespace }: Target): string {
  return namespace === undefined ? "" : `${namespace}/`;
}

export function get(cluster: Cluster, { target }: ResourceRequest): Answer {
  return { code: 200, items: [render(target, cluster.existing(target))] };
}

export function list(cluster: Cluster, request: ResourceRequest): Answer {
  const { target, query } = request;
  const collection = cluster.collection(target.resource);
  const { revision, after } = position(cluster, query);
  const limit = query.get("resourceVersion") === "0" ? 0 : integer(query, "limit");
  const matches = selection(request);
  const items: string[] = [];
  let last = "";
  let remaining = 0;
  try {
    for (const stored of collection.range(scope(target), { after, revision })) {
      if (limit > 0 && items.length >= limit) {
        remaining++;
        if (matches) break;
        continue;
      }
      if (matches && !matches(JSON.parse(stored.body))) continue;
      last = stored.key;
      items.push(target.resource.custom ? render(target, stored) : stored.body);
    }
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== 410 || !query.get("continue")) throw error;
    throw expired(
      "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    );
  }
  const metadata: JsonObject = { resourceVersion: String(revision) };
  if (remaining > 0) {
    metadata.continue = btoa(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start: last }));
  }
  if (remaining > 0 && !matches) metadata.remainingItemCount = remaining;
  const { group, listKind } = target.resource;
  return {
    code: 200,
    list: { kind: listKind, apiVersion: apiVersion(group, target.version.name), metadata },
    items,
  };
}

function position({ store }: Cluster, query: URLSearchParams): { revision: number; after: string } {
  const token = query.get("continue");
  if (token) {
    try {
      const { rv, start } = JSON.parse(atob(token));
      if (typeof rv === "number" && typeof start === "string") return { revision: rv, after: start };
    } catch {
      // Said below, as for a token of the wrong shape.
    }
    throw badRequest("invalid continue token: continue key is not valid");
  }
  const wanted = revisionOf(query);
  if (wanted !== undefined && wanted > store.revision) {
    throw new StatusError(
      504,
      "Timeout",
      `Timeout: Too large resource version: ${wanted}, current: ${store.revision}`,
      {
        causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
        retryAfterSeconds: 1,
      },
    );
  }
  const exact = query.get("resourceVersionMatch") === "Exact" && wanted;
  return { revision: exact ? wanted : store.revision, after: "" };
}

/** The resourceVersion a list or watch asks for; undefined where it names none. */
export function revisionOf(query: URLSearchParams): number | undefined {
  const text = query.get("resourceVersion");
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const why = `strconv.ParseUint: parsing "${text}": invalid syntax`;
  throw badRequest(`invalid resource version: resourceVersion: Invalid value: "${text}": ${why}`);
}

/** A whole number of the query; 0 where there is none. */
export function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "0";
  if (!/^-?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  return Number(text);
}

export function create(
  cluster: Cluster,
  { target: place, query, body, contentType }: ResourceRequest,
): Answer {
  requireJson(contentType);
  const object = decode(body, place);
  const collection = cluster.collection(place.resource);
  const generated = !meta(object).name;
  const dryRun = isDryRun(query);
  cluster.requireNamespace({ ...place, name: String(meta(object).name ?? "") });
  prepareNew(object, place);
  const target = { ...place, name: String(meta(object).name) };
  if (collection.get(keyOf(target))) {
    // A generated name may collide by chance; the real server draws again.
    if (generated) return create(cluster, { target: place, query, body, contentType });
    throw alreadyExists(named(target));
  }
  const stored = dryRun ? { body: JSON.stringify(bare(object)) } : cluster.put(target, bare(object));
  return { code: 201, items: [render(target, stored)] };
}

export function update(cluster: Cluster, request: ResourceRequest): Answer {
  const { target, body, query, contentType } = request;
  requireJson(contentType);
  const proposed = decode(body, target);
  if (target.resource.createOnUpdate && !cluster.collection(target.resource).get(keyOf(target))) {
    delete meta(proposed).resourceVersion;
    return create(cluster, { ...request, target: without(target, "name"), body: JSON.stringify(proposed) });
  }
  const current = read(target, cluster.existing(target));
  const { uid, resourceVersion } = meta(proposed);
  if (uid && uid !== meta(current).uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${meta(current).uid}`;
    throw conflict(named(target), why);
  }
  if (!resourceVersion && !target.resource.unconditionalUpdate) {
    const message = "Invalid value: 0: must be specified for an update";
    throw invalid(named(target), [{
      reason: "FieldValueInvalid",
      message,
      field: "metadata.resourceVersion",
    }]);
  }
  return write(cluster, { target, current, proposed, dryRun: isDryRun(query) });
}

export function patch(cluster: Cluster, { target, body, query, contentType }: ResourceRequest): Answer {
  const strategic = contentType === "application/strategic-merge-patch+json" && !target.resource.custom;
  const isJsonPatch = contentType === "application/json-patch+json";
  if (!strategic && !isJsonPatch && contentType !== "application/merge-patch+json") {
    if (contentType.startsWith("application/apply-patch")) {
      throw new StatusError(
        415,
        "UnsupportedMediaType",
        "the development API server has no server-side apply",
      );
    }
    throw unsupportedMediaType("application/json-patch+json, application/merge-patch+json");
  }
  const current = read(target, cluster.existing(target));
  let document: Json;
  try {
    document = JSON.parse(body);
  } catch (error) {
    throw badRequest(`error decoding patch: ${(error as Error).message}`);
  }
  const patched = isJsonPatch
    ? jsonPatch(current, document)
    : (strategic ? strategicMergePatch : mergePatch)(current, document);
  const proposed = decode(JSON.stringify(patched), target);
  return write(cluster, { target, current, proposed, dryRun: isDryRun(query) });
}

export function remove(cluster: Cluster, { target, body, query }: ResourceRequest): Answer {
  const object = read(target, cluster.existing(target));
  const options: Json = body.trim() === "" ? {} : JSON.parse(body);
  const { uid, resourceVersion } = meta(object);
  const wanted = isObject(options) && isObject(options.preconditions) ? options.preconditions : {};
  const what = { ...named(target), kind: target.resource.kind };
  if (wanted.uid && wanted.uid !== uid) {
    throw conflict(
      what,
      `the UID in the precondition (${wanted.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`,
    );
  }
  if (wanted.resourceVersion && wanted.resourceVersion !== resourceVersion) {
    throw conflict(
      what,
      `the ResourceVersion in the precondition (${wanted.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion}). The object might have been modified`,
    );
  }
  const dryRun = isDryRun(query) ||
    (isObject(options) && Array.isArray(options.dryRun) && options.dryRun.length > 0);
  const left = dryRun ? undefined : cluster.delete(target, bare(object));
  if (left) return { code: 200, items: [render(target, left)] };
  const { group, plural } = target.resource;
  const details = { name: target.name!, ...(group ? { group } : {}), kind: plural, uid: uid! };
  const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
  return { code: 200, items: [JSON.stringify(status)] };
}

export function removeCollection(cluster: Cluster, request: ResourceRequest): Answer {
  const answer = list(cluster, request);
  if (isDryRun(request.query)) return answer;
  for (const item of answer.items) {
    const object: JsonObject = JSON.parse(item);
    const { name, namespace } = meta(object);
    const place = namespace === undefined ? {} : { namespace: String(namespace) };
    cluster.delete({ ...request.target, ...place, name: String(name) }, bare(object));
  }
  return answer;
}

function write(cluster: Cluster, { target, current, proposed, dryRun }: {
  target: Target;
  current: JsonObject;
  proposed: JsonObject;
  dryRun: boolean;
}): Answer {
  const next = prepareUpdate(current, proposed, target);
  const { deletionTimestamp, finalizers } = meta(next);
  const freed = deletionTimestamp && !(Array.isArray(finalizers) && finalizers.length > 0) &&
    (target.resource.custom || target.resource.kind !== "Namespace");
  let stored: { body: string } = { body: JSON.stringify(bare(next)) };
  if (freed && !dryRun) cluster.remove(target, bare(next));
  else if (next !== current && !dryRun) stored = cluster.put(target, bare(next));
  return { code: 200, items: [render(target, stored)] };
}

function read(target: Target, stored: Stored): JsonObject {
  return JSON.parse(render(target, stored));
}

function bare({ apiVersion: _, kind: __, ...rest }: JsonObject): JsonObject {
  return rest;
}

function without(target: Target, _key: "name"): Target {
  const { name: _, ...rest } = target;
  return rest;
}

function requireJson(contentType: string): void {
  if (contentType !== "" && contentType !== "application/json") {
    throw unsupportedMediaType("application/json");
  }
}

function isDryRun(query: URLSearchParams): boolean {
  const values = query.getAll("dryRun");
  const unknown = values.find((value) => value !== "All");
  if (unknown === undefined) return values.length > 0;
  const message = `Invalid value: ["${unknown}"]: supported values: "All"`;
  const cause = { reason: "FieldValueNotSupported", message, field: "dryRun" };
  throw invalid({ group: "meta.k8s.io", kind: "CreateOptions" }, [cause]);
}
