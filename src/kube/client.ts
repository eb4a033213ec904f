/** `KubeApi` over HTTP: reads and watches by HTTP/2, requests with a body by HTTP/1.1. */
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import {
  ApiError,
  type DeleteOptions,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ListOptions,
  NetworkError,
  type ResourceType,
  type WatchFrame,
  type WatchRequestOptions,
  type WriteOptions,
} from "./api.ts";
import { readLines } from "./body.ts";
import type { Connection } from "./auth/connection.ts";
import { createWire, open, parseObject, type Request, request, type Wire } from "./exchange.ts";
import { createLanes } from "./lanes.ts";
import { listQuery, resourceName, resourcePath, watchQuery, writeQuery } from "./paths.ts";

export interface KubeClientOptions extends Partial<Omit<Wire, "connection" | "lanes">> {
  /** The longest line of a watch. */
  readonly maxLineBytes?: number;
  /** The environment names a proxy (`HTTPS_PROXY` and its like). */
  readonly environmentProxy?: boolean;
  /** Who we are in `managedFields`. */
  readonly fieldManager?: string;
  /** Requests on our own custom resources are counted here. */
  readonly metrics?: Pick<Metrics, "crdOperations" | "crdOperationDuration">;
}

/** A `KubeApi` that holds sockets. */
export interface KubeClient extends KubeApi, Disposable {
  /** No more requests. What is in flight goes on: abort its signal. */
  close(): void;
}

const OUR_GROUP = "zen.kube-zen.io";

/** Talks to the cluster of `connection`. One request, one answer; a 401 alone is tried twice, with fresh credentials. */
export function createKubeClient(connection: Connection, options: KubeClientOptions = {}): KubeClient {
  const {
    maxLineBytes = 4 * 1024 * 1024,
    fieldManager = "zen-watcher",
    environmentProxy = false,
    metrics,
    ...rest
  } = options;
  const lanes = createLanes({ environmentProxy });
  const wire = createWire(connection, lanes, rest);
  const measured = <T>(type: ResourceType, operation: string, run: () => Promise<T>) =>
    metrics && type.group === OUR_GROUP ? measure(metrics, { operation, clock: wire.clock, run }) : run();

  const write = async <T extends KubeObject>(
    type: ResourceType,
    operation: "create" | "update" | "patch",
    options: WriteOptions,
    parts: Pick<Request, "method" | "path" | "contentType" | "doing"> & { readonly body: Json },
  ): Promise<T> =>
    await measured(type, operation, () => {
      const query = writeQuery(options, fieldManager);
      return object<T>(wire, { ...parts, query, signal: options.signal });
    });

  return {
    list: (type, options = {}) => measured(type, "list", () => list(wire, type, options)),

    get: (type, name, options = {}) =>
      measured(type, "get", () => {
        const path = resourcePath(type, { namespace: options.namespace, name });
        const doing = `get ${named(type, options.namespace, name)}`;
        return object(wire, { method: "GET", path, signal: options.signal, doing });
      }),

    create(type, body, options = {}) {
      const namespace = options.namespace ?? body.metadata.namespace;
      const path = resourcePath(type, {
        namespace,
        ...(options.subresource ? subresource(body, options) : {}),
      });
      const doing = `create ${named(type, namespace, body.metadata.name)}`;
      return write(type, "create", options, { method: "POST", path, body: body as JsonObject, doing });
    },

    replace(type, body, options = {}) {
      const namespace = options.namespace ?? body.metadata.namespace;
      const path = resourcePath(type, { namespace, ...subresource(body, options) });
      const doing = `replace ${named(type, namespace, body.metadata.name)}`;
      return write(type, "update", options, { method: "PUT", path, body: body as JsonObject, doing });
    },

    patch(type, name, patch, options) {
      const path = resourcePath(type, { ...options, name });
      const contentType = `application/${options.type === "merge" ? "merge-patch" : "json-patch"}+json`;
      const doing = `patch ${named(type, options.namespace, name)}`;
      return write(type, "patch", options, { method: "PATCH", path, body: patch, contentType, doing });
    },

    delete: (type, name, options = {}) =>
      measured(type, "delete", () => remove(wire, type, { ...options, name })),

    watch: (type, options = {}) => {
      const opened = (run: () => ReturnType<typeof open>) => measured(type, "watch", run);
      return watch(wire, type, { ...options, maxLineBytes, opened });
    },

    async getPath(path, options = {}) {
      const doing = `get "${path}"`;
      const { signal, accept } = options;
      const sent = {
        method: "GET" as const,
        path,
        signal,
        doing,
        ...(accept === undefined ? {} : { accept }),
      };
      const { text } = await request(wire, sent);
      return text.trimStart().startsWith("{") ? parseObject(text, doing) : { text };
    },

    close: lanes.close,
    [Symbol.dispose]: lanes.close,
  };
}

