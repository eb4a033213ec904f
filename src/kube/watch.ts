/** Lists and watches a resource, and continues after every error. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { type Clock, systemClock } from "../model/time.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import {
  ApiError,
  deadline,
  type KubeApi,
  type KubeObject,
  type KubePage,
  type ListOptions,
  NetworkError,
  type ObjectMeta,
  resourceName,
  type ResourceType,
  type StatusBody,
  type WatchFrame,
} from "./api.ts";
import { type Backoff, backoff, elapsed, isRetryable, retryAfterMsOf, type Sleep } from "./retry.ts";

/** Whether a watched resource can be read. */
export type WatchState = "listing" | "synced" | "absent" | "forbidden" | "failing";

/**
 * What a watch yields. The objects between `init` and `synced` are a complete list: an earlier object that is not among
 * them is gone. A new `init` may come at any time. After `error` the watch continues without action of the consumer.
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

/**
 * Why a watch broke: the label `reason` of `watch_reconnects_total`, which has `ended` (the server closed the watch in
 * time), `silent` (a resource without bookmarks was quiet) and `relist` (the caller asked for it) too.
 */
export const WATCH_ERROR_REASONS = [
  "expired",
  "rewound",
  "absent",
  "forbidden",
  "unauthorized",
  "throttled",
  "server",
  "rejected",
  "unreachable",
  "timeout",
  "garbled",
  "too_large",
  "error",
] as const;
/** One of them. */
export type WatchErrorReason = typeof WATCH_ERROR_REASONS[number];

/** How to watch. */
export interface WatchOptions {
  readonly signal: AbortSignal;
  /** "" or absent: all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Objects on a page; fewer where they are large. */
  readonly pageSize?: number;
  /** How long the server keeps a watch open, give or take a tenth. */
  readonly timeoutSeconds?: number;
  /** Silence after which a watch counts as dead. Bookmarks come about every minute; the first may take two. */
  readonly idleMs?: number;
  /** A watch that lived this long and then breaks starts over with the shortest wait. */
  readonly healthyMs?: number;
  readonly backoff?: Backoff;
  /** Waits while the resource is absent or forbidden: retrying every few seconds does not help. */
  readonly deniedBackoff?: Backoff;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly sleep?: Sleep;
  readonly metrics?: Pick<Metrics, "watchReconnects" | "watchLastActivity" | "informerSynced">;
  /** Called at pages, frames, errors and tries: a watch is alive although nothing changes. */
  readonly beat?: Beat;
  /** Called after each page of a list: objects read so far, and what the server says is still to come. */
  readonly onPage?: (page: { readonly read: number; readonly remaining: number | undefined }) => void;
  /** Called at each change of state, also at the recovery from an error without a new list. */
  readonly onState?: (state: WatchState) => void;
}

/** The waits and sizes of every watch of a process, as tests set them. */
export type WatchTuning = Pick<
  WatchOptions,
  | "pageSize"
  | "timeoutSeconds"
  | "idleMs"
  | "healthyMs"
  | "backoff"
  | "deniedBackoff"
  | "random"
  | "sleep"
>;

/** A running watch. */
export interface Watch<T extends KubeObject = KubeObject>
  extends AsyncGenerator<WatchEvent<T>, void, undefined> {
  /**
   * Requests a full list. A list in progress is finished first and then repeated once, so that frequent calls do not keep
   * lists from completing.
   */
  relist(): void;
  /**
   * Yields every object of the namespace again, each as an `apply`, and then goes on from where the watch was: an object that
   * changed meanwhile may come once more in an older form before its newest one.
   */
  relistNamespace(namespace: string): void;
}

/**
 * A watch beats within this time: it waits `idleMs` (150 s) for a frame, and up to three minutes before it retries after a
 * denial or a Retry-After.
 */
export const WATCH_TURN_MS = 300_000;
/** Most bytes of a page of a list. A larger one is refused and requested again with fewer objects. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
/** Target size of the next page, computed from the size of the objects on the last one. */
const AIMED_PAGE_BYTES = MAX_PAGE_BYTES / 2;

/**
 * Watches a resource until `signal` aborts. Lists again when the resourceVersion has expired, when the server's revision
 * went back (etcd was restored from a copy), and on `relist()`; backs off on errors and never gives up.
 */
export function watch<T extends KubeObject = KubeObject>(
  api: KubeApi,
  type: ResourceType,
  options: WatchOptions,
): Watch<T> {
  const run = createRun(api, type, options);
  return Object.assign(loop<T>(run), {
    relist() {
      run.isRelistWanted = true;
      run.cut();
    },
    relistNamespace(namespace: string) {
      run.namespacesWanted.add(namespace);
      run.cut();
    },
  });
}

