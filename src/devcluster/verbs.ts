import { isObject, type JsonObject } from "../core/json.ts";
import { type Cluster, keyOf } from "./cluster.ts";
import { badRequest, failure, invalid, refused, StatusError } from "./errors.ts";
import { at, jsonPatch, mergePatch, parse } from "./json.ts";
import { decode, isHeld, meta, prepareNew, prepareUpdate, type Target } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import { fieldSelector, labelSelector, type Matches } from "./selectors.ts";

/** What requests are answered from; `signal` aborts when the server stops. */
export type Serving = { cluster: Cluster; bookmarkMs: number; signal: AbortSignal };

/** One request for a resource. */
export interface Asked extends Serving {
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly contentType: string;
  readonly body: string;
}

/** An answer: the JSON of its objects, and, for a list, the list without them. */
export type Answer = { readonly code: number; readonly items: readonly string[]; readonly list?: JsonObject };

/** What can be done to a resource, by the verb Kubernetes has for it. */
export const VERBS: Readonly<Record<string, (asked: Asked) => Answer>> = {
  get: ({ cluster, target }) => ({ code: 200, items: [render(target, cluster.existing(target))] }),
  list,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
};

/** An object's JSON with the apiVersion and kind of the version asked for. */
export function render({ resource: { group, kind }, version }: Target, { body }: { body: string }): string {
  return `{"apiVersion":"${apiVersion(group, version.name)}","kind":"${kind}",${body.slice(1)}`;
}

/** What a request selects by its label and field selectors; undefined for everything. */
export function selection({ target: { resource: { custom }, version }, query }: Asked): Matches | undefined {
  const known = ["metadata.name", "metadata.namespace"];
  for (const { jsonPath } of version.selectableFields ?? []) known.push(jsonPath.slice(1));
  const check = (field: string) => {
    if (known.includes(field)) return;
    const listed = known.map((each) => `"${each}"`).join(", ");
    const builtIn = `"${field}" is not a known field selector: only ${listed}`;
    throw badRequest(custom ? `field label not supported: ${field}` : builtIn);
  };
  const labels = query.get("labelSelector") ? labelSelector(query.get("labelSelector")!) : undefined;
  const fields = query.get("fieldSelector") ? fieldSelector(query.get("fieldSelector")!, check) : undefined;
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
  const why = `resourceVersion: Invalid value: "${text}": strconv.ParseUint: invalid syntax`;
  throw query.has("watch") ? new StatusError(500, "", why) : badRequest(`invalid resource version: ${why}`);
}

/** True where the query says so. */
export function isTrue(query: URLSearchParams, name: string): boolean {
  return /^(true|1)$/.test(query.get(name) ?? "");
}

/** A whole number of the query; 0 where there is none. */
export function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "0";
  if (/^-?\d+$/.test(text)) return Number(text);
  throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
}

function list(asked: Asked): Answer {
  const { cluster, target, query } = asked;
  const { group, listKind, custom } = target.resource;
  const { revision, after } = position(asked);
  const limit = query.get("resourceVersion") === "0" ? 0 : integer(query, "limit");
  const matches = selection(asked);
  const items: string[] = [];
  let start = "";
  let remaining = 0;
  for (const stored of cluster.collectionOf(target).range(scope(target), { after, revision })) {
    if (limit > 0 && items.length >= limit) {
      remaining++;
      if (matches) break;
    } else if (!matches || matches(JSON.parse(stored.body))) {
      start = stored.key;
      items.push(custom ? render(target, stored) : stored.body);
    }
  }
  const token = btoa(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start }));
  const more = remaining > 0 && { continue: token, ...(!matches && { remainingItemCount: remaining }) };
  const metadata = { resourceVersion: String(revision), ...more };
  const head = { kind: listKind, apiVersion: apiVersion(group, target.version.name), metadata };
  return { code: 200, items, list: head };
}

function position({ cluster, query }: Asked): { revision: number; after: string } {
  const { revision } = cluster.revisions;
  const token = query.get("continue");
  if (token) {
    const text = /^([A-Za-z\d+/]{4})*([A-Za-z\d+/]{2,3}=?=?)?$/.test(token) ? atob(token) : token;
    const place = parse(text, "invalid continue token: continue key is not valid: ");
    return { revision: Number(at(place, "rv")), after: String(at(place, "start")) };
  }
  const wanted = revisionOf(query) ?? 0;
  if (wanted > revision) {
    const causes = [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }];
    const message = `Timeout: Too large resource version: ${wanted}, current: ${revision}`;
    throw new StatusError(504, "Timeout", message, { causes, retryAfterSeconds: 1 });
  }
  return { revision: query.get("resourceVersionMatch") === "Exact" ? wanted : revision, after: "" };
}

