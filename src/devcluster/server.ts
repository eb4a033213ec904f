import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import type { Cluster } from "./cluster.ts";
import { discovery } from "./discovery.ts";
import { expired, forbidden, methodNotAllowed, noSuchResource, StatusError } from "./errors.ts";
import type { Call, FaultEffect, Faults } from "./faults.ts";
import { type Target } from "./objects.ts";
import type { RequestLog } from "./requests.ts";
import { table } from "./table.ts";
import {
  type Answer,
  create,
  get,
  list,
  patch,
  remove,
  removeCollection,
  type ResourceRequest,
  update,
} from "./verbs.ts";
import { ConnectionReset, watch } from "./watch.ts";

/** What requests are answered from. */
export interface ServerParts {
  readonly cluster: Cluster;
  readonly faults: Faults;
  readonly requests: RequestLog;
  readonly bookmarkMs: number;
  /** Aborted when the server stops: hung requests and watches end. */
  readonly signal: AbortSignal;
}

type Handler = (cluster: Cluster, request: ResourceRequest) => Answer;

const HANDLERS: Readonly<Record<string, Handler>> = {
  get,
  list,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
};
const VERSION = { major: "1", minor: "34", gitVersion: "v1.34.0-devcluster", platform: "deno" };
const USER = "devcluster-admin";
const REASONS: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};
const MAX_BODY_BYTES = 3 * 1024 * 1024;
const TABLE = /as=Table/;
const REVIEWS =
  /^\/apis\/(authentication|authorization)\.k8s\.io\/v1\/(selfsubjectreviews|selfsubjectaccessreviews)$/;

/** Answers one HTTP request. */
export async function serve(request: Request, parts: ServerParts): Promise<Response> {
  const url = new URL(request.url);
  const path = url.pathname;
  const target = route(path, parts.cluster);
  const verb = verbOf(request.method, {
    target,
    watching: /^(true|1)$/.test(url.searchParams.get("watch") ?? ""),
  });
  const call: Call = { verb, path: decodeURIComponent(path + url.search) };
  parts.requests.add(call);
  try {
    const effect = parts.faults.take(call);
    if (effect?.kind === "latency") await pause(effect.latencyMs, parts.signal);
    else if (effect && !(effect.kind === "reset" && effect.applied)) {
      return await struck(effect, { call, target, parts });
    }
    const response = await answer(request, { url, target, call, parts });
    if (effect?.kind !== "reset") return response;
    await response.body?.cancel();
    return brokenOff();
  } catch (error) {
    return failure(error);
  }
}

async function answer(
  request: Request,
  { url, target, call, parts }: { url: URL; target: Target | undefined; call: Call; parts: ServerParts },
): Promise<Response> {
  const { cluster } = parts;
  const accept = request.headers.get("accept") ?? "";
  const path = url.pathname;
  if (!target) {
    if (/^\/(readyz|livez|healthz)/.test(path)) return new Response("ok");
    if (path === "/version") return Response.json(VERSION);
    const body = await readBody(request);
    if (REVIEWS.test(path) && request.method === "POST") {
      return Response.json(review(JSON.parse(body), parts), { status: 201 });
    }
    const version = /g=apidiscovery\.k8s\.io;v=(v2(?:beta1)?)/.exec(accept)?.[1];
    // An empty document is a valid one; kubectl reads this only as protobuf.
    if (path === "/openapi/v2" && accept.includes("proto-openapi")) return new Response(new Uint8Array());
    const found = discovery(path, { resources: cluster.resources(), aggregated: version, host: url.host });
    if (!found) {
      if (path.startsWith("/api/v1/")) throw noSuchResource();
      return new Response("404 page not found\n", { status: 404 });
    }
    const aggregate = version && found.kind === "APIGroupDiscoveryList";
    const type = aggregate
      ? `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`
      : "application/json";
    return new Response(JSON.stringify(found), { headers: { "content-type": type } });
  }
  const asTable = TABLE.test(accept);
  if (!asTable && accept !== "" && !/application\/json|\*\/\*|application\/\*/.test(accept)) {
    const message = "406: Not Acceptable\n\nAvailable representations: application/json";
    throw new StatusError(406, "NotAcceptable", message, {});
  }
  const contentType = (request.headers.get("content-type") ?? "").split(";")[0]!.trim();
  const asked: ResourceRequest = {
    target,
    query: url.searchParams,
    contentType,
    body: await readBody(request),
  };
  const include = url.searchParams.get("includeObject") ?? undefined;
  if (call.verb === "watch") {
    let header = true;
    const present = (object: string) => {
      if (!asTable) return object;
      const parsed: JsonObject = JSON.parse(object);
      const metadata = { resourceVersion: (parsed.metadata as JsonObject).resourceVersion ?? "" };
      const rows = JSON.stringify(table([parsed], { version: target.version, metadata, include, header }));
      header = false;
      return rows;
    };
    return streamed(asked, { ...parts, call, present });
  }
  const handler = HANDLERS[call.verb];
  if (!handler || (target.subresource && !["get", "update", "patch"].includes(call.verb))) {
    throw methodNotAllowed();
  }
  const { code, list: head, items } = handler(cluster, asked);
  let text = items.join(",");
  if (asTable && code < 300) {
    const objects = items.map((item): JsonObject => JSON.parse(item));
    const metadata = head?.metadata ??
      { resourceVersion: (objects[0]?.metadata as JsonObject | undefined)?.resourceVersion ?? "" };
    if (objects[0]?.kind !== "Status") {
      text = JSON.stringify(table(objects, { version: target.version, metadata, include }));
    }
  } else if (head) text = `${JSON.stringify(head).slice(0, -1)},"items":[${text}]}`;
  return new Response(text, { status: code, headers: { "content-type": "application/json" } });
}