/** How far the resource has been read. */
type State =
  | { readonly phase: "empty" }
  /** Listed: the next watch begins after `resourceVersion`. `isRenewed`: the watch before was silent. */
  | { readonly phase: "listed"; readonly resourceVersion: string; readonly isRenewed?: true }
  /** A watch was silent. It stays silent if it begins at a revision that a restored server has not reached again yet. */
  | { readonly phase: "silent"; readonly resourceVersion: string };

interface Run {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly name: string;
  readonly options: WatchOptions;
  readonly scope: Pick<WatchOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly backoff: Backoff;
  readonly deniedBackoff: Backoff;
  readonly telemetry: Telemetry;
  readonly pageSize: number;
  state: State;
  /** Objects on the next page. */
  limit: number;
  sendsBookmarks: boolean;
  isRelistWanted: boolean;
  /** Namespaces of which every object is to be yielded again. */
  readonly namespacesWanted: Set<string>;
  /** Ends the present watch request. */
  cut: () => void;
}

/** The server's revision is older than what it sent before: etcd was restored from a copy (kubernetes#107457). */
class RewoundError extends Error {
  override readonly name = "RewoundError";
}

/** Aborts a watch request; never reported. */
const RELIST = new DOMException("A full list is wanted", "AbortError");

function createRun(api: KubeApi, type: ResourceType, options: WatchOptions): Run {
  const { namespace, labelSelector, fieldSelector, random = Math.random, pageSize = 500 } = options;
  const name = resourceName(type);
  return {
    api,
    type,
    name,
    options,
    scope: {
      ...(namespace ? { namespace } : {}),
      ...(labelSelector ? { labelSelector } : {}),
      ...(fieldSelector ? { fieldSelector } : {}),
    },
    clock: options.clock ?? systemClock,
    random,
    backoff: options.backoff ?? backoff({ random }),
    deniedBackoff: options.deniedBackoff ?? backoff({ maxMs: 30_000, random }),
    telemetry: createTelemetry(name, options),
    pageSize,
    state: { phase: "empty" },
    limit: pageSize,
    sendsBookmarks: false,
    isRelistWanted: false,
    namespacesWanted: new Set(),
    cut: () => {},
  };
}

async function* loop<T extends KubeObject>(run: Run): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const { options, telemetry } = run;
  using _series = telemetry.start();
  while (!options.signal.aborted) {
    telemetry.beat();
    try {
      if (run.isRelistWanted) run.state = { phase: "empty" };
      switch (run.state.phase) {
        case "empty":
          yield* listAll<T>(run);
          break;
        case "listed": {
          const [namespace] = run.namespacesWanted;
          if (namespace === undefined) yield* follow<T>(run, run.state.resourceVersion);
          else yield* listNamespace<T>(run, namespace);
          break;
        }
        case "silent":
          await checkRevision(run, run.state.resourceVersion);
      }
    } catch (error) {
      if (options.signal.aborted) return;
      if (error === RELIST) {
        telemetry.reconnect("relist");
        continue;
      }
      const event = toErrorEvent(error);
      telemetry.reconnect(event.reason);
      const wasRenewed = run.state.phase === "listed" && run.state.isRenewed;
      if (needsList(event.reason)) run.state = { phase: "empty" };
      // Without bookmarks the version of a quiet resource expires in normal operation.
      if (wasRenewed && event.reason === "expired") continue;
      telemetry.state(event.state);
      yield event;
      const waits = event.state === "failing" ? run.backoff : run.deniedBackoff;
      await elapsed(waits.next(retryAfterMsOf(error)), options);
    }
  }
}

/** Lists page by page and holds the text of one and one of its objects. A `continue` token that expired is a 410: the list starts over. */
async function* listAll<T extends KubeObject>(run: Run): AsyncGenerator<WatchEvent<T>, void, undefined> {
  run.isRelistWanted = false;
  run.namespacesWanted.clear();
  yield { type: "init" };
  run.telemetry.state("listing");
  const resourceVersion = yield* listPages<T>(run, run.scope);
  if (run.options.signal.aborted) return;
  run.state = { phase: "listed", resourceVersion };
  run.telemetry.state("synced");
  yield { type: "synced", resourceVersion };
}

/** Yields the objects of a namespace again. If its list fails, it stays wanted. */
async function* listNamespace<T extends KubeObject>(
  run: Run,
  namespace: string,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  run.namespacesWanted.delete(namespace);
  try {
    yield* listPages<T>(run, { ...run.scope, namespace });
  } catch (error) {
    run.namespacesWanted.add(namespace);
    throw error;
  }
}

