/** `KubeApi` over Deno's fetch: requests by HTTP/1.1, watches by HTTP/2. */
import { type Clock, systemClock } from "../model/time.ts";
import { errorMessage } from "../model/error_message.ts";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import {
  ApiError,
  chunksOf,
  type Connection,
  type Deadline,
  deadline,
  type DeleteOptions,
  type Endpoint,
  garbled,
  isKubeObject,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ListOptions,
  listQuery,
  NetworkError,
  readLines,
  readText,
  resourceName,
  resourcePath,
  type ResourceType,
  type StatusBody,
  type WatchFrame,
  watchQuery,
  type WatchRequestOptions,
  type WriteOptions,
  writeQuery,
} from "./api.ts";
import { type ListBytes, readPage } from "./list_items.ts";

/** How a client talks, and what it counts. */
export interface KubeClientOptions {
  readonly userAgent?: string;
  /** The `fieldManager` of every write. */
  readonly fieldManager?: string;
  /** The longest time from sending a request to the end of its answer, or to the begin of a watch. */
  readonly requestDeadlineMs?: number;
  /** The longest body of an answer. */
  readonly maxBodyBytes?: number;
  /** The longest line of a watch. */
  readonly maxLineBytes?: number;
  /** How long an unused connection is kept. */
  readonly idleConnectionMs?: number;
  readonly clock?: Clock;
  /** Called with the Date header of each answer. */
  readonly onDate?: (date: string | null) => void;
  /** Called each time a connection fails: refused, reset, or ended within an answer. */
  readonly onLost?: () => void;
  /** Counts requests for our own custom resources. */
  readonly metrics?: Pick<Metrics, "crdOperations" | "crdOperationDuration">;
}

/** A `KubeApi` that holds connections. */
export interface KubeClient extends KubeApi, ListBytes, Disposable {
  /** Refuses further requests. Requests in flight continue; to end them, abort their signals. */
  close(): void;
}

const OUR_GROUP = "zen.kube-zen.io";
const MAX_ERROR_BYTES = 64 * 1024;

/** Talks to the cluster of `connection`. Sends each request once; after a 401 once more, with fresh credentials. */
export function createKubeClient(connection: Connection, options: KubeClientOptions = {}): KubeClient {
  const wire: Wire = {
    connection,
    pools: createPools(options.idleConnectionMs ?? 30_000),
    userAgent: options.userAgent ?? "zen-watcher",
    requestDeadlineMs: options.requestDeadlineMs ?? 30_000,
    maxBodyBytes: options.maxBodyBytes ?? 64 * 1024 * 1024,
    maxLineBytes: options.maxLineBytes ?? 4 * 1024 * 1024,
    clock: options.clock ?? systemClock,
    onDate: options.onDate ?? (() => {}),
    onLost: options.onLost ?? (() => {}),
  };
  const { fieldManager = "zen-watcher", metrics } = options;
  const measured = <T>(type: ResourceType, operation: string, run: () => Promise<T>) =>
    metrics && type.group === OUR_GROUP ? measure(metrics, { operation, clock: wire.clock, run }) : run();

  function write<T extends KubeObject>(
    type: ResourceType,
    operation: "create" | "update" | "patch",
    request: Request & WriteOptions,
  ): Promise<T> {
    const query = writeQuery(request, fieldManager);
    return measured(type, operation, () => requestObject<T>(wire, { ...request, query }));
  }

  return {
    list: (type, options = {}) => measured(type, "list", () => list(wire, type, options)),

    page: (type, options = {}) =>
      measured(type, "list", () =>
        readPage(listBytes(wire, type, { ...options, isReadAtOnce: true }), {
          doing: `list ${named(type, options.namespace)}`,
          maxBytes: Math.min(options.maxBytes ?? Infinity, wire.maxBodyBytes),
        })),

    listBytes: (type, options = {}) => listBytes(wire, type, options),

    get: (type, name, options = {}) =>
      measured(type, "get", () => {
        const path = resourcePath(type, { namespace: options.namespace, name });
        const doing = `get ${named(type, options.namespace, name)}`;
        return requestObject(wire, { method: "GET", path, signal: options.signal, doing });
      }),

    async create<T extends KubeObject>(type: ResourceType, body: T, options: WriteOptions = {}) {
      const namespace = options.namespace ?? body.metadata.namespace;
      const { name } = body.metadata;
      const { subresource } = options;
      const path = resourcePath(type, {
        namespace,
        ...(subresource ? { name: name ?? "", subresource } : {}),
      });
      const doing = `create ${named(type, namespace, name)}`;
      const request = { ...options, method: "POST" as const, path, body: body as JsonObject, doing };
      const answer = await write<T>(type, "create", request);
      if (name === undefined || answer.metadata.name === name) return answer;
      throw garbled(doing, `the answer is about "${answer.metadata.name ?? ""}"`);
    },

    replace(type, body, options = {}) {
      const { name = "" } = body.metadata;
      const namespace = options.namespace ?? body.metadata.namespace;
      const path = resourcePath(type, { ...options, namespace, name });
      const doing = `replace ${named(type, namespace, name)}`;
      return write(type, "update", { ...options, method: "PUT", path, body: body as JsonObject, doing });
    },

    patch(type, name, patch, options) {
      const path = resourcePath(type, { ...options, name });
      const contentType = `application/${options.type}-patch+json`;
      const doing = `patch ${named(type, options.namespace, name)}`;
      return write(type, "patch", { ...options, method: "PATCH", path, body: patch, contentType, doing });
    },

    delete: (type, name, options = {}) =>
      measured(type, "delete", () => remove(wire, type, { ...options, name })),

    watch: (type, options = {}) =>
      watch(wire, type, { ...options, opened: (run) => measured(type, "watch", run) }),

    async getPath(path, options = {}) {
      const doing = `get "${path}"`;
      const text = await requestText(wire, { ...options, method: "GET", path, doing });
      return text.trimStart().startsWith("{") ? parseObject(text, doing) : { text };
    },

    close: wire.pools.close,
    [Symbol.dispose]: wire.pools.close,
  };
}