function route(path: string, cluster: Cluster): Target | undefined {
  const [root, ...rest] = path.slice(1).split("/").map(decodeURIComponent);
  if (root !== "api" && root !== "apis") return undefined;
  const [group, versionName, ...place] = root === "api" ? ["", ...rest] : rest;
  const inNamespace = place[0] === "namespaces" && place.length > 2 && !/^(status|finalize)$/.test(place[2]!);
  const [plural, name, subresource, ...more] = inNamespace ? place.slice(2) : place;
  const resource = plural ? cluster.resource(`${group}/${plural}`) : undefined;
  const version = resource?.versions.find((each) => each.name === versionName);
  if (!resource || !version || more.length > 0 || (inNamespace && !resource.namespaced)) return undefined;
  if (resource.namespaced && !inNamespace && name !== undefined) return undefined;
  if (subresource !== undefined && !(subresource === "status" && version.hasStatus)) return undefined;
  return {
    resource,
    version,
    ...(inNamespace ? { namespace: place[1]! } : {}),
    ...(name ? { name } : {}),
    ...(subresource ? { subresource } : {}),
  };
}

function verbOf(
  method: string,
  { target, watching }: { target: Target | undefined; watching: boolean },
): string {
  const one = target?.name !== undefined;
  if (!target) return method.toLowerCase();
  if (method === "GET") return one ? "get" : watching ? "watch" : "list";
  if (method === "DELETE") return one ? "delete" : "deletecollection";
  return { POST: one ? "" : "create", PUT: one ? "update" : "", PATCH: one ? "patch" : "" }[method] ?? "";
}

async function readBody(request: Request): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) {
      const message = `Request entity too large: limit is ${MAX_BODY_BYTES}`;
      throw new StatusError(413, "RequestEntityTooLarge", message, {});
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function review(request: Json, { faults, cluster }: ServerParts): JsonObject {
  if (!isObject(request) || request.kind === "SelfSubjectReview") {
    const userInfo = { username: USER, groups: ["system:masters", "system:authenticated"] };
    return {
      kind: "SelfSubjectReview",
      apiVersion: "authentication.k8s.io/v1",
      metadata: {},
      status: { userInfo },
    };
  }
  const asked = isObject(request.spec) && isObject(request.spec.resourceAttributes)
    ? request.spec.resourceAttributes
    : {};
  const { group = "", resource = "", subresource, namespace, name, verb = "" } = asked;
  const version = asked.version ?? cluster.resource(`${group}/${resource}`)?.versions[0]?.name ?? "v1";
  const parts = [
    group ? `apis/${group}` : "api",
    version,
    ...(namespace ? ["namespaces", namespace] : []),
    resource,
  ];
  const path = `/${[...parts, ...(name ? [name] : []), ...(subresource ? [subresource] : [])].join("/")}`;
  const denied = faults.denies({ verb: String(verb), path });
  return { ...request, status: { allowed: !denied, ...(denied ? { reason: "denied by a fault" } : {}) } };
}

function streamed(
  asked: ResourceRequest,
  options: ServerParts & { call: Call; present: (object: string) => string },
): Response {
  const gone = new AbortController();
  const encoder = new TextEncoder();
  const frames = watch(asked, { ...options, signal: AbortSignal.any([options.signal, gone.signal]) });
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { value, done } = await frames.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      } catch (error) {
        // Deno prints what a body fails with, so this is one plain line.
        controller.error(
          error instanceof ConnectionReset ? "devcluster: watch broken off by a fault" : error,
        );
      }
    },
    cancel: () => gone.abort(),
  });
  return new Response(body, { headers: { "content-type": "application/json" } });
}

async function struck(
  effect: FaultEffect,
  { call, target, parts }: { call: Call; target: Target | undefined; parts: ServerParts },
): Promise<Response> {
  switch (effect.kind) {
    case "status": {
      const { status, retryAfterSeconds: seconds } = effect;
      const details = seconds === undefined ? {} : { retryAfterSeconds: seconds };
      const body = effect.body ??
        new StatusError(status, REASONS[status] ?? "", "an error was injected", details).body();
      return Response.json(body, {
        status,
        headers: seconds === undefined ? {} : { "retry-after": String(seconds) },
      });
    }
    case "deny":
      throw denial(call, target);
    case "error":
      return Response.json(effect.status ?? {}, { status: Number(effect.status?.code ?? 500) });
    case "gone":
      throw expired("The resourceVersion for the provided list is too old.");
    case "garbled":
      return new Response('{"kind":"', { headers: { "content-type": "application/json" } });
    case "hang":
    case "silent":
      await new Promise<void>((resolve) =>
        parts.signal.addEventListener("abort", () => resolve(), { once: true })
      );
  }
  return brokenOff();
}

function denial({ verb }: Call, target: Target | undefined): StatusError {
  const { resource, namespace, name } = target ?? {};
  const what = { group: resource?.group ?? "", kind: resource?.plural ?? "path", ...(name ? { name } : {}) };
  const where = namespace ? `in the namespace "${namespace}"` : "at the cluster scope";
  return forbidden(
    what,
    `User "${USER}" cannot ${verb} resource "${what.kind}" in API group "${what.group}" ${where}`,
  );
}

function brokenOff(): Response {
  // Fewer bytes than announced: the connection closes in the middle of the answer.
  const nothing = new ReadableStream({ start: (controller) => controller.close() });
  return new Response(nothing, { headers: { "content-length": "1" } });
}

function failure(error: unknown): Response {
  if (error instanceof StatusError) return Response.json(error.body(), { status: error.code });
  const status = new StatusError(500, "InternalError", `Internal error occurred: ${error}`);
  return Response.json(status.body(), { status: 500 });
}

async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