async function list<T extends KubeObject>(
  wire: Wire,
  type: ResourceType,
  options: ListOptions,
): Promise<KubeList<T>> {
  const doing = `list ${named(type, options.namespace)}`;
  const path = resourcePath(type, { namespace: options.namespace });
  const parsed = await object<KubeObject>(wire, {
    method: "GET",
    path,
    query: listQuery(options),
    signal: options.signal,
    doing,
  });
  // Go writes an empty list as null.
  const items: unknown = parsed["items"] ?? [];
  if (Array.isArray(items) && items.every((item): item is T => isKubeObject<T>(item))) {
    return { metadata: parsed.metadata as KubeList["metadata"], items };
  }
  throw new NetworkError(`Cannot ${doing}: the answer is no list of objects`, { fault: "garbled" });
}

async function remove(
  wire: Wire,
  type: ResourceType,
  { name, namespace, preconditions, signal }: DeleteOptions & { readonly name: string },
): Promise<void> {
  const path = resourcePath(type, { namespace, name });
  const body = { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background" };
  const doing = `delete ${named(type, namespace, name)}`;
  await request(wire, {
    method: "DELETE",
    path,
    body: preconditions ? { ...body, preconditions: { ...preconditions } } : body,
    signal,
    doing,
  });
}

async function* watch<T extends KubeObject>(
  wire: Wire,
  type: ResourceType,
  options: WatchRequestOptions & {
    readonly maxLineBytes: number;
    readonly opened: (run: () => ReturnType<typeof open>) => ReturnType<typeof open>;
  },
): AsyncGenerator<WatchFrame<T>> {
  const { signal, namespace } = options;
  const doing = `watch ${named(type, namespace)}`;
  const path = resourcePath(type, { namespace });
  const query = watchQuery(options);
  using exchange = await options.opened(() =>
    open(wire, { method: "GET", path, query, signal, doing }, { watch: true })
  );
  // The deadline was for the answer to begin. A stream that falls silent is the watcher's business.
  exchange.limit.clear();
  try {
    options.onOpen?.();
    if (exchange.answer.stream === null) return;
    for await (const line of readLines(exchange.answer.stream, options.maxLineBytes)) {
      yield toFrame<T>(parseObject(line, doing), doing);
    }
  } catch (error) {
    throw exchange.failure(error);
  } finally {
    exchange.limit.abort(new DOMException("The watch was left", "AbortError"));
  }
}

function toFrame<T extends KubeObject>(value: JsonObject, doing: string): WatchFrame<T> {
  if (isFrame<T>(value)) return value;
  throw new NetworkError(`Cannot ${doing}: a line is no watch event`, { fault: "garbled" });
}

/** The API server is trusted for the type of what it stores; consumers parse what was put into it. */
function isFrame<T extends KubeObject>(value: unknown): value is WatchFrame<T> {
  return isObject(value) && FRAME_TYPES.has(value["type"]) &&
    (value["type"] === "ERROR" ? isObject(value["object"]) : isKubeObject(value["object"]));
}

function isKubeObject<T extends KubeObject>(value: unknown): value is T {
  return isObject(value) && isObject(value["metadata"]);
}

const FRAME_TYPES: ReadonlySet<unknown> = new Set(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

async function object<T extends KubeObject>(wire: Wire, sent: Request): Promise<T> {
  const { text } = await request(wire, sent);
  const value = parseObject(text, sent.doing);
  value["metadata"] ??= {};
  if (isKubeObject<T>(value)) return value;
  throw new NetworkError(`Cannot ${sent.doing}: the answer is no object`, { fault: "garbled" });
}

function subresource(body: KubeObject, options: WriteOptions) {
  return {
    name: body.metadata.name ?? "",
    ...(options.subresource ? { subresource: options.subresource } : {}),
  };
}

function named(type: ResourceType, namespace?: string, name?: string): string {
  const place = [namespace, name].filter((part) => part !== undefined && part !== "").join("/");
  return place === "" ? resourceName(type) : `${resourceName(type)} "${place}"`;
}

async function measure<T>(
  metrics: Pick<Metrics, "crdOperations" | "crdOperationDuration">,
  { operation, clock, run }: { operation: string; clock: Wire["clock"]; run: () => Promise<T> },
): Promise<T> {
  const began = clock.monotonic();
  let status = "success";
  try {
    return await run();
  } catch (error) {
    status = error instanceof ApiError ? String(error.status) : "no_answer";
    throw error;
  } finally {
    metrics.crdOperations.inc({ operation, status });
    metrics.crdOperationDuration.observe({ operation }, (clock.monotonic() - began) / 1_000);
  }
}
