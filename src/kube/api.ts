/**
 * The interface to the API server: its address and credentials (those of a Pod are read here, without any library), requests,
 * answers of limited size, and errors. The rest of the program uses only `KubeApi`.
 */
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import { ANNOTATIONS, type ObservationMeta } from "../model/observation.ts";
import { type Clock, systemClock } from "../model/time.ts";
import { errorMessage } from "../model/error_message.ts";

/** A served resource. `plural` as in the URL; `namespaced` false for cluster-scoped ones. */
export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** `metadata` as far as the program reads it. */
export interface ObjectMeta extends ObservationMeta {
  readonly ownerReferences?: readonly OwnerReference[];
}

/** The object that owns another one, as its Deployment owns a ReplicaSet. */
export interface OwnerReference {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly uid?: string;
  readonly controller?: boolean;
}

/** Any Kubernetes object. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/** True for an object with `metadata`. The API server validates what it stores; consumers parse the rest. */
export function isKubeObject<T extends KubeObject>(value: unknown): value is T {
  return isObject(value) && isObject(value["metadata"]);
}

/** One page of a list. `metadata.continue` leads to the next one. */
export interface KubeList<T extends KubeObject = KubeObject> {
  readonly metadata: {
    readonly resourceVersion?: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
  readonly items: readonly T[];
}

/** A page of a list whose items are parsed one after the other, as they are read; they can be read once. */
export interface KubePage<T extends KubeObject = KubeObject> {
  readonly metadata: KubeList["metadata"];
  readonly items: Iterable<T> & { readonly length: number };
  /** The length of the answer, where it is known. */
  readonly bytes?: number;
}

/** One line of a watch. */
export type WatchFrame<T extends KubeObject = KubeObject> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  | { readonly type: "BOOKMARK"; readonly object: KubeObject }
  | { readonly type: "ERROR"; readonly object: StatusBody };

/** `v1 Status`. */
export interface StatusBody {
  readonly kind?: string;
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: {
    readonly name?: string;
    readonly kind?: string;
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly {
      readonly reason?: string;
      readonly message?: string;
      readonly field?: string;
    }[];
  };
}

export interface RequestOptions {
  /** "" or absent: all namespaces (list, watch) or cluster scope. */
  readonly namespace?: string;
  readonly signal?: AbortSignal;
}

export interface ListOptions extends RequestOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: "NotOlderThan" | "Exact";
}

/** How to read a page. */
export interface ListPageOptions extends ListOptions {
  /** Refuses a longer answer: `NetworkError` `too_large`. */
  readonly maxBytes?: number;
}

export interface WatchRequestOptions extends RequestOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion?: string;
  readonly timeoutSeconds?: number;
  readonly allowWatchBookmarks?: boolean;
  /** Called once the server has accepted the watch, before the first frame. */
  readonly onOpen?: () => void;
}

export interface WriteOptions extends RequestOptions {
  readonly subresource?: "status";
  readonly dryRun?: boolean;
}

export interface PatchOptions extends WriteOptions {
  readonly type: "merge" | "json";
}

