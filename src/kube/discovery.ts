/** Polls which resources the API server serves, once for the whole process. They change when CRDs are installed or removed. */
import { isObject, type JsonObject, text } from "../model/json.ts";
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { ChangeSignal } from "../model/change_signal.ts";
import { type Clock, systemClock } from "../model/time.ts";
import { type Logger, logger } from "../telemetry/logging.ts";
import { groupPath, hasStatus, type KubeApi, NetworkError, type ResourceType } from "./api.ts";
import { backoff, elapsed, Pause, type Sleep } from "./retry.ts";

/** One version of an API group; the core group is "". */
export type GroupVersion = Pick<ResourceType, "group" | "version">;

/** The resources of one group and version that can be listed and watched. */
export type Served =
  /** The API server has not been asked yet. */
  | { readonly state: "pending" }
  /** Discovery failed, and there is no earlier result. This does not mean absent. */
  | { readonly state: "unknown"; readonly error: unknown }
  | { readonly state: "absent" }
  | { readonly state: "served"; readonly resources: readonly ResourceType[] };

/** The resources of several groups and versions, by `groupVersionName`. */
export type ServedByName = ReadonlyMap<string, Served>;

/** `wgpolicyk8s.io/v1alpha2`, `v1`. */
export function groupVersionName({ group, version }: GroupVersion): string {
  return group === "" ? version : `${group}/${version}`;
}

/** Longest time of one request, with the wait for its turn, before the liveness check fails. */
const REQUEST_TURN_MS = 120_000;

interface ReadOptions {
  readonly signal?: AbortSignal;
  /** The earlier result. */
  readonly known?: ServedByName;
  readonly beat?: Beat;
}

/** Reads once: all groups in one request if the API server supports that (Kubernetes 1.27), else one request for each group. */
export async function readServed(
  api: KubeApi,
  wanted: Iterable<GroupVersion>,
  options: ReadOptions = {},
): Promise<ServedByName> {
  const asked = new Map([...wanted].map((each) => [groupVersionName(each), each]));
  const hasGroups = [...asked.values()].some(({ group }) => group !== "");
  const atOnce = hasGroups ? await readAtOnce(api, options) : undefined;
  const found = new Map<string, Served>();
  for (const [name, groupVersion] of asked) {
    options.beat?.within(REQUEST_TURN_MS);
    const answer = groupVersion.group === "" ? undefined : atOnce?.(groupVersion);
    // A starting API server may answer before it has loaded all CRDs. A request for one group then gets 503, not 404.
    const isNews = answer?.state === "absent" && options.known?.get(name)?.state !== "absent";
    found.set(name, answer && !isNews ? answer : await readOne(api, groupVersion, options));
  }
  return found;
}

async function readOne(
  api: KubeApi,
  groupVersion: GroupVersion,
  { signal }: ReadOptions,
): Promise<Served> {
  try {
    const list = await api.getPath(groupPath(groupVersion), signal ? { signal } : {});
    const resources = objects(list["resources"])
      .filter((entry) => isWatchable(entry) && !text(entry["name"]).includes("/"))
      .map((entry): ResourceType => ({
        group: groupVersion.group,
        version: groupVersion.version,
        plural: text(entry["name"]),
        kind: text(entry["kind"]),
        namespaced: entry["namespaced"] === true,
      }));
    return { state: "served", resources };
  } catch (error) {
    signal?.throwIfAborted();
    return hasStatus(error, 404) ? { state: "absent" } : { state: "unknown", error };
  }
}

const LIST_KIND = "APIGroupDiscoveryList";
const ACCEPT = `application/json;g=apidiscovery.k8s.io;v=v2;as=${LIST_KIND},application/json`;

/** Every group from one request; undefined if the API server does not support the aggregated form. */
async function readAtOnce(
  api: KubeApi,
  { signal }: ReadOptions,
): Promise<((groupVersion: GroupVersion) => Served) | undefined> {
  let answer: JsonObject;
  try {
    answer = await api.getPath("/apis", { accept: ACCEPT, ...(signal ? { signal } : {}) });
  } catch (error) {
    signal?.throwIfAborted();
    // If the API server is unreachable, a request for each group would only take longer.
    if (error instanceof NetworkError && (error.fault === "unreachable" || error.fault === "timeout")) {
      return () => ({ state: "unknown", error });
    }
    return undefined;
  }
  if (answer["kind"] !== LIST_KIND) return undefined;
  const groups = new Map(
    objects(answer["items"]).map((item) => [text(at(item, "metadata")["name"]), objects(item["versions"])]),
  );
  return ({ group, version }) => {
    const entry = groups.get(group)?.find((each) => each["version"] === version);
    if (!entry) return { state: "absent" };
    if (entry["freshness"] === "Stale") {
      const why = "its aggregated API server does not answer";
      return { state: "unknown", error: new Error(`Cannot discover "${group}/${version}": ${why}`) };
    }
    const resources = objects(entry["resources"]).filter(isWatchable).map((resource): ResourceType => ({
      group,
      version,
      plural: text(resource["resource"]),
      kind: text(at(resource, "responseKind")["kind"]),
      namespaced: resource["scope"] === "Namespaced",
    }));
    return { state: "served", resources };
  };
}