/** Yields the objects of a list, and returns its resourceVersion. */
async function* listPages<T extends KubeObject>(
  run: Run,
  scope: Run["scope"],
): AsyncGenerator<WatchEvent<T>, string, undefined> {
  let next: string | undefined;
  let resourceVersion: string;
  let read = 0;
  do {
    const list = await listPage<T>(run, { ...scope, ...(next ? { continue: next } : {}) });
    run.telemetry.activity();
    for (const item of list.items) {
      yield { type: "apply", object: arrived(item, run.type) };
      if (run.options.signal.aborted) return "";
    }
    read += list.items.length;
    run.options.onPage?.({ read, remaining: list.metadata.remainingItemCount });
    next = list.metadata.continue || undefined;
    resourceVersion = list.metadata.resourceVersion ?? "";
    // A server whose lists do not end would be asked thousands of times a second.
    if (next !== undefined && list.items.length === 0) await elapsed(run.backoff.next(), run.options);
    if (run.options.signal.aborted) return "";
  } while (next !== undefined);
  return resourceVersion;
}

/** A page, and by its size the number of objects on the next one. */
async function listPage<T extends KubeObject>(
  run: Run,
  page: Run["scope"] & Pick<ListOptions, "continue">,
): Promise<KubePage<T>> {
  const { api, type, pageSize, options: { signal } } = run;
  for (;;) {
    const limit = run.limit;
    try {
      const list = await api.page<T>(type, { ...page, signal, limit, maxBytes: MAX_PAGE_BYTES });
      const objectBytes = (list.bytes ?? 0) / Math.max(1, list.items.length);
      run.limit = Math.max(1, Math.min(pageSize, Math.floor(AIMED_PAGE_BYTES / objectBytes)));
      return list;
    } catch (error) {
      const fault = error instanceof NetworkError ? error.fault : undefined;
      if (fault === "too_large" || fault === "timeout") run.limit = Math.max(1, Math.floor(limit / 4));
      // After other errors, such as a time-out, the caller waits first.
      if (fault !== "too_large" || limit === 1) throw error;
    }
  }
}

/** One watch request, from `resourceVersion` on. */
async function* follow<T extends KubeObject>(
  run: Run,
  resourceVersion: string,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const { telemetry, type, options: { signal, idleMs = 150_000 } } = run;
  const beganAt = run.clock.monotonic();
  let version = resourceVersion;
  using idle = deadline(idleMs, `watch ${run.name}`, signal);
  run.cut = () => idle.abort(RELIST);
  try {
    for await (const frame of openWatch<T>(run, version, idle.signal)) {
      // While the consumer handles an event the stream is not silent, only unread.
      idle.clear();
      telemetry.activity();
      if (frame.type === "ERROR") throw toApiError(frame.object, type);
      if (frame.type === "BOOKMARK") run.sendsBookmarks = true;
      version = versionAfter(version, frame);
      run.state = { phase: "listed", resourceVersion: version };
      telemetry.state("synced");
      if (frame.type === "DELETED") yield { type: "delete", object: arrived(frame.object, type) };
      else if (frame.type !== "BOOKMARK") yield { type: "apply", object: arrived(frame.object, type) };
      if (signal.aborted) return;
      idle.restart();
    }
    if (idle.signal.reason === RELIST) throw RELIST;
  } catch (error) {
    const fellSilent = error === idle.signal.reason && error !== RELIST && !signal.aborted;
    if (!fellSilent) {
      resetIfHealthy(run, beganAt);
      throw error;
    }
    run.state = { phase: "silent", resourceVersion: version };
    // Silence may mean that nothing changed: some resources (core Events) send no bookmarks.
    if (run.sendsBookmarks) throw error;
    return telemetry.reconnect("silent");
  } finally {
    run.cut = () => {};
  }
  telemetry.reconnect("ended");
  // Wait, in case the server closes every watch at once.
  if (!resetIfHealthy(run, beganAt)) await elapsed(run.backoff.next(), run.options);
}

function openWatch<T extends KubeObject>(run: Run, resourceVersion: string, signal: AbortSignal) {
  const { api, type, scope, random, telemetry, options: { timeoutSeconds = 290 } } = run;
  return api.watch<T>(type, {
    ...scope,
    signal,
    allowWatchBookmarks: true,
    timeoutSeconds: Math.round(timeoutSeconds * (0.9 + 0.2 * random())),
    ...(resourceVersion ? { resourceVersion } : {}),
    onOpen: () => telemetry.state("synced"),
  });
}