export interface DeleteOptions extends RequestOptions {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

export interface PathOptions {
  readonly signal?: AbortSignal;
  /** Media types in place of JSON alone. */
  readonly accept?: string;
}

/** One request, one answer: no retries here (see `retry.ts`). Every method throws `ApiError`, `NetworkError`, or the reason of its aborted signal. */
export interface KubeApi {
  list<T extends KubeObject>(type: ResourceType, options?: ListOptions): Promise<KubeList<T>>;
  /** The same, for objects of any size: a page of empty values is twenty times as large once it is parsed. */
  page<T extends KubeObject>(type: ResourceType, options?: ListPageOptions): Promise<KubePage<T>>;
  get<T extends KubeObject>(type: ResourceType, name: string, options?: RequestOptions): Promise<T>;
  create<T extends KubeObject>(type: ResourceType, object: T, options?: WriteOptions): Promise<T>;
  replace<T extends KubeObject>(type: ResourceType, object: T, options?: WriteOptions): Promise<T>;
  patch<T extends KubeObject>(
    type: ResourceType,
    name: string,
    patch: Json,
    options: PatchOptions,
  ): Promise<T>;
  delete(type: ResourceType, name: string, options?: DeleteOptions): Promise<void>;
  watch<T extends KubeObject>(
    type: ResourceType,
    options?: WatchRequestOptions,
  ): AsyncIterable<WatchFrame<T>>;
  /** GET of any path (discovery, /version, /readyz), parsed as JSON where it is JSON, else `{text}`. */
  getPath(path: string, options?: PathOptions): Promise<JsonObject>;
}

/** The API server answered, and the answer is an error: its Status, and how long it asks to wait. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly reason: string;
  readonly body: StatusBody;
  readonly retryAfterMs: number | undefined;

  constructor(doing: string, status: number, body: StatusBody, retryAfterMs?: number) {
    super(
      `Cannot ${doing}: ${body.message ?? body.reason ?? "no message"} (HTTP ${status}${
        body.reason ? ` ${body.reason}` : ""
      })`,
    );
    this.status = status;
    this.reason = body.reason ?? "";
    this.body = body;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Why there is no usable answer: none came (`unreachable`, `timeout`), or it cannot be read (`garbled`, `too_large`).
 * A retry does not help against `too_large`; the others may pass.
 */
export type NetworkFault = "unreachable" | "timeout" | "garbled" | "too_large";

/** No answer came: refused, reset, timed out, garbled. The request may have been applied. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
  readonly fault: NetworkFault;

  constructor(message: string, options: { readonly cause?: unknown; readonly fault?: NetworkFault } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.fault = options.fault ?? "unreachable";
  }
}

/** The error of an answer that cannot be read. `doing` as in "list pods". */
export function garbled(doing: string, why: string, cause?: unknown): NetworkError {
  return new NetworkError(`Cannot ${doing}: ${why}`, { cause, fault: "garbled" });
}

/** True for an `ApiError` with this HTTP status. */
export function hasStatus(error: unknown, status: number): error is ApiError {
  return error instanceof ApiError && error.status === status;
}

/** `/api/v1` or `/apis/<group>/<version>`. */
export function groupPath({ group, version }: Pick<ResourceType, "group" | "version">): string {
  return group === "" ? `/api/${segment(version)}` : `/apis/${segment(group)}/${segment(version)}`;
}

/** Path of a collection, or of one object and subresource in it. No namespace: all of them, or cluster scope. */
export function resourcePath(
  type: ResourceType,
  at: { readonly namespace?: string | undefined; readonly name?: string; readonly subresource?: string } = {},
): string {
  const parts = [groupPath(type)];
  if (type.namespaced && at.namespace) parts.push("namespaces", segment(at.namespace));
  parts.push(segment(type.plural));
  if (at.name !== undefined) parts.push(segment(at.name));
  if (at.subresource) parts.push(segment(at.subresource));
  return parts.join("/");
}

/** A segment of a path. Throws for `.` and `..`, which a URL leaves out with the segment before: another path would be asked. */
function segment(word: string): string {
  if (word === "." || word === "..") {
    throw new Error(`Cannot make a path of "${word}": nothing has this name`);
  }
  return encodeURIComponent(word);
}

/** `vulnerabilityreports.aquasecurity.github.io`, `pods`. */
export function resourceName({ plural, group }: Pick<ResourceType, "plural" | "group">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** `namespace/name`; of a cluster-scoped object `/name`. */
export function namespacedName(
  { metadata: { namespace = "", name = "" } }: Pick<KubeObject, "metadata">,
): string {
  return `${namespace}/${name}`;
}

/** Sorts objects from the oldest to the youngest; those of one second by name. */
export function ageKey(
  { metadata: { creationTimestamp = "", name = "" } }: Pick<KubeObject, "metadata">,
): string {
  return `${creationTimestamp} ${name}`;
}

/** Every object of a list that is read by pages. `readPage` gets what each request adds to the list's own options. */
export async function* listedObjects<T extends KubeObject>(
  readPage: (page: Pick<ListOptions, "continue">) => Promise<KubeList<T>>,
): AsyncGenerator<T> {
  let next: string | undefined;
  do {
    const { items, metadata } = await readPage(next ? { continue: next } : {});
    yield* items;
    next = metadata.continue;
  } while (next);
}

/** Query of a list. */
export function listQuery(options: ListOptions): URLSearchParams {
  return query({
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    limit: options.limit,
    continue: options.continue,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
  });
}

/** Query of a watch. */
export function watchQuery(options: WatchRequestOptions): URLSearchParams {
  return query({
    watch: "true",
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    resourceVersion: options.resourceVersion,
    timeoutSeconds: options.timeoutSeconds,
    allowWatchBookmarks: options.allowWatchBookmarks,
  });
}

/** Query of a write; `fieldManager` names us in managedFields. */
export function writeQuery(options: WriteOptions, fieldManager: string): URLSearchParams {
  return query({ fieldManager, dryRun: options.dryRun ? "All" : undefined });
}

function query(fields: Record<string, string | number | boolean | undefined>): URLSearchParams {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "") params.set(key, String(value));
  }
  return params;
}

/** The text of a body of at most `maxBytes`. Throws `NetworkError` `too_large`; the body is then cancelled. */
export async function readText(response: Response, maxBytes: number): Promise<string> {
  const length = Number(response.headers.get("content-length") ?? NaN);
  // A body with a small Content-Length needs no counting. Of a compressed body, that is not the length of the text.
  if (length <= maxBytes && !response.headers.has("content-encoding")) return await response.text();
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(response.body)) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw bodyTooLarge(maxBytes);
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  parts.push(decoder.decode());
  return parts.join("");
}