function isWatchable({ verbs }: JsonObject): boolean {
  return Array.isArray(verbs) && verbs.includes("list") && verbs.includes("watch");
}

function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function at(value: JsonObject, key: string): JsonObject {
  const member = value[key];
  return isObject(member) ? member : {};
}

export interface DiscoveryOptions {
  /** The groups and versions to read at each poll; called before each. */
  readonly wanted: () => Iterable<GroupVersion>;
  readonly intervalMs?: number;
  readonly clock?: Clock;
  readonly sleep?: Sleep;
  readonly random?: () => number;
  readonly log?: Logger;
}

/** The one poll of a process. */
export interface Discovery {
  /** The result of the last poll that could read this group and version. */
  served(groupVersion: GroupVersion): Served;
  /** Adds groups and versions to the poll; `wanted` is called before each poll. */
  want(wanted: () => Iterable<GroupVersion>): void;
  /** Calls `listener` after each poll with a changed result. */
  subscribe(listener: () => void): Disposable;
  /** Polls now, at most once a second; call it after a change of what is wanted. */
  refresh(): void;
  /** Polls until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

const PENDING: Served = { state: "pending" };
/** Least time between two polls, however often `refresh` is called. */
const MIN_INTERVAL_MS = 1_000;

/** Creates the poll: every 30 s, sooner after failures. */
export function createDiscovery(api: KubeApi, options: DiscoveryOptions): Discovery {
  const { wanted, intervalMs = 30_000, clock = systemClock, random = Math.random } = options;
  const { log = logger("discovery"), sleep } = options;
  const changes = new ChangeSignal();
  const wants: (() => Iterable<GroupVersion>)[] = [wanted];
  let known: ServedByName = new Map();
  let unreadable: ReadonlySet<string> = new Set();
  const pause = new Pause(sleep);

  /** Polls once; true if everything could be read. */
  async function poll(signal: AbortSignal, beat: Beat): Promise<boolean> {
    const read = await readServed(api, wants.flatMap((each) => [...each()]), { signal, known, beat });
    const failed = new Set<string>();
    const next = new Map<string, Served>();
    for (const [name, now] of read) {
      const before = known.get(name);
      next.set(name, now.state === "unknown" && before?.state === "served" ? before : now);
      if (now.state !== "unknown") continue;
      failed.add(name);
      if (!unreadable.has(name)) log.warn("Cannot discover", { what: name, error: now.error });
    }
    unreadable = failed;
    const changed = [...next].some(([name, now]) => !isSame(now, known.get(name)));
    known = next;
    if (changed) changes.raise();
    return failed.size === 0;
  }

  return {
    served: (groupVersion) => known.get(groupVersionName(groupVersion)) ?? PENDING,
    want: (more) => void wants.push(more),
    subscribe: (listener) => changes.subscribe(listener),
    refresh: () => pause.wake(),
    async run(signal, beat = NO_BEAT) {
      const waits = backoff({ maxMs: intervalMs, random });
      for (let goesOn = !signal.aborted; goesOn;) {
        const beganAt = clock.monotonic();
        beat.within(REQUEST_TURN_MS);
        let isComplete = false;
        try {
          isComplete = await poll(signal, beat);
        } catch (error) {
          if (!signal.aborted) throw error;
        }
        if (isComplete) waits.reset();
        beat.within(intervalMs + REQUEST_TURN_MS);
        goesOn = await pause.wait(isComplete ? intervalMs : waits.next(), signal);
        const leftMs = beganAt + Math.min(MIN_INTERVAL_MS, intervalMs) - clock.monotonic();
        if (goesOn && isComplete && leftMs > 0) goesOn = await elapsed(leftMs, { signal, sleep });
      }
    },
  };
}

function isSame(now: Served, before: Served | undefined): boolean {
  if (now.state !== before?.state) return false;
  return now.state !== "served" || before.state !== "served" ||
    JSON.stringify(now.resources) === JSON.stringify(before.resources);
}
