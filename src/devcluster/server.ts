import { isObject, type JsonObject } from "../core/json.ts";
import type { Cluster } from "./cluster.ts";
import { discovery } from "./discovery.ts";
import { StatusError } from "./errors.ts";
import { parse } from "./json.ts";
import type { Target } from "./objects.ts";
import { fromProtobuf } from "./protobuf.ts";
import { resourceName } from "./resources.ts";
import { table } from "./table.ts";
import { type Asked, isTrue, type Serving, VERBS } from "./verbs.ts";
import { Watch } from "./watch.ts";

const MAX_BODY_BYTES = 3 * 1024 * 1024;
const VERSION = { major: "1", minor: "34", gitVersion: "v1.34.0-devcluster" };
const METHODS: Readonly<Record<string, readonly [one: string, many: string]>> = {
  GET: ["get", "list"],
  POST: ["", "create"],
  PUT: ["update", ""],
  PATCH: ["patch", ""],
  DELETE: ["delete", "deletecollection"],
};

/** The Kubernetes verb of a request; the method where it is about no resource. */
export function verbOf(method: string, url: URL, { resources }: Cluster): string {
  const target = targetOf(url.pathname, resources);
  if (!target) return method.toLowerCase();
  const verb = METHODS[method]?.[target.name === undefined ? 1 : 0] ?? "";
  return verb === "list" && isTrue(url.searchParams, "watch") ? "watch" : verb;
}

/** Answers one HTTP request. */
export async function serve(request: Request, serving: Serving): Promise<Response> {
  try {
    const { pathname: path, searchParams: query } = new URL(request.url);
    const target = targetOf(path, serving.cluster.resources);
    const given = (request.headers.get("content-type") ?? "").split(";")[0]!.trim();
    const bytes = await readBody(request);
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
  const inNamespace = rest[0] === "namespaces" && rest.length > 2 && rest[2] !== "status";
  const [plural = "", name, subresource, ...more] = inNamespace ? rest.slice(2) : rest;
  const resource = root === "apis" ? resources.get(resourceName({ group, plural })) : undefined;
  const version = resource?.versions.find((each) => each.name === versionName);
  if (!resource || !version || more.length > 0 || (!resource.namespaced && inNamespace)) return undefined;
  if (resource.namespaced && !inNamespace && name !== undefined) return undefined;
  const isServed = subresource === undefined || (subresource === "status" && version.subresources?.status);
  if (!isServed) return undefined;
  const place = inNamespace && { namespace: rest[1]! };
  return { resource, version, ...place, ...(name && { name }), ...(subresource && { subresource }) };
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
    let headless = false;
    return streamed(asked, (object) => {
      const shown = asTable ? table([JSON.parse(object)], { ...form, headless }) : object;
      headless = true;
      return shown;
    });
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
  return new Response(text, { status: code, headers: { "content-type": "application/json" } });
}

async function readBody(request: Request): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    chunks.push(chunk);
    if ((bytes += chunk.length) <= MAX_BODY_BYTES) continue;
    const message = `Request entity too large: limit is ${MAX_BODY_BYTES}`;
    throw new StatusError(413, "RequestEntityTooLarge", message, {});
  }
  const whole = new Uint8Array(bytes);
  for (const chunk of chunks.toReversed()) whole.set(chunk, bytes -= chunk.length);
  return whole;
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
  // An empty document is a valid one; kubectl reads this only as protobuf.
  const wantsProtobuf = request.headers.get("accept")?.includes("proto-openapi");
  if (path === "/openapi/v2" && wantsProtobuf) return new Response(new Uint8Array());
  const found = discovery(path, [...cluster.resources.values()]);
  if (found) return Response.json(found);
  if (!path.startsWith("/api/v1/")) return new Response("404 page not found\n", { status: 404 });
  throw new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}

function streamed(asked: Asked, present: (object: string) => string): Response {
  const gone = new AbortController();
  const watch = new Watch({ ...asked, signal: AbortSignal.any([asked.signal, gone.signal]) }, present);
  const chunks = watch.chunks();
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    cancel: () => gone.abort(),
  });
  return new Response(body, { headers: { "content-type": "application/json" } });
}
