import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import type { Cluster } from "./cluster.ts";
import { discovery } from "./discovery.ts";
import { badRequest, failure, StatusError } from "./errors.ts";
import type { Call, FaultEffect, Faults, RequestLog } from "./faults.ts";
import { named, parse, type Target } from "./objects.ts";
import { resourceName } from "./resources.ts";
import { at } from "./selectors.ts";
import { table } from "./table.ts";
import { type ResourceRequest, VERBS } from "./verbs.ts";
import { ConnectionReset, idle, watch } from "./watch.ts";

/** What requests are answered from. */
export interface Serving {
  readonly cluster: Cluster;
  readonly faults: Faults;
  readonly requests: RequestLog;
  readonly bookmarkMs: number;
  /** Aborted when the server stops: hung requests and watches end. */
  readonly signal: AbortSignal;
}

interface Asked extends Serving {
  readonly request: Request;
  readonly url: URL;
  readonly call: Call;
  readonly target: Target | undefined;
}

const MAX_BODY_BYTES = 3 * 1024 * 1024;
const USER = "devcluster-admin";
const VERSION = { major: "1", minor: "34", gitVersion: "v1.34.0-devcluster" };
const REASONS: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  429: "TooManyRequests",
  503: "ServiceUnavailable",
};

/** Answers one HTTP request. */
export async function serve(request: Request, serving: Serving): Promise<Response> {
  const url = new URL(request.url);
  const target = targetOf(url.pathname, serving.cluster);
  const call = {
    verb: verbOf(request.method, { target, url }),
    path: decodeURIComponent(url.pathname + url.search),
  };
  const asked: Asked = { ...serving, request, url, call, target };
  serving.requests.add(call);
  try {
    const effect = serving.faults.take(call);
    if (effect?.kind === "latency") await idle(effect.latencyMs, { signal: serving.signal, sources: [] });
    else if (effect?.kind === "reset" && effect.applied) {
      await answer(asked).then((response) => response.body?.cancel());
    }
    return effect && effect.kind !== "latency" ? await struck(effect, asked) : await answer(asked);
  } catch (error) {
    const status = error instanceof StatusError
      ? error
      : new StatusError(500, "InternalError", `Internal error occurred: ${error}`);
    return Response.json(status.body(), { status: status.code });
  }
}

/** What a path is about; undefined for what is no resource. */
function targetOf(path: string, { resources }: Cluster): Target | undefined {
  const [, , group = "", versionName, ...rest] = (path.startsWith("/api/") ? `/apis/${path.slice(4)}` : path)
    .split("/").map(decodeURIComponent);
  const inNamespace = rest[0] === "namespaces" && rest.length > 2 && !/^(status|finalize)$/.test(rest[2]!);
  const [plural = "", name, subresource, ...more] = inNamespace ? rest.slice(2) : rest;
  const resource = resources.get(resourceName({ group, plural }));
  const version = resource?.versions.find((each) => each.name === versionName);
  if (!resource || !version || more.length > 0 || (!resource.namespaced && inNamespace)) return undefined;
  if (resource.namespaced && !inNamespace && name !== undefined) return undefined;
  if (subresource !== undefined && (subresource !== "status" || !version.hasStatus)) return undefined;
  const place = inNamespace ? { namespace: rest[1]! } : {};
  return { resource, version, ...place, ...(name ? { name } : {}), ...(subresource ? { subresource } : {}) };
}

function verbOf(method: string, { target, url }: { target: Target | undefined; url: URL }): string {
  if (!target) return method.toLowerCase();
  const isOne = target.name !== undefined;
  const many = /^(true|1)$/.test(url.searchParams.get("watch") ?? "") ? "watch" : "list";
  const verbs: Readonly<Record<string, [one: string, all: string]>> = {
    GET: ["get", many],
    DELETE: ["delete", "deletecollection"],
    POST: ["", "create"],
    PUT: ["update", ""],
    PATCH: ["patch", ""],
  };
  return verbs[method]?.[isOne ? 0 : 1] ?? "";
}

async function answer(asked: Asked): Promise<Response> {
  const { request, url, call, target, cluster } = asked;
  const body = await readBody(request);
  if (!target) return await answerPath(asked, body);
  const accept = request.headers.get("accept") || "*/*";
  if (!/application\/(json|\*)|\*\/\*/.test(accept)) {
    throw new StatusError(406, "NotAcceptable", "406: Not Acceptable, available: application/json", {});
  }
  const query = url.searchParams;
  const contentType = (request.headers.get("content-type") ?? "").split(";")[0]!.trim();
  const about: ResourceRequest = { cluster, target, query, contentType, body };
  const printing = { version: target.version, whole: query.get("includeObject") === "Object" };
  const asTable = /as=Table/.test(accept);
  if (call.verb === "watch") {
    let headless = false;
    return streamed(about, asked, (object) => {
      const rows = asTable ? table([JSON.parse(object)], { ...printing, headless }) : object;
      headless = true;
      return rows;
    });
  }
  const verb = VERBS[call.verb];
  if (!verb || (target.subresource && !["get", "update", "patch"].includes(call.verb))) {
    throw new StatusError(
      405,
      "MethodNotAllowed",
      "the server does not allow this method on the requested resource",
      {},
    );
  }
  const { code, items, list } = verb(about);
  const whole = list ? `${JSON.stringify(list).slice(0, -1)},"items":[${items.join(",")}]}` : items.join();
  const text = asTable
    ? table(items.map((item): JsonObject => JSON.parse(item)), { ...printing, metadata: list?.metadata })
    : whole;
  return new Response(text, { status: code, headers: { "content-type": "application/json" } });
}