/** Compares with the revision of a consistent list, of one object only. */
async function checkRevision(run: Run, resourceVersion: string): Promise<void> {
  const { api, type, scope, options: { signal } } = run;
  const { metadata } = await api.list(type, { ...scope, signal, limit: 1 });
  if (isOlder(metadata.resourceVersion, resourceVersion)) {
    throw new RewoundError(
      `Cannot go on from resourceVersion ${resourceVersion}: the API server is at ${metadata.resourceVersion}`,
    );
  }
  run.state = { phase: "listed", resourceVersion, isRenewed: true };
}

function versionAfter(before: string, frame: Exclude<WatchFrame, { type: "ERROR" }>): string {
  const { resourceVersion } = frame.object.metadata;
  if (!isOlder(resourceVersion, before)) return resourceVersion ?? before;
  // Some aggregated API servers send a deleted object with its last stored version.
  if (frame.type === "DELETED") return before;
  throw new RewoundError(`Cannot go on from resourceVersion ${before}: the watch sent ${resourceVersion}`);
}

/** Versions are compared only if both are numbers, as they always are with etcd. */
function isOlder(version: string | undefined, than: string): boolean {
  if (version === undefined || !/^[0-9]+$/.test(version) || !/^[0-9]+$/.test(than)) return false;
  return version.length === than.length ? version < than : version.length < than.length;
}

/** True, and the waits start over, if the watch that began then lived long enough. */
function resetIfHealthy(run: Run, beganAt: number): boolean {
  if (run.clock.monotonic() - beganAt < (run.options.healthyMs ?? 10_000)) return false;
  run.backoff.reset();
  run.deniedBackoff.reset();
  return true;
}

/** Removes managedFields, which are up to half of an object and are never read, and adds the kind, which items of a list lack. */
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
  if (error instanceof RewoundError) return "rewound";
  if (!(error instanceof ApiError)) return "error";
  if (error.status === 410) return "expired";
  if (error.status === 404) return "absent";
  if (error.status === 403) return "forbidden";
  if (error.status === 401) return "unauthorized";
  if (error.status === 429) return "throttled";
  return isRetryable(error) ? "server" : "rejected";
}

/**
 * True if a watch from the known resourceVersion cannot continue: the version expired or is newer than the server's, the
 * resource was removed (and may come back with other objects), the server refuses the request, or the next line of the
 * watch cannot be read.
 */
function needsList(reason: WatchErrorReason): boolean {
  return reason === "expired" || reason === "rewound" || reason === "absent" || reason === "rejected" ||
    reason === "too_large" || reason === "garbled";
}

/** Reports a watch to the metrics and to `onState`. */
interface Telemetry {
  beat(): void;
  state(state: WatchState): void;
  /** Call for each page and frame. */
  activity(): void;
  reconnect(reason: WatchErrorReason | "ended" | "silent" | "relist"): void;
  /** Counts the watch in its series, until disposed of. */
  start(): Disposable;
}

/** Watches of one resource (one for each namespace) share its series: it is synced when all of them are. */
const watchesByGauge = new WeakMap<Metrics["informerSynced"], Map<string, Set<{ synced: boolean }>>>();

function createTelemetry(resource: string, options: WatchOptions): Telemetry {
  const { metrics, clock = systemClock, onState, beat: { within, idle } = NO_BEAT } = options;
  const beat = () => within(WATCH_TURN_MS);
  const own = { synced: false };
  const all = metrics ? watchesOf(metrics.informerSynced, resource) : new Set<{ synced: boolean }>();
  const show = () =>
    metrics?.informerSynced.set({ resource }, [...all].every(({ synced }) => synced) ? 1 : 0);
  let current: WatchState | undefined;
  return {
    beat,
    start() {
      all.add(own);
      show();
      return {
        [Symbol.dispose]() {
          idle();
          all.delete(own);
          if (all.size > 0) return show();
          metrics?.informerSynced.remove({ resource });
          metrics?.watchLastActivity.remove({ resource });
        },
      };
    },
    state(state) {
      beat();
      if (state === current) return;
      current = state;
      own.synced = state === "synced";
      show();
      onState?.(state);
    },
    activity() {
      beat();
      metrics?.watchLastActivity.set({ resource }, clock.now() / 1_000);
    },
    reconnect(reason) {
      beat();
      metrics?.watchReconnects.inc({ resource, reason });
    },
  };
}

function watchesOf(gauge: Metrics["informerSynced"], resource: string): Set<{ synced: boolean }> {
  let byResource = watchesByGauge.get(gauge);
  if (!byResource) watchesByGauge.set(gauge, byResource = new Map());
  let watches = byResource.get(resource);
  if (!watches) byResource.set(resource, watches = new Set());
  return watches;
}