/** The state that all requests of a client share. */
interface Wire {
  readonly onDate: (date: string | null) => void;
  readonly onLost: () => void;
  readonly connection: Connection;
  readonly pools: Pools;
  readonly userAgent: string;
  readonly requestDeadlineMs: number;
  readonly maxBodyBytes: number;
  readonly maxLineBytes: number;
  readonly clock: Clock;
}

interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: URLSearchParams;
  readonly body?: Json;
  /** JSON by default. */
  readonly contentType?: string;
  /** JSON by default. */
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  readonly isWatch?: boolean;
  /** For errors: `create observations "zen-system/a"`. */
  readonly doing: string;
}

/** An answer whose body is unread. The body must be read or cancelled before the exchange is disposed of. */
interface Exchange extends Disposable {
  readonly response: Response;
  readonly limit: Deadline;
  /** Turns an error of reading the body into an `ApiError`, a `NetworkError` or the caller's abort. */
  failure(error: unknown): unknown;
}

async function list<T extends KubeObject>(
  wire: Wire,
  type: ResourceType,
  options: ListOptions,
): Promise<KubeList<T>> {
  const doing = `list ${named(type, options.namespace)}`;
  const path = resourcePath(type, { namespace: options.namespace });
  const query = listQuery(options);
  const text = await requestText(wire, { method: "GET", path, query, signal: options.signal, doing });
  const answer = toObject(text, doing);
  // Go writes an empty list as null.
  const items: unknown = answer["items"] ?? [];
  if (!Array.isArray(items) || !items.every((item): item is T => isKubeObject<T>(item))) {
    throw garbled(doing, "the answer is no list of objects");
  }
  return { metadata: answer.metadata as KubeList["metadata"], items };
}

/**
 * The deadline bounds the wait for each piece, not the time that the caller takes for it; where the caller reads all at once,
 * the whole answer: one that comes byte by byte would be read for ever.
 */
async function* listBytes(
  wire: Wire,
  type: ResourceType,
  options: ListOptions & { readonly isReadAtOnce?: true },
): AsyncGenerator<Uint8Array> {
  const { signal, namespace, isReadAtOnce } = options;
  const doing = `list ${named(type, namespace)}`;
  const path = resourcePath(type, { namespace });
  using exchange = await open(wire, { method: "GET", path, query: listQuery(options), signal, doing });
  const { response: { body }, limit } = exchange;
  try {
    if (body === null) return;
    for await (const bytes of chunksOf(body)) {
      if (!isReadAtOnce) limit.clear();
      yield bytes;
      if (!isReadAtOnce) limit.restart();
    }
  } catch (error) {
    throw exchange.failure(error);
  } finally {
    limit.abort(new DOMException("The list was left", "AbortError"));
  }
}