async function readBody(request: Request): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if ((bytes += chunk.length) <= MAX_BODY_BYTES) continue;
    throw new StatusError(
      413,
      "RequestEntityTooLarge",
      `Request entity too large: limit is ${MAX_BODY_BYTES}`,
      {},
    );
  }
  return text + decoder.decode();
}

function answerPath(
  { request, url: { pathname: path, host }, cluster, faults }: Asked,
  body: string,
): Response {
  if (/^\/(readyz|livez|healthz)/.test(path)) return new Response("ok");
  if (path === "/version") return Response.json(VERSION);
  if (/^\/apis\/auth\w+\.k8s\.io\/v1\/selfsubject\w+$/.test(path) && request.method === "POST") {
    return Response.json(review(parse(body, "cannot read the review: "), { faults, cluster }), {
      status: 201,
    });
  }
  // An empty document is a valid one; kubectl reads this only as protobuf.
  if (path === "/openapi/v2" && request.headers.get("accept")?.includes("proto-openapi")) {
    return new Response(new Uint8Array());
  }
  const found = discovery(path, { resources: [...cluster.resources.values()], host });
  if (found) return Response.json(found);
  if (path.startsWith("/api/v1/")) {
    throw new StatusError(404, "NotFound", "the server could not find the requested resource", {});
  }
  return new Response("404 page not found\n", { status: 404 });
}

function review(asked: Json, { faults, cluster }: { faults: Faults; cluster: Cluster }): JsonObject {
  if (!isObject(asked)) throw badRequest("a review is an object");
  if (asked.kind === "SelfSubjectReview") {
    return { ...asked, status: { userInfo: { username: USER, groups: ["system:masters"] } } };
  }
  const { group = "", resource = "", subresource, namespace, name, verb, version }: Record<string, string> =
    JSON.parse(JSON.stringify(at(asked, ["spec", "resourceAttributes"]) ?? {}));
  const served = version ??
    cluster.resources.get(resourceName({ group, plural: resource }))?.versions[0]?.name ?? "v1";
  const place = [
    group ? `apis/${group}` : "api",
    served,
    namespace && `namespaces/${namespace}`,
    resource,
    name,
    subresource,
  ];
  const denied = faults.denies({ verb: verb ?? "", path: `/${place.filter(Boolean).join("/")}` });
  return { ...asked, status: { allowed: !denied } };
}

function streamed(
  about: ResourceRequest,
  { signal, ...asked }: Asked,
  present: (object: string) => string,
): Response {
  const gone = new AbortController();
  const frames = watch(about, { ...asked, present, signal: AbortSignal.any([signal, gone.signal]) });
  const body = new ReadableStream<string>({
    async pull(controller) {
      try {
        const { value, done } = await frames.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        // Deno prints what a body fails with, so this is one plain line.
        controller.error(
          error instanceof ConnectionReset ? "devcluster: a watch was broken off by a fault" : error,
        );
      }
    },
    cancel: () => gone.abort(),
  });
  return new Response(body.pipeThrough(new TextEncoderStream()), {
    headers: { "content-type": "application/json" },
  });
}

async function struck(effect: FaultEffect, { call: { verb }, target, signal }: Asked): Promise<Response> {
  switch (effect.kind) {
    case "status": {
      const { status, body, retryAfterSeconds: seconds } = effect;
      const made = new StatusError(
        status,
        REASONS[status] ?? "InternalError",
        "an error was injected",
        seconds ? { retryAfterSeconds: seconds } : {},
      );
      return Response.json(body ?? made.body(), {
        status,
        headers: seconds === undefined ? {} : { "retry-after": String(seconds) },
      });
    }
    case "error":
      return Response.json(effect.status ?? {}, { status: Number(effect.status?.code ?? 500) });
    case "gone":
      throw new StatusError(410, "Expired", "The resourceVersion for the provided list is too old.");
    case "deny": {
      const { group, kind, ...name } = target ? named(target) : { group: "", kind: "path" };
      const where = target?.namespace ? `in the namespace "${target.namespace}"` : "at the cluster scope";
      throw failure("Forbidden", { group, kind, ...name }, {
        why: `User "${USER}" cannot ${verb} resource "${kind}" in API group "${group}" ${where}`,
      });
    }
    case "garbled":
      return new Response('{"kind":"', { headers: { "content-type": "application/json" } });
    case "hang":
    case "silent":
      await idle(undefined, { signal, sources: [] });
  }
  // Fewer bytes than announced: the connection closes in the middle of the answer.
  const nothing = new ReadableStream({ start: (controller) => controller.close() });
  return new Response(nothing, { headers: { "content-length": "1" } });
}
