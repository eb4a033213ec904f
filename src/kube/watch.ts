/** The list/watch loop. Its states: empty (a full list is needed) and listed (watch on from a resourceVersion). */
import { type Clock, systemClock } from "../model/clock.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import {
  ApiError,
  type KubeApi,
  type KubeObject,
  NetworkError,
  type ObjectMeta,
  type ResourceType,
  type StatusBody,
} from "./api.ts";
import { resourceName } from "./paths.ts";
import {
  type Backoff,
  backoff,
  type Deadline,
  deadline,
  elapsed,
  isRetryable,
  retryAfterMsOf,
  type Sleep,
  sleep,
} from "./retry.ts";
import { trackWatch, type WatchTracker } from "./watch_tracker.ts";

/** How a watched resource stands. */
export type WatchState = "listing" | "synced" | "absent" | "forbidden" | "failing";

/**
 * What a watcher tells. From `init` to `synced` come all objects there are, one `apply` each: what was known before and
 * is not among them is gone. A new `init` at any time starts over. After `error` the watcher goes on by itself.
 */
export type WatchEvent<T extends KubeObject = KubeObject> =
  | { readonly type: "init" }
  | { readonly type: "apply"; readonly object: T }
  | { readonly type: "synced"; readonly resourceVersion: string }
  | { readonly type: "delete"; readonly object: T }
  | {
    readonly type: "error";
    readonly error: unknown;
    readonly reason: WatchErrorReason;
    /** `absent` (404: not served), `forbidden` (403), else `failing`. */
    readonly state: "absent" | "forbidden" | "failing";
  };

/** Why a watch broke; a label of `watch_reconnects_total` together with `ended` (the server closed it in time). */
export type WatchErrorReason =
  | "expired"
  | "absent"
  | "forbidden"
  | "unauthorized"
  | "throttled"
  | "server"
  | "rejected"
  | "unreachable"
  | "timeout"
  | "garbled"
  | "too_large"
  | "error";

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** "" or absent: all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly pageSize?: number;
  /** How long the server keeps a watch open, give or take a tenth. */
  readonly timeoutSeconds?: number;
  /** Silence after which a watch counts as dead. Bookmarks come about every minute; the first may take two. */
  readonly idleMs?: number;
  /** A watch that lived this long and then breaks starts over with the shortest wait. */
  readonly healthyMs?: number;
  readonly backoff?: Backoff;
  /** Waits while the resource is absent or forbidden: nobody gains from asking every few seconds. */
  readonly deniedBackoff?: Backoff;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly sleep?: Sleep;
  readonly metrics?: Pick<Metrics, "watchReconnects" | "watchLastActivity" | "informerSynced">;
  /** Told of each change of state, also of the recovery from an error without a new list. */
  readonly onState?: (state: WatchState) => void;
}

interface Run
  extends Required<Omit<WatchOptions, "metrics" | "namespace" | "labelSelector" | "fieldSelector">> {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly scope: Pick<WatchOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly tracker: WatchTracker;
  /** Shrinks when a page is too large or too slow. */
  page: number;
  /** Undefined: empty. */
  resourceVersion: string | undefined;
}

/** Watches a resource until `signal` aborts: relists on 410, backs off on errors, never gives up. */
export async function* watch<T extends KubeObject = KubeObject>(
  api: KubeApi,
  type: ResourceType,
  options: WatchOptions,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  using tracker = trackWatch(resourceName(type), options);
  const run = createRun({ api, type, options, tracker });
  while (!run.signal.aborted) {
    try {
      if (run.resourceVersion === undefined) {
        yield { type: "init" };
        yield* listAll<T>(run);
      }
      if (run.signal.aborted) return;
      yield* watchOnce<T>(run);
      if (!run.signal.aborted) tracker.reconnect("ended");
    } catch (error) {
      if (run.signal.aborted) return;
      const event = toErrorEvent(error);
      tracker.state(event.state);
      tracker.reconnect(event.reason);
      if (needsList(event.reason)) run.resourceVersion = undefined;
      yield event;
      const waits = event.state === "failing" ? run.backoff : run.deniedBackoff;
      await elapsed(waits.next(retryAfterMsOf(error)), run);
    }
  }
}

function createRun({ api, type, options, tracker }: {
  api: KubeApi;
  type: ResourceType;
  options: WatchOptions;
  tracker: WatchTracker;
}): Run {
  const { namespace, labelSelector, fieldSelector, random = Math.random } = options;
  return {
    api,
    type,
    tracker,
    scope: {
      ...(namespace ? { namespace } : {}),
      ...(labelSelector ? { labelSelector } : {}),
      ...(fieldSelector ? { fieldSelector } : {}),
    },
    signal: options.signal,
    pageSize: options.pageSize ?? 500,
    timeoutSeconds: options.timeoutSeconds ?? 290,
    idleMs: options.idleMs ?? 150_000,
    healthyMs: options.healthyMs ?? 10_000,
    backoff: options.backoff ?? backoff({ random }),
    deniedBackoff: options.deniedBackoff ?? backoff({ maxMs: 30_000, random }),
    clock: options.clock ?? systemClock,
    random,
    sleep: options.sleep ?? sleep,
    onState: options.onState ?? (() => {}),
    page: options.pageSize ?? 500,
    resourceVersion: undefined,
  };
}