async function remove(
  wire: Wire,
  type: ResourceType,
  { name, namespace, preconditions, signal }: DeleteOptions & { readonly name: string },
): Promise<void> {
  const body = {
    apiVersion: "v1",
    kind: "DeleteOptions",
    propagationPolicy: "Background",
    ...(preconditions ? { preconditions: { ...preconditions } } : {}),
  };
  const path = resourcePath(type, { namespace, name });
  await requestText(wire, {
    method: "DELETE",
    path,
    body,
    signal,
    doing: `delete ${named(type, namespace, name)}`,
  });
}

async function* watch<T extends KubeObject>(
  wire: Wire,
  type: ResourceType,
  options: WatchRequestOptions & { readonly opened: (run: () => Promise<Exchange>) => Promise<Exchange> },
): AsyncGenerator<WatchFrame<T>> {
  const { signal, namespace } = options;
  const doing = `watch ${named(type, namespace)}`;
  const path = resourcePath(type, { namespace });
  const query = watchQuery(options);
  using exchange = await options.opened(() =>
    open(wire, { method: "GET", path, query, signal, isWatch: true, doing })
  );
  const { response: { body }, limit } = exchange;
  // The deadline ends when the answer begins. The reader of the watch decides when a silent stream is dead.
  limit.clear();
  try {
    options.onOpen?.();
    if (body === null) return;
    for await (const line of readLines(body, wire.maxLineBytes)) {
      const frame = parseObject(line, doing);
      if (!isFrame<T>(frame)) throw garbled(doing, "a line is no watch event");
      yield frame;
    }
  } catch (error) {
    throw exchange.failure(error);
  } finally {
    limit.abort(new DOMException("The watch was left", "AbortError"));
  }
}

const FRAME_TYPES: ReadonlySet<unknown> = new Set(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

/** Checks only the envelope: the API server validates the objects that it stores, and consumers parse them. */
function isFrame<T extends KubeObject>(value: unknown): value is WatchFrame<T> {
  return isObject(value) && FRAME_TYPES.has(value["type"]) &&
    (value["type"] === "ERROR" ? isObject(value["object"]) : isKubeObject(value["object"]));
}

async function requestObject<T extends KubeObject>(wire: Wire, request: Request): Promise<T> {
  return toObject<T>(await requestText(wire, request), request.doing);
}

function toObject<T extends KubeObject>(text: string, doing: string): T {
  const value = parseObject(text, doing);
  value["metadata"] ??= {};
  if (isKubeObject<T>(value)) return value;
  throw garbled(doing, "the answer is no object");
}

/** Sends, and reads the text of a successful answer. */
async function requestText(wire: Wire, request: Request): Promise<string> {
  using exchange = await open(wire, request);
  try {
    return await readText(exchange.response, wire.maxBodyBytes);
  } catch (error) {
    throw exchange.failure(error);
  }
}

/** Sends a request. After a 401 reads the credentials again and sends it once more. Throws `ApiError` unless it succeeds. */
async function open(wire: Wire, request: Request): Promise<Exchange> {
  const first = await send(wire, request, { fresh: false });
  if (first.response.ok) return first;
  const error = await toApiError(wire, request, first);
  if (error.status !== 401) throw error;
  const second = await send(wire, request, { fresh: true });
  if (second.response.ok) return second;
  throw await toApiError(wire, request, second);
}

async function send(
  wire: Wire,
  request: Request,
  credentials: { readonly fresh: boolean },
): Promise<Exchange> {
  const { doing, method, signal, isWatch } = request;
  const { endpoint, pool } = await prepare(wire, request, credentials);
  const limit = deadline(wire.requestDeadlineMs, doing, signal);
  const dispose = () => {
    limit[Symbol.dispose]();
    if (isWatch) wire.pools.release(pool);
  };
  const failure = (error: unknown): unknown => {
    const reason = limit.signal.aborted ? limit.signal.reason : error;
    // A connection on which a request timed out may be half open: no other request should use it.
    if (reason instanceof NetworkError && reason.fault === "timeout") wire.pools.retire(pool);
    if (limit.signal.aborted || reason instanceof NetworkError) return reason;
    wire.onLost();
    // The message of fetch is "fetch failed"; its cause says why.
    const why = error instanceof TypeError && error.cause !== undefined ? error.cause : error;
    return new NetworkError(`Cannot ${doing}: ${errorMessage(why)}`, { cause: error });
  };
  try {
    const response = await fetch(urlOf(endpoint, request), {
      method,
      headers: headersOf(endpoint, request, wire.userAgent),
      body: request.body === undefined ? null : JSON.stringify(request.body),
      client: pool.client,
      signal: limit.signal,
      // A redirect would take the credentials to another host.
      redirect: "manual",
    });
    wire.onDate(response.headers.get("date"));
    return { response, limit, failure, [Symbol.dispose]: dispose };
  } catch (error) {
    const reason = failure(error);
    dispose();
    throw reason;
  }
}

/** The endpoint and a pool for it. Has no deadline, because an exec plugin may wait for a user's input. */
async function prepare(
  wire: Wire,
  { doing, signal, isWatch = false }: Request,
  credentials: { readonly fresh: boolean },
): Promise<{ readonly endpoint: Endpoint; readonly pool: Pool }> {
  signal?.throwIfAborted();
  try {
    const endpoint = await wire.connection.endpoint(credentials);
    signal?.throwIfAborted();
    return { endpoint, pool: wire.pools.take(endpoint, isWatch) };
  } catch (cause) {
    signal?.throwIfAborted();
    throw new NetworkError(`Cannot ${doing}: ${errorMessage(cause)}`, { cause });
  }
}

function urlOf(endpoint: Endpoint, { path, query }: Request): string {
  const search = query === undefined ? "" : `?${query}`;
  return `${endpoint.server.replace(/\/+$/, "")}${path}${search}`;
}

function headersOf(endpoint: Endpoint, request: Request, userAgent: string): [string, string][] {
  const headers = {
    ...endpoint.headers,
    accept: request.accept ?? "application/json",
    "user-agent": userAgent,
    ...(endpoint.authorization === undefined ? {} : { authorization: endpoint.authorization }),
    ...(request.body === undefined ? {} : { "content-type": request.contentType ?? "application/json" }),
  };
  return Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().map((each): [string, string] => [name, each])
  );
}