/** The non-empty lines of `body`, the last one too where it has no newline. Leaving the loop cancels the body. */
export async function* readLines(
  body: ReadableStream<Uint8Array>,
  maxLineBytes: number,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  // Pieces of the incomplete line. They are joined once, so that a long line does not take quadratic time.
  let pieces: string[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(body)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      bytes += end - start;
      if (bytes > maxLineBytes) throw tooLarge(`a line is over ${maxLineBytes} bytes`);
      pieces.push(decoder.decode(chunk.subarray(start, end)));
      const line = pieces.length === 1 ? pieces[0]! : pieces.join("");
      pieces = [];
      bytes = 0;
      start = end + 1;
      if (line.trim() !== "") yield line;
    }
    bytes += chunk.byteLength - start;
    if (bytes > maxLineBytes) throw tooLarge(`a line is over ${maxLineBytes} bytes`);
    if (start < chunk.byteLength) pieces.push(decoder.decode(chunk.subarray(start), { stream: true }));
  }
  pieces.push(decoder.decode());
  const rest = pieces.join("");
  if (rest.trim() !== "") yield rest;
}

const NEWLINE = 0x0a;
const FIRST_READ_BYTES = 8 * 1024;
const MAX_READ_BYTES = 256 * 1024;

/**
 * The chunks of a body, each valid until the next one is read. A default reader allocates 64 KiB for each chunk, even for
 * a few bytes: that was more garbage than everything else together. If the stream allows it, one buffer is used instead,
 * which grows while answers fill it.
 */
export async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = byteReader(body);
  if (!reader) {
    yield* body;
    return;
  }
  try {
    for (let buffer = new ArrayBuffer(FIRST_READ_BYTES);;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return;
      yield value;
      const full = value.byteLength === value.buffer.byteLength && value.byteLength < MAX_READ_BYTES;
      buffer = full ? new ArrayBuffer(value.byteLength * 2) : value.buffer;
    }
  } finally {
    await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** Undefined for a stream that does not read into a buffer it is given. */
function byteReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return undefined;
  }
}

/** The error of an answer that is longer than may be. */
export function bodyTooLarge(maxBytes: number): NetworkError {
  return tooLarge(`its body is over ${maxBytes} bytes`);
}

function tooLarge(why: string): NetworkError {
  return new NetworkError(`Cannot read the answer: ${why}`, { fault: "too_large" });
}

/** The object of a request. With `eventId`, only the object that this create has sent. */
interface Asked {
  readonly namespace: string;
  readonly name: string;
  readonly eventId?: string;
}

/**
 * Returns the answer if it is about the requested object, else throws a NetworkError, which is retried. A connection can
 * get out of step and deliver the answer to another request.
 */
export function answerAbout<T extends KubeObject>(asked: Asked, answer: T): T {
  const { namespace = "", name = "", annotations } = answer.metadata;
  const isAsked = namespace === asked.namespace && name === asked.name &&
    (asked.eventId === undefined || annotations?.[ANNOTATIONS.eventId] === asked.eventId);
  if (isAsked) return answer;
  throw new NetworkError(
    `Cannot believe the answer about "${asked.namespace}/${asked.name}": it is about "${namespace}/${name}"${
      asked.eventId === undefined ? "" : `, event "${annotations?.[ANNOTATIONS.eventId] ?? ""}"`
    }`,
    { fault: "garbled" },
  );
}

/** A signal that aborts with its parent or after a while. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Aborts now. */
  abort(reason: unknown): void;
  /** Stops the timer. The parent's abort still aborts. */
  clear(): void;
  /** Starts the time again, from now. */
  restart(): void;
}

/**
 * Aborts with `NetworkError` `timeout` after `ms`. Not `AbortSignal.any` and `.timeout`: those leave a listener on a
 * parent that lives as long as the process, and a timer that is never cleared.
 */
export function deadline(ms: number, what: string, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent?.reason);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let dueAt = 0;
  const clear = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  const ring = () => {
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) {
      timer = setTimeout(ring, Math.ceil(leftMs));
      return;
    }
    controller.abort(new NetworkError(`Cannot ${what}: nothing came for ${ms} ms`, { fault: "timeout" }));
  };
  const restart = () => {
    dueAt = performance.now() + ms;
    // A watch restarts its deadline at each frame, so a restart only moves dueAt: the running timer checks it when it fires.
    timer ??= setTimeout(ring, ms);
  };
  if (parent?.aborted) follow();
  else {
    parent?.addEventListener("abort", follow, { once: true });
    restart();
  }
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    clear,
    restart,
    [Symbol.dispose]() {
      clear();
      parent?.removeEventListener("abort", follow);
    },
  };
}

