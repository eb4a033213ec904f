import type { JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { type Cluster, keyOf } from "./cluster.ts";
import { badRequest, failure, invalid, StatusError } from "./errors.ts";
import {
  decode,
  isHeld,
  kinded,
  meta,
  named,
  parse,
  prepareNew,
  prepareUpdate,
  type Target,
} from "./objects.ts";
import { jsonPatch, mergePatch } from "./patch.ts";
import { apiVersion } from "./resources.ts";
import { at, fieldSelector, labelSelector, type Matches } from "./selectors.ts";

/** One request for a resource. */
export interface ResourceRequest {
  readonly cluster: Cluster;
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly contentType: string;
  readonly body: string;
}

/** An answer: the JSON of its objects, and, for a list, the list without them. */
export interface Answer {
  readonly code: number;
  readonly items: readonly string[];
  readonly list?: JsonObject;
}

/** What can be done to a resource, by the verb Kubernetes has for it. */
export const VERBS: Readonly<Record<string, (request: ResourceRequest) => Answer>> = {
  get: ({ cluster, target }) => ({ code: 200, items: [render(target, cluster.existing(target))] }),
  list,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
};

/** An object's JSON with the apiVersion and kind of the version asked for. */
export function render({ resource, version }: Target, { body }: { readonly body: string }): string {
  return `{"apiVersion":"${apiVersion(resource.group, version.name)}","kind":"${resource.kind}",${
    body.slice(1)
  }`;
}

/** What a request selects by its label and field selectors; undefined for everything. */
export function selection({ target: { resource, version }, query }: ResourceRequest): Matches | undefined {
  const labels = labelSelector(query.get("labelSelector"));
  const known = ["metadata.name", "metadata.namespace", ...version.selectable];
  const listed = known.map((each) => `"${each}"`).join(", ");
  const unknown = (field: string) =>
    resource.custom
      ? `field label not supported: ${field}`
      : `"${field}" is not a known field selector: only ${listed}`;
  const fields = fieldSelector(query.get("fieldSelector"), { known, unknown });
  return labels && fields ? (object) => labels(object) && fields(object) : labels ?? fields;
}

/** The prefix of the keys a list, watch or deletecollection is about. */
export function scope({ namespace }: Target): string {
  return namespace === undefined ? "" : `${namespace}/`;
}

/** The resourceVersion a list or watch asks for; undefined where it names none. */
export function revisionOf(query: URLSearchParams): number | undefined {
  const text = query.get("resourceVersion");
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const why =
    `resourceVersion: Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`;
  throw query.has("watch") ? new StatusError(500, "", why) : badRequest(`invalid resource version: ${why}`);
}

/** A whole number of the query; 0 where there is none. */
export function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "0";
  if (/^-?\d+$/.test(text)) return Number(text);
  throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
}

function list(request: ResourceRequest): Answer {
  const { cluster, target, query } = request;
  const { revision, after } = position(request);
  const limit = query.get("resourceVersion") === "0" ? 0 : integer(query, "limit");
  const matches = selection(request);
  const items: string[] = [];
  let start = "";
  let remaining = 0;
  for (const stored of cluster.collection(target.resource).range(scope(target), { after, revision })) {
    if (limit > 0 && items.length >= limit) {
      remaining++;
      if (matches) break;
    } else if (!matches || matches(JSON.parse(stored.body))) {
      start = stored.key;
      items.push(target.resource.custom ? render(target, stored) : stored.body);
    }
  }
  const metadata: JsonObject = { resourceVersion: String(revision) };
  if (remaining > 0) metadata.continue = btoa(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start }));
  if (remaining > 0 && !matches) metadata.remainingItemCount = remaining;
  const { group, listKind } = target.resource;
  return {
    code: 200,
    items,
    list: { kind: listKind, apiVersion: apiVersion(group, target.version.name), metadata },
  };
}

function position({ cluster: { store }, query }: ResourceRequest): { revision: number; after: string } {
  const token = query.get("continue");
  if (token) {
    const place = parse(
      /^[\w+/=]+$/.test(token) ? atob(token) : token,
      "invalid continue token: continue key is not valid: ",
    );
    return { revision: Number(at(place, ["rv"])), after: String(at(place, ["start"])) };
  }
  const wanted = revisionOf(query) ?? 0;
  if (wanted > store.revision) {
    const causes = [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }];
    const message = `Timeout: Too large resource version: ${wanted}, current: ${store.revision}`;
    throw new StatusError(504, "Timeout", message, { causes, retryAfterSeconds: 1 });
  }
  return { revision: query.get("resourceVersionMatch") === "Exact" ? wanted : store.revision, after: "" };
}

function create(request: ResourceRequest): Answer {
  const { cluster, query, body } = request;
  requireJson(request);
  const object = decode(body, request.target);
  const isNamed = Boolean(meta(object).name);
  cluster.requireNamespace({ ...request.target, name: String(meta(object).name ?? "") });
  prepareNew(object, request.target);
  const target = { ...request.target, name: String(meta(object).name) };
  const taken = cluster.collection(target.resource).get(keyOf(target));
  if (taken && isNamed) throw failure("AlreadyExists", named(target));
  // A generated name may collide by chance; the real server draws again.
  if (taken) return create(request);
  const stored = isDryRun(query) ? { body: JSON.stringify(bare(object)) } : cluster.put(target, bare(object));
  return { code: 201, items: [render(target, stored)] };
}

