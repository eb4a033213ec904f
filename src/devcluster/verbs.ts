import { at, isObject, type Json, type JsonObject } from "../model/json.ts";
import type { Cluster } from "./cluster.ts";
import { badRequest, cause, failure, invalid, refused, StatusError } from "./errors.ts";
import { jsonPatch, mergePatch, parse } from "./json.ts";
import { decode, meta, objectKey, prepareNew, prepareUpdate, type Target } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import { selection } from "./selectors.ts";

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
type Answer = { readonly code: number; readonly items: readonly string[]; readonly list?: JsonObject };

const JSON_TYPES = ["application/json", ""];
const JSON_PATCH = "application/json-patch+json";
const MERGE_PATCH = "application/merge-patch+json";
const STRATEGIC_PATCH = "application/strategic-merge-patch+json";

/** What can be done to a resource, by the verb Kubernetes has for it. */
export const VERBS: Readonly<Record<string, (asked: Asked) => Answer>> = {
  get: ({ cluster, target }) => one(target, cluster.existing(target)),
  list,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
};

/** An object's JSON with the apiVersion and kind of the version asked for. */
export function encode({ resource: { group, kind }, version }: Target, { body }: { body: string }): string {
  return `{"apiVersion":"${apiVersion(group, version.name)}","kind":"${kind}",${body.slice(1)}`;
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
export function integerParameter(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "0";
  if (/^-?\d+$/.test(text)) return Number(text);
  throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
}

function list(asked: Asked): Answer {
  const { target, query } = asked;
  const { group, listKind, custom, objects } = target.resource;
  const { revision, after } = position(asked);
  const limit = query.get("resourceVersion") === "0" ? 0 : integerParameter(query, "limit");
  const matches = selection(asked);
  const items: string[] = [];
  let start = "";
  let remaining = 0;
  for (const stored of objects.range(objectKey(target), { after, revision })) {
    if (limit > 0 && items.length >= limit) {
      remaining++;
      if (matches) break;
    } else if (!matches || matches(JSON.parse(stored.body))) {
      start = stored.key;
      items.push(custom ? encode(target, stored) : stored.body);
    }
  }
  const token = JSON.stringify({ rv: revision, start });
  const more = remaining > 0 && { continue: token, ...(!matches && { remainingItemCount: remaining }) };
  const metadata = { resourceVersion: String(revision), ...more };
  const head = { kind: listKind, apiVersion: apiVersion(group, target.version.name), metadata };
  return { code: 200, items, list: head };
}

function position({ cluster, query }: Asked): { revision: number; after: string } {
  const { revision } = cluster.revisions;
  const token = query.get("continue");
  if (token) {
    const place = parse(token, "invalid continue token: continue key is not valid: ");
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
  requireType(asked, JSON_TYPES);
  const object = decode(body, asked.target);
  const { name, generateName } = meta(object);
  const suffix = crypto.randomUUID().slice(-5);
  if (!name && generateName) meta(object).name = String(generateName).slice(0, 58) + suffix;
  const target = { ...asked.target, name: String(meta(object).name ?? "") };
  const nameless = cause("Required", "metadata.name", "Required value: name or generateName is required");
  if (!target.name) throw invalid(target, [nameless]);
  cluster.requireNamespace(target);
  prepareNew(object, target);
  const isTaken = target.resource.objects.get(objectKey(target));
  if (isTaken && name) throw failure("AlreadyExists", target);
  // A generated name may collide by chance; the real server draws again.
  if (isTaken) return create(asked);
  return one(target, isDryRun(query) ? { body: JSON.stringify(object) } : cluster.put(target, object), 201);
}

function update(asked: Asked): Answer {
  const { cluster, target, body } = asked;
  const { traits, objects } = target.resource;
  requireType(asked, JSON_TYPES);
  const proposed = decode(body, target);
  const { uid, resourceVersion } = meta(proposed);
  if (traits.includes("P") && !objects.get(objectKey(target))) {
    delete meta(proposed).resourceVersion;
    const { name: _, ...place } = target;
    return create({ ...asked, target: place, body: JSON.stringify(proposed) });
  }
  const current: JsonObject = JSON.parse(cluster.existing(target).body);
  requireMeant(target, current, { uid: uid ?? null });
  if (!resourceVersion && traits.includes("R")) {
    throw invalid(target, [refused("metadata.resourceVersion", 0, "must be specified for an update")]);
  }
  return write(asked, current, proposed);
}

function patch(asked: Asked): Answer {
  const { cluster, target, contentType, body } = asked;
  // Server-side apply is refused here too.
  requireType(asked, [JSON_PATCH, MERGE_PATCH, ...(target.resource.custom ? [] : [STRATEGIC_PATCH])]);
  const current = cluster.existing(target);
  const whole: JsonObject = JSON.parse(encode(target, current));
  const change = parse(body, "error decoding patch: ");
  const patched = contentType === JSON_PATCH
    ? jsonPatch(whole, change)
    : mergePatch(whole, change, contentType === STRATEGIC_PATCH);
  if (!isObject(patched)) throw badRequest("error decoding patch: expected an object");
  try {
    return write(asked, JSON.parse(current.body), decode(JSON.stringify(patched), target));
  } catch (error) {
    // What a patch makes of an object is not read from a body: what does not decode is invalid.
    if (!(error instanceof StatusError) || !error.message.includes("cannot be handled as")) throw error;
    throw invalid(target, [refused("patch", body, error.message)]);
  }
}

function write({ cluster, target, query }: Asked, current: JsonObject, proposed: JsonObject): Answer {
  const next = prepareUpdate(current, proposed, target);
  const isUnchanged = next === current || isDryRun(query);
  return one(target, isUnchanged ? { body: JSON.stringify(next) } : cluster.put(target, next));
}

function remove({ cluster, target, body, query }: Asked): Answer {
  const { group, plural } = target.resource;
  const object: JsonObject = JSON.parse(cluster.existing(target).body);
  const options = parse(body.trim() || "{}", "error decoding options: ");
  requireMeant(target, object, at(options, "preconditions"));
  const isStored = !isDryRun(query) && !at(options, "dryRun");
  const left = isStored ? cluster.delete(target, object) : undefined;
  if (left) return one(target, left);
  const details = { name: target.name!, ...(group && { group }), kind: plural, uid: meta(object).uid! };
  const success = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
  return { code: 200, items: [JSON.stringify(success)] };
}

function removeCollection(asked: Asked): Answer {
  const answer = list(asked);
  const { cluster, target, query } = asked;
  if (!isDryRun(query)) cluster.empty(target.resource, objectKey(target), selection(asked));
  return answer;
}

/** Throws 409 unless the object is the one, and in the state, that was meant. */
function requireMeant(target: Target, object: JsonObject, preconditions: Json | undefined): void {
  for (const field of ["uid", "resourceVersion"]) {
    const [wanted, actual] = [at(preconditions, field), meta(object)[field]];
    if (!wanted || wanted === actual) continue;
    const why = `the ${field} in the precondition (${wanted}) does not match that in record (${actual})`;
    throw failure("Conflict", target, { why });
  }
}

function one(target: Target, stored: { body: string }, code = 200): Answer {
  return { code, items: [encode(target, stored)] };
}

function requireType({ contentType }: Asked, types: readonly string[]): void {
  if (types.includes(contentType)) return;
  const message = "the body of the request was in an unknown format - accepted media types include: ";
  throw new StatusError(415, "UnsupportedMediaType", message + types.filter(Boolean).join(", "));
}

function isDryRun(query: URLSearchParams): boolean {
  const value = query.get("dryRun");
  if (value === null || value === "All") return value !== null;
  const about = { resource: { group: "meta.k8s.io", kind: "WriteOptions", plural: "writeoptions" } };
  throw invalid(about, [refused("dryRun", value, 'supported values: "All"')]);
}