/** Reads and disposes of an answer with an error status. */
async function toApiError(wire: Wire, request: Request, refused: Exchange): Promise<ApiError> {
  using exchange = refused;
  const { status, headers } = exchange.response;
  let text = "";
  try {
    text = await readText(exchange.response, MAX_ERROR_BYTES);
  } catch (error) {
    const failure = exchange.failure(error);
    // The status is reported even if its body cannot be read, unless the caller aborted.
    if (!(failure instanceof NetworkError)) throw failure;
  }
  const body = toStatus(text);
  return new ApiError(request.doing, status, body, retryAfterMs(headers, body, wire.clock));
}

/** A `Status`; of a proxy's page, the beginning as its message. */
function toStatus(text: string): StatusBody {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // "404 page not found", or HTML.
  }
  const message = text.trim().slice(0, 300);
  return message === "" ? {} : { message };
}

/** The wait of the `Retry-After` header, in seconds or a date, or else of the Status. */
function retryAfterMs(headers: Headers, body: StatusBody, clock: Clock): number | undefined {
  const header = headers.get("retry-after")?.trim();
  if (header) {
    const seconds = Number(header);
    if (Number.isFinite(seconds)) return Math.max(0, seconds * 1_000);
    const date = Date.parse(header);
    if (!Number.isNaN(date)) return Math.max(0, date - clock.now());
  }
  const seconds = body.details?.retryAfterSeconds;
  return typeof seconds === "number" && seconds > 0 ? seconds * 1_000 : undefined;
}

function parseObject(text: string, doing: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw garbled(doing, "the answer is not JSON", cause);
  }
  if (isObject(value)) return value;
  throw garbled(doing, "the answer is not a JSON object");
}

function named(type: ResourceType, namespace?: string, name?: string): string {
  const place = [namespace, name].filter(Boolean).join("/");
  return place === "" ? resourceName(type) : `${resourceName(type)} "${place}"`;
}