/** Address and credentials for one request. The client opens new connections only if the server or the TLS fields change. */
export interface Endpoint {
  /** `https://host:port`, perhaps with a path; `http://` for a development cluster. */
  readonly server: string;
  /** Value of the `Authorization` header, including the scheme. */
  readonly authorization?: string;
  /** Further headers of the user, e.g. `Impersonate-User`. Each of several values is sent as a header of its own. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly caPem?: string;
  readonly certPem?: string;
  readonly keyPem?: string;
  readonly proxyUrl?: string;
}

/** A cluster. */
export interface Connection {
  /** Where the connection came from, for messages; holds no secrets. */
  readonly description: string;
  /** The namespace of the Pod or of the kubeconfig's context. */
  readonly namespace: string | undefined;
  /** The name of the kubeconfig's context, where it came from one. */
  readonly context?: string;
  /** The current endpoint. `fresh`, set after a 401, reads it again; implementations limit how often. */
  endpoint(options?: { readonly fresh?: boolean }): Promise<Endpoint>;
}

/** A connection that never changes, e.g. to the embedded development API server or in tests. */
export function fixedConnection(endpoint: Endpoint, namespace?: string): Connection {
  return { description: endpoint.server, namespace, endpoint: () => Promise.resolve(endpoint) };
}

/** A Pod's service account. */
export interface InClusterOptions {
  /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, as the kubelet sets them. */
  readonly host: string;
  readonly port: string;
  /** Where the service account is mounted. */
  readonly folder?: string;
  /** Further headers of each request. */
  readonly headers?: NonNullable<Endpoint["headers"]>;
  readonly clock?: Clock;
  /** How long a token is used before its file is read again. The kubelet writes a new one well before expiry. */
  readonly maxAgeMs?: number;
  readonly readFile?: (path: string) => Promise<string>;
}

/** Where the kubelet mounts it. */
export const SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Least time between two reads after a 401, since many requests may be refused at the same time. */
const FRESH_AGE_MS = 1_000;

/** The cluster this Pod runs in. Throws if the service account is not mounted. */
export async function inClusterConnection(options: InClusterOptions): Promise<Connection> {
  const { host, port, folder = SERVICE_ACCOUNT_FOLDER, clock = systemClock, maxAgeMs = 60_000 } = options;
  const readFile = options.readFile ?? Deno.readTextFile;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const endpoint = cached({
    clock,
    maxAgeMs,
    freshAgeMs: FRESH_AGE_MS,
    async read(): Promise<Endpoint> {
      const token = (await readOr(readFile, `${folder}/token`)).trim();
      if (token === "") throw new Error(`Cannot read "${folder}/token": it is empty`);
      const caPem = await readOr(readFile, `${folder}/ca.crt`);
      const headers = options.headers && { headers: options.headers };
      return { server, authorization: `Bearer ${token}`, caPem, ...headers };
    },
  });
  await endpoint();
  const namespace = (await readOr(readFile, `${folder}/namespace`)).trim();
  return { description: `the cluster of this Pod (${server})`, namespace: namespace || undefined, endpoint };
}

async function readOr(readFile: (path: string) => Promise<string>, path: string): Promise<string> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new Error(`Cannot read "${path}": ${errorMessage(cause)}`, { cause });
  }
}

/** How a value is read, and how long it is used. */
export interface CachedOptions<T> {
  readonly clock: Clock;
  readonly maxAgeMs: number;
  /** A fresh read returns the last value if that is younger than this. */
  readonly freshAgeMs: number;
  readonly read: (fresh: boolean) => Promise<T>;
}

/**
 * Reads a value again when it is too old, once for concurrent calls. If a routine read fails, the last value stays in use,
 * because a file may just be being replaced. If a fresh read fails, the call rejects.
 */
export function cached<T>(options: CachedOptions<T>): (how?: { readonly fresh?: boolean }) => Promise<T> {
  const { clock, maxAgeMs, freshAgeMs, read } = options;
  let last: { readonly value: T; readonly at: number } | undefined;
  let reading: Promise<T> | undefined;

  const readAgain = (fresh: boolean): Promise<T> =>
    reading ??= read(fresh).then((value) => {
      last = { value, at: clock.monotonic() };
      return value;
    }).finally(() => reading = undefined);

  return async ({ fresh = false } = {}) => {
    const ageMs = last === undefined ? Infinity : clock.monotonic() - last.at;
    if (last !== undefined && ageMs < (fresh ? freshAgeMs : maxAgeMs)) return last.value;
    try {
      return await readAgain(fresh);
    } catch (error) {
      if (fresh || last === undefined) throw error;
      return last.value;
    }
  };
}
