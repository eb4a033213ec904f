import { isObject, type JsonObject } from "../model/json.ts";
import type { Cluster } from "./cluster.ts";
import { discovery } from "./discovery.ts";
import { StatusError } from "./errors.ts";
import { parse } from "./json.ts";
import type { Target } from "./objects.ts";
import { fromProtobuf } from "./protobuf.ts";
import { pluralName } from "./resources.ts";
import { table } from "./table.ts";
import { type Asked, isTrue, type Serving, VERBS } from "./verbs.ts";
import { WatchStream } from "./watch.ts";

const MAX_BODY_BYTES = 3 * 1024 * 1024;
const JSON_CONTENT = { "content-type": "application/json" };
const VERSION = { major: "1", minor: "34", gitVersion: "v1.34.0-devcluster" };
const METHODS: Readonly<Record<string, readonly [one: string, many: string]>> = {
  GET: ["get", "list"],
  POST: ["", "create"],
  PUT: ["update", ""],
  PATCH: ["patch", ""],
  DELETE: ["delete", "deletecollection"],
};

/** The Kubernetes verb of a request; the method if it is about no resource, "" if the method does not fit (a PUT without a name). */
export function verbOf(method: string, url: URL, { resources }: Cluster): string {
  const target = targetOf(url.pathname, resources);
  if (!target) return method.toLowerCase();
  const verb = METHODS[method]?.[target.name === undefined ? 1 : 0] ?? "";
  return verb === "list" && isTrue(url.searchParams, "watch") ? "watch" : verb;
}

/** Answers one HTTP request. */
export async function serveRequest(request: Request, serving: Serving): Promise<Response> {
  try {
    const { pathname: path, searchParams: query } = new URL(request.url);
    const target = targetOf(path, serving.cluster.resources);
    const given = (request.headers.get("content-type") ?? "").split(";")[0]!.trim();
    const bytes = await request.bytes();
    if (bytes.length > MAX_BODY_BYTES) {
      const message = `Request entity too large: limit is ${MAX_BODY_BYTES}`;
      throw new StatusError(413, "RequestEntityTooLarge", message, {});
    }
    const isProtobuf = given === "application/vnd.kubernetes.protobuf";
    const body = isProtobuf ? fromProtobuf(bytes) : new TextDecoder().decode(bytes);
    const contentType = isProtobuf ? "application/json" : given;
    if (target) return answer({ ...serving, target, query, contentType, body }, request);
    return answerPath(request, path, { ...serving, body });
  } catch (error) {
    const internal = new StatusError(500, "InternalError", `Internal error occurred: ${error}`);
    const status = error instanceof StatusError ? error : internal;
    return Response.json(status.body(), { status: status.code });
  }
}

/** What a path is about; undefined for what is no resource. */
function targetOf(path: string, resources: Cluster["resources"]): Target | undefined {
  const parts = path.replace(/^\/api\//, "/apis//").split("/").map(decodeURIComponent);
  const [, root, group = "", versionName, ...rest] = parts;
  const isInNamespace = rest[0] === "namespaces" && rest.length > 2 && rest[2] !== "status";
  const [namespace, plural = "", name, subresource, ...more] = isInNamespace ? rest.slice(1) : [, ...rest];
  const resource = resources.get(pluralName({ group, plural }));
  const version = resource?.versions.find((each) => each.name === versionName);
  if (root !== "apis" || !resource || !version || more.length > 0) return undefined;
  const isPlaced = resource.namespaced ? !name || namespace : !namespace;
  const isServed = !subresource || (subresource === "status" && version.subresources?.status);
  return isPlaced && isServed ? { resource, version, namespace, name, subresource } : undefined;
}

function answer(asked: Asked, request: Request): Response {
  const { target: { version, subresource }, query } = asked;
  const accept = request.headers.get("accept") || "*/*";
  const verb = verbOf(request.method, new URL(request.url), asked.cluster);
  if (!/application\/(json|\*)|\*\/\*/.test(accept)) {
    throw new StatusError(406, "NotAcceptable", "406: Not Acceptable: only application/json is", {});
  }
  const asTable = accept.includes("as=Table");
  const form = { version, whole: query.get("includeObject") === "Object" };
  if (verb === "watch") {
    let sent = 0;
    const row = (object: string) => table([JSON.parse(object)], { ...form, headless: sent++ > 0 });
    const watch = new WatchStream(asked, asTable ? row : (object) => object);
    return new Response(new ReadableStream(watch), { headers: JSON_CONTENT });
  }
  const carryOut = VERBS[verb];
  if (!carryOut || (subresource && !/^(get|update|patch)$/.test(verb))) {
    const message = "the server does not allow this method on the requested resource";
    throw new StatusError(405, "MethodNotAllowed", message, {});
  }
  const { code, items, list } = carryOut(asked);
  const json = list ? `${JSON.stringify(list).slice(0, -1)},"items":[${items.join(",")}]}` : items.join();
  const objects = asTable ? items.map((item): JsonObject => JSON.parse(item)) : [];
  const text = asTable ? table(objects, { ...form, metadata: list?.metadata }) : json;
  return new Response(text, { status: code, headers: JSON_CONTENT });
}

function answerPath(request: Request, path: string, { cluster, body }: Serving & { body: string }): Response {
  if (/^\/(readyz|livez|healthz)/.test(path)) return new Response("ok");
  if (path === "/version") return Response.json(VERSION);
  if (/^\/apis\/auth\w+\.k8s\.io\/v1\/selfsubject\w+$/.test(path) && request.method === "POST") {
    const asked = parse(body, "cannot read the review: ");
    const userInfo = { username: "devcluster-admin", groups: ["system:masters", "system:authenticated"] };
    const status = path.endsWith("accessreviews") ? { allowed: true } : { userInfo };
    return Response.json({ ...(isObject(asked) && asked), status }, { status: 201 });
  }
  const found = discovery(path, [...cluster.resources.values()]);
  if (found) return Response.json(found);
  if (!path.startsWith("/api/v1/")) return new Response("404 page not found\n", { status: 404 });
  throw new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}