/** Lists page by page and holds no more than one. A `continue` token that expired is a 410: the list starts over. */
async function* listAll<T extends KubeObject>(run: Run): AsyncGenerator<WatchEvent<T>, void, undefined> {
  run.tracker.state("listing");
  let next: string | undefined;
  let resourceVersion: string;
  do {
    const list = await listPage<T>(run, next);
    run.tracker.activity();
    for (const item of list.items) {
      yield { type: "apply", object: arrived(item, run.type) };
      if (run.signal.aborted) return;
    }
    next = list.metadata.continue || undefined;
    resourceVersion = list.metadata.resourceVersion ?? "";
  } while (next !== undefined);
  run.page = run.pageSize;
  run.resourceVersion = resourceVersion;
  run.tracker.state("synced");
  yield { type: "synced", resourceVersion };
}

async function listPage<T extends KubeObject>(run: Run, next: string | undefined) {
  try {
    const { api, type, scope, signal, page } = run;
    return await api.list<T>(type, { ...scope, signal, limit: page, ...(next ? { continue: next } : {}) });
  } catch (error) {
    const tooMuch = error instanceof NetworkError &&
      (error.fault === "too_large" || error.fault === "timeout");
    if (tooMuch) run.page = Math.max(1, Math.floor(run.page / 4));
    throw error;
  }
}

async function* watchOnce<T extends KubeObject>(run: Run): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const began = run.clock.monotonic();
  using idle = deadline(run.idleMs, `watch ${resourceName(run.type)}`, run.signal);
  try {
    for await (const frame of openWatch<T>(run, idle)) {
      // While the consumer is at work the stream is not silent, only unread.
      idle.clear();
      run.tracker.activity();
      if (frame.type === "ERROR") throw toApiError(frame.object, run.type);
      run.resourceVersion = frame.object.metadata.resourceVersion ?? run.resourceVersion;
      run.tracker.state("synced");
      if (frame.type === "DELETED") yield { type: "delete", object: arrived(frame.object, run.type) };
      else if (frame.type !== "BOOKMARK") yield { type: "apply", object: arrived(frame.object, run.type) };
      if (run.signal.aborted) return;
      idle.restart();
    }
  } catch (error) {
    if (isSilence(error)) throw error;
    resetIfHealthy(run, began);
    throw error;
  }
  // A server that closes every watch at once must not be asked again and again without a pause.
  if (!resetIfHealthy(run, began)) await elapsed(run.backoff.next(), run);
}

function openWatch<T extends KubeObject>(run: Run, idle: Deadline) {
  const { api, type, scope, timeoutSeconds, random } = run;
  return api.watch<T>(type, {
    ...scope,
    signal: idle.signal,
    allowWatchBookmarks: true,
    timeoutSeconds: Math.round(timeoutSeconds * (0.9 + 0.2 * random())),
    ...(run.resourceVersion ? { resourceVersion: run.resourceVersion } : {}),
    onOpen: () => run.tracker.state("synced"),
  });
}

/** True, and the waits start over, if the watch that began then lived long enough. */
function resetIfHealthy(run: Run, began: number): boolean {
  if (run.clock.monotonic() - began < run.healthyMs) return false;
  run.backoff.reset();
  run.deniedBackoff.reset();
  return true;
}

function isSilence(error: unknown): boolean {
  return error instanceof NetworkError && error.fault === "timeout";
}

/** managedFields are up to half of an object and nothing here reads them; items of a list may lack their kind. */
function arrived<T extends KubeObject>(object: T, type: ResourceType): T {
  const mutable: { apiVersion?: string; kind?: string; metadata: ObjectMeta & { managedFields?: unknown } } =
    object;
  delete mutable.metadata.managedFields;
  mutable.apiVersion ??= type.group === "" ? type.version : `${type.group}/${type.version}`;
  mutable.kind ??= type.kind;
  return object;
}

function toApiError(status: StatusBody, type: ResourceType): ApiError {
  const seconds = status.details?.retryAfterSeconds;
  return new ApiError(
    `watch ${resourceName(type)}`,
    status.code ?? (status.reason === "Expired" || status.reason === "Gone" ? 410 : 500),
    status,
    seconds === undefined ? undefined : seconds * 1_000,
  );
}

function toErrorEvent(error: unknown): Extract<WatchEvent<never>, { type: "error" }> {
  const reason = reasonOf(error);
  return {
    type: "error",
    error,
    reason,
    state: reason === "absent" || reason === "forbidden" ? reason : "failing",
  };
}

/** Why a request or a watch failed, in a bounded set of words. */
export function reasonOf(error: unknown): WatchErrorReason {
  if (error instanceof NetworkError) return error.fault;
  if (!(error instanceof ApiError)) return "error";
  if (error.status === 410) return "expired";
  if (error.status === 404) return "absent";
  if (error.status === 403) return "forbidden";
  if (error.status === 401) return "unauthorized";
  if (error.status === 429) return "throttled";
  return isRetryable(error) ? "server" : "rejected";
}

/**
 * True where going on from the known resourceVersion cannot help: it expired, the resource was removed (and what comes
 * back is another), the server refuses the request, or the next line of the watch can never be read.
 */
function needsList(reason: WatchErrorReason): boolean {
  return reason === "expired" || reason === "absent" || reason === "rejected" || reason === "too_large" ||
    reason === "garbled";
}