async function measure<T>(
  metrics: Pick<Metrics, "crdOperations" | "crdOperationDuration">,
  { operation, clock, run }: { operation: string; clock: Clock; run: () => Promise<T> },
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

/** API servers allow 100 to 250 streams on an HTTP/2 connection; a watch beyond that would wait forever. */
const WATCHES_PER_POOL = 64;
/** Equal to the number of concurrent writes. */
const MAX_IDLE_CONNECTIONS = 32;

/** A TLS client with its connections. */
interface Pool {
  readonly client: Deno.HttpClient;
  watches: number;
}

/**
 * The connections to one endpoint. Requests have HTTP/1.1: over HTTP/2 Deno's fetch leaves Nagle's algorithm on
 * (denoland/deno#35581), and each body waits 40 ms. Watches have HTTP/2, many on a connection, and share none with
 * requests: streams that are not read fill the window of a connection and stop all others on it.
 */
interface Pools {
  /** A pool for the next request. That of a watch must be given back to `release`. */
  take(endpoint: Endpoint, isWatch: boolean): Pool;
  release(pool: Pool): void;
  /** Uses a pool for no further request. Requests in flight continue. */
  retire(pool: Pool): void;
  close(): void;
}

function createPools(idleConnectionMs: number): Pools {
  let requests: Pool | undefined;
  let watches: Pool[] = [];
  let identity: string | undefined;
  /** A connection returns the same object until it reads again, so most requests need no comparison of fields. */
  let last: Endpoint | undefined;

  let isClosed = false;

  const closeAll = () => {
    for (const { client } of [...(requests ? [requests] : []), ...watches]) client.close();
    requests = undefined;
    watches = [];
  };
  const retire = (pool: Pool) => {
    if (pool === requests) requests = undefined;
    else if (watches.includes(pool)) watches = watches.filter((other) => other !== pool);
    else return;
    pool.client.close();
  };
  const use = (endpoint: Endpoint) => {
    if (endpoint === last) return;
    checkHeaders(endpoint);
    const { server, caPem, certPem, keyPem, proxyUrl } = endpoint;
    const wanted = JSON.stringify([server, caPem, certPem, keyPem, proxyUrl]);
    if (wanted !== identity) closeAll();
    identity = wanted;
    last = endpoint;
  };

  return {
    take(endpoint, isWatch) {
      if (isClosed) throw new Error("the client is closed");
      use(endpoint);
      if (!isWatch) {
        return requests ??= openPool(endpoint, {
          http2: false,
          poolMaxIdlePerHost: MAX_IDLE_CONNECTIONS,
          poolIdleTimeout: idleConnectionMs,
        });
      }
      let pool = watches.find((pool) => pool.watches < WATCHES_PER_POOL);
      // A connection without watches is closed by release(), so the runtime needs no idle time-out.
      if (!pool) watches.push(pool = openPool(endpoint, { http2: true, poolIdleTimeout: false }));
      pool.watches++;
      return pool;
    },
    release(pool) {
      if (--pool.watches === 0) retire(pool);
    },
    retire,
    close() {
      isClosed = true;
      closeAll();
    },
  };
}

/**
 * `caCerts` adds to the runtime's default roots. To trust only the cluster's CA, the environment must have
 * DENO_TLS_CA_STORE=system, SSL_CERT_FILE with an empty file and an empty SSL_CERT_DIR. The image and the start task set
 * them, because the runtime reads them before this code runs.
 */
function openPool(
  { caPem, certPem, keyPem, proxyUrl }: Endpoint,
  options: Deno.CreateHttpClientOptions,
): Pool {
  // The runtime ignores a text that is not a certificate, and would then trust only its default roots.
  if (caPem !== undefined && !caPem.includes("-----BEGIN CERTIFICATE-----")) {
    throw new TypeError("the certificate authority of the cluster holds no PEM certificate");
  }
  const all: Deno.CreateHttpClientOptions = {
    ...options,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
    ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
  };
  const isNamed = certPem !== undefined && keyPem !== undefined;
  const client = Deno.createHttpClient(isNamed ? { ...all, cert: certPem, key: keyPem } : all);
  return { client, watches: 0 };
}

/** fetch refuses such a header too, but its message shows the value: a token would be in the log. */
function checkHeaders({ authorization = "", headers = {} }: Endpoint): void {
  for (const [name, value] of Object.entries({ authorization, ...headers })) {
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      throw new TypeError(`the header "${name}" has a character in it that HTTP does not allow`);
    }
  }
}