function create(asked: Asked): Answer {
  const { cluster, query, body } = asked;
  requireJson(asked);
  const object = decode(body, asked.target);
  const { name, generateName } = meta(object);
  const suffix = crypto.randomUUID().slice(-5);
  if (!name && generateName) meta(object).name = String(generateName).slice(0, 58) + suffix;
  const target = { ...asked.target, name: String(meta(object).name ?? "") };
  if (!target.name) {
    const message = "Required value: name or generateName is required";
    throw invalid(target, [{ reason: "FieldValueRequired", message, field: "metadata.name" }]);
  }
  cluster.requireNamespace(target);
  prepareNew(object, target);
  const isTaken = cluster.collectionOf(target).get(keyOf(target));
  if (isTaken && name) throw failure("AlreadyExists", target);
  // A generated name may collide by chance; the real server draws again.
  if (isTaken) return create(asked);
  const stored = isDryRun(query) ? { body: JSON.stringify(object) } : cluster.put(target, object);
  return { code: 201, items: [render(target, stored)] };
}

function update(asked: Asked): Answer {
  const { cluster, target, body } = asked;
  const { traits } = target.resource;
  requireJson(asked);
  const proposed = decode(body, target);
  const { uid, resourceVersion } = meta(proposed);
  if (traits.includes("P") && !cluster.collectionOf(target).get(keyOf(target))) {
    delete meta(proposed).resourceVersion;
    const { name: _, ...place } = target;
    return create({ ...asked, target: place, body: JSON.stringify(proposed) });
  }
  const current = read(asked);
  if (uid && uid !== meta(current).uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${meta(current).uid}`;
    throw failure("Conflict", target, { why });
  }
  if (!resourceVersion && traits.includes("R")) {
    throw invalid(target, [refused("metadata.resourceVersion", 0, "must be specified for an update")]);
  }
  return write(asked, current, proposed);
}

function patch(asked: Asked): Answer {
  const { cluster, target, contentType, body } = asked;
  const [, kind] = /^application\/(json|merge|strategic-merge)-patch\+json$/.exec(contentType) ?? [];
  if (!kind || (kind === "strategic-merge" && target.resource.custom)) {
    // Server-side apply ends here too.
    throw unsupported("application/json-patch+json, application/merge-patch+json");
  }
  const whole: JsonObject = JSON.parse(render(target, cluster.existing(target)));
  const change = parse(body, "error decoding patch: ");
  const patched = kind === "json" ? jsonPatch(whole, change) : mergePatch(whole, change, kind !== "merge");
  if (!isObject(patched)) throw badRequest("error decoding patch: expected an object");
  try {
    return write(asked, read(asked), decode(JSON.stringify(patched), target));
  } catch (error) {
    // What a patch makes of an object is not read from a body: what does not decode is invalid.
    if (!(error instanceof StatusError) || !error.message.includes("cannot be handled as")) throw error;
    throw invalid(target, [refused("patch", body, error.message)]);
  }
}

function write({ cluster, target, query }: Asked, current: JsonObject, proposed: JsonObject): Answer {
  const next = prepareUpdate(current, proposed, target);
  const isFreed = meta(next).deletionTimestamp && !isHeld(next) && target.resource.kind !== "Namespace";
  const isStored = !isDryRun(query);
  let stored: { body: string } = { body: JSON.stringify(next) };
  if (isFreed && isStored) cluster.remove(target, next);
  else if (next !== current && isStored) stored = cluster.put(target, next);
  return { code: 200, items: [render(target, stored)] };
}

function remove(asked: Asked): Answer {
  const { cluster, target, body, query } = asked;
  const { group, plural } = target.resource;
  const object = read(asked);
  const options = parse(body.trim() || "{}", "error decoding options: ");
  for (const [field, label] of [["uid", "UID"], ["resourceVersion", "ResourceVersion"]] as const) {
    const wanted = at(options, "preconditions", field);
    const actual = meta(object)[field];
    if (!wanted || wanted === actual) continue;
    const why = `the ${label} in the precondition (${wanted}) does not match that in record (${actual})`;
    throw failure("Conflict", target, { why });
  }
  const isStored = !isDryRun(query) && !at(options, "dryRun");
  const left = isStored ? cluster.delete(target, object) : undefined;
  const details = { name: target.name!, ...(group && { group }), kind: plural, uid: meta(object).uid! };
  const success = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
  return { code: 200, items: [left ? render(target, left) : JSON.stringify(success)] };
}

function removeCollection(asked: Asked): Answer {
  const answer = list(asked);
  for (const item of isDryRun(asked.query) ? [] : answer.items) {
    const { apiVersion: _, kind: __, ...object }: JsonObject = JSON.parse(item);
    const { name, namespace } = meta(object);
    const place = { name: String(name), ...(namespace !== undefined && { namespace: String(namespace) }) };
    asked.cluster.delete({ ...asked.target, ...place }, object);
  }
  return answer;
}

function read({ cluster, target }: Asked): JsonObject {
  return JSON.parse(cluster.existing(target).body);
}

function requireJson({ contentType }: Asked): void {
  if (contentType !== "" && contentType !== "application/json") throw unsupported("application/json");
}

function unsupported(accepted: string): StatusError {
  const message = "the body of the request was in an unknown format - accepted media types include: ";
  return new StatusError(415, "UnsupportedMediaType", message + accepted);
}

function isDryRun(query: URLSearchParams): boolean {
  const value = query.get("dryRun");
  if (value === null || value === "All") return value !== null;
  const about = { resource: { group: "meta.k8s.io", kind: "WriteOptions", plural: "writeoptions" } };
  throw invalid(about, [refused("dryRun", value, 'supported values: "All"')]);
}