function update(request: ResourceRequest): Answer {
  const { cluster, target, body } = request;
  requireJson(request);
  const proposed = decode(body, target);
  const { traits } = target.resource;
  if (traits.includes("createOnUpdate") && !cluster.collection(target.resource).get(keyOf(target))) {
    delete meta(proposed).resourceVersion;
    const { name: _, ...place } = target;
    return create({ ...request, target: place, body: JSON.stringify(proposed) });
  }
  const current = read(request);
  const { uid, resourceVersion } = meta(proposed);
  if (uid && uid !== meta(current).uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${meta(current).uid}`;
    throw failure("Conflict", named(target), { why });
  }
  if (!resourceVersion && !traits.includes("unconditional")) {
    const message = "Invalid value: 0: must be specified for an update";
    throw invalid(named(target), [{
      reason: "FieldValueInvalid",
      message,
      field: "metadata.resourceVersion",
    }]);
  }
  return write(request, { current, proposed });
}

function patch(request: ResourceRequest): Answer {
  const { target, contentType, body } = request;
  const [kind, base] = /^application\/(json-|merge-|strategic-merge-)patch\+json$/.exec(contentType) ?? [];
  if (contentType.startsWith("application/apply-patch")) {
    throw new StatusError(415, "UnsupportedMediaType", "the development API server has no server-side apply");
  }
  if (!kind || (base === "strategic-merge-" && target.resource.custom)) {
    throw unsupported("application/json-patch+json, application/merge-patch+json");
  }
  const current = read(request);
  const document = parse(body, "error decoding patch: ");
  const patched = base === "json-"
    ? jsonPatch(current, document)
    : mergePatch(current, document, base !== "merge-");
  if (!isObject(patched)) throw badRequest("error decoding patch: expected an object");
  try {
    return write(request, { current, proposed: decode(JSON.stringify(patched), target) });
  } catch (error) {
    // What a patch makes of an object is not read from a body: what does not decode is invalid.
    if (!(error instanceof StatusError) || !/cannot be handled as/.test(error.message)) throw error;
    const message = `Invalid value: ${body}: ${error.message}`;
    throw invalid({ group: "", kind: "" }, [{ reason: "FieldValueInvalid", message, field: "patch" }]);
  }
}

function write(
  request: ResourceRequest,
  { current, proposed }: { current: JsonObject; proposed: JsonObject },
): Answer {
  const { cluster, target, query } = request;
  const next = prepareUpdate(current, { proposed, target });
  const freed = meta(next).deletionTimestamp && !isHeld(next) && target.resource.kind !== "Namespace";
  const isStored = !isDryRun(query);
  let stored: { body: string } = { body: JSON.stringify(bare(next)) };
  if (freed && isStored) cluster.remove(target, bare(next));
  else if (next !== current && isStored) stored = cluster.put(target, bare(next));
  return { code: 200, items: [render(target, stored)] };
}

function remove(request: ResourceRequest): Answer {
  const { cluster, target, body, query } = request;
  const { group, plural } = target.resource;
  const object = read(request);
  const options = parse(body.trim() || "{}", "error decoding options: ");
  for (
    const [field, label, hint] of [["uid", "UID", "deleted and then recreated"], [
      "resourceVersion",
      "ResourceVersion",
      "modified",
    ]] as const
  ) {
    const wanted = at(options, ["preconditions", field]);
    const actual = meta(object)[field];
    if (!wanted || wanted === actual) continue;
    const why =
      `the ${label} in the precondition (${wanted}) does not match the ${label} in record (${actual}). The object might have been ${hint}`;
    throw failure("Conflict", kinded(target, object), { why });
  }
  const isStored = !isDryRun(query) && at(options, ["dryRun"]) === undefined;
  const left = isStored ? cluster.delete(target, bare(object)) : undefined;
  const details = { name: target.name!, ...(group ? { group } : {}), kind: plural, uid: meta(object).uid! };
  const success = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
  return { code: 200, items: [left ? render(target, left) : JSON.stringify(success)] };
}

function removeCollection(request: ResourceRequest): Answer {
  const answer = list(request);
  for (const item of isDryRun(request.query) ? [] : answer.items) {
    const object: JsonObject = JSON.parse(item);
    const { name, namespace } = meta(object);
    const place = namespace === undefined ? {} : { namespace: String(namespace) };
    request.cluster.delete({ ...request.target, ...place, name: String(name) }, bare(object));
  }
  return answer;
}

function read({ cluster, target }: ResourceRequest): JsonObject {
  return JSON.parse(render(target, cluster.existing(target)));
}

function bare({ apiVersion: _, kind: __, ...rest }: JsonObject): JsonObject {
  return rest;
}

function requireJson({ contentType }: ResourceRequest): void {
  if (contentType !== "" && contentType !== "application/json") throw unsupported("application/json");
}

function unsupported(accepted: string): StatusError {
  const message =
    `the body of the request was in an unknown format - accepted media types include: ${accepted}`;
  return new StatusError(415, "UnsupportedMediaType", message);
}

function isDryRun(query: URLSearchParams): boolean {
  const values = query.getAll("dryRun");
  const unknown = values.find((value) => value !== "All");
  if (unknown === undefined) return values.length > 0;
  const message = `Invalid value: ["${unknown}"]: supported values: "All"`;
  throw invalid({ group: "meta.k8s.io", kind: "WriteOptions" }, [{
    reason: "FieldValueNotSupported",
    message,
    field: "dryRun",
  }]);
}
