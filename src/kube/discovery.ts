/** Which resource types the cluster serves, and when that changes. */
import { isObject, type JsonObject } from "../model/json.ts";
import { type Logger, logger } from "../telemetry/logging.ts";
import { hasStatus, type KubeApi } from "./api.ts";
import { servedAtOnce } from "./aggregated_discovery.ts";
import { objects, type ServedType, type ServedTypes, text } from "./discovery_answer.ts";
import { groupPath } from "./paths.ts";
import { backoff, elapsed, type Sleep } from "./retry.ts";

export type { ServedType, ServedTypes } from "./discovery_answer.ts";

/** Asks for the types of `groups` (`""` is core), in all their versions: all at once where the API server can. */
export async function served(
  api: KubeApi,
  groups: Iterable<string>,
  options: { readonly signal?: AbortSignal } = {},
): Promise<ServedTypes> {
  const wanted = new Set(groups);
  const core = wanted.delete("") ? [""] : [];
  const whole = wanted.size === 0 ? undefined : await servedAtOnce(api, wanted, options);
  if (!whole) return await servedOneByOne(api, [...core, ...wanted], options);
  const { types, failures } = await servedOneByOne(api, core, options);
  return { types: [...types, ...whole.types], failures: new Map([...failures, ...whole.failures]) };
}

async function servedOneByOne(
  api: KubeApi,
  groups: readonly string[],
  options: { readonly signal?: AbortSignal },
): Promise<ServedTypes> {
  const types: ServedType[] = [];
  const failures = new Map<string, unknown>();
  for (const group of groups) {
    const found = await orFailure(() => versionsOf(api, group, options), {
      name: group,
      failures,
      ...options,
    });
    for (const version of found?.versions ?? []) {
      const read = () => api.getPath(groupPath({ group, version }), options);
      const list = await orFailure(read, { name: `${group}/${version}`, failures, ...options });
      if (list) types.push(...typesOf(list, { group, version, preferred: version === found?.preferred }));
    }
  }
  return { types, failures };
}

interface Versions {
  readonly versions: readonly string[];
  readonly preferred: string | undefined;
}

async function versionsOf(
  api: KubeApi,
  group: string,
  options: { readonly signal?: AbortSignal },
): Promise<Versions> {
  if (group === "") return { versions: ["v1"], preferred: "v1" };
  const answer = await api.getPath(`/apis/${encodeURIComponent(group)}`, options);
  const versions = objects(answer["versions"]).map((entry) => text(entry["version"])).filter((name) =>
    name !== ""
  );
  const preferred = isObject(answer["preferredVersion"])
    ? text(answer["preferredVersion"]["version"])
    : undefined;
  return { versions, preferred };
}

/** Undefined on 404, and on a failure, which is noted under `name`. An abort is thrown. */
async function orFailure<T>(
  read: () => Promise<T>,
  { name, failures, signal }: { name: string; failures: Map<string, unknown>; signal?: AbortSignal },
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    signal?.throwIfAborted();
    if (!hasStatus(error, 404)) failures.set(name, error);
    return undefined;
  }
}

function typesOf(
  list: JsonObject,
  at: { readonly group: string; readonly version: string; readonly preferred: boolean },
): ServedType[] {
  return objects(list["resources"])
    .filter((entry) => text(entry["name"]) !== "" && !text(entry["name"]).includes("/"))
    .map((entry) => ({
      ...at,
      plural: text(entry["name"]),
      kind: text(entry["kind"]),
      namespaced: entry["namespaced"] === true,
      singular: text(entry["singularName"]) || text(entry["kind"]).toLowerCase(),
      verbs: Array.isArray(entry["verbs"]) ? entry["verbs"].filter((verb) => typeof verb === "string") : [],
    }));
}

/** The type of a kind (or plural, or singular; in any case of letters), in `version` or else the preferred one. */
export function findType(
  types: readonly ServedType[],
  wanted: { readonly group: string; readonly version?: string; readonly kind: string },
): ServedType | undefined {
  const kind = wanted.kind.toLowerCase();
  const named = types.filter((type) =>
    type.group === wanted.group && (wanted.version === undefined || type.version === wanted.version) &&
    [type.kind.toLowerCase(), type.plural, type.singular].includes(kind)
  );
  return named.find(({ preferred }) => preferred) ?? named[0];
}

/** What one poll changed. */
export interface DiscoveryChange extends ServedTypes {
  /** Of the failures those that leave it unknown what is served: nothing of that group or version is known from before. */
  readonly unknown: ReadonlySet<string>;
  readonly added: readonly ServedType[];
  readonly removed: readonly ServedType[];
}

export interface DiscoveryOptions {
  /** Asked before each poll: Ingesters come and go. */
  readonly groups: () => Iterable<string>;
  /** Called after the first poll, and then whenever something was added or removed, or becomes unknown or is so no longer. */
  readonly onChange: (change: DiscoveryChange) => void;
  readonly intervalMs?: number;
  readonly sleep?: Sleep;
  readonly random?: () => number;
  readonly log?: Logger;
}

/** A poll of discovery. */
export interface DiscoveryWatch {
  /** Polls until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Polls now: a group was added to what is wanted. */
  refresh(): void;
  /** As of the last poll. */
  types(): readonly ServedType[];
}

/** Polls every 30 s, sooner after failures. What could not be read is taken to be as it was. */
export function watchDiscovery(api: KubeApi, options: DiscoveryOptions): DiscoveryWatch {
  const { groups, onChange, intervalMs = 30_000, random = Math.random, log = logger("discovery") } = options;
  const { sleep } = options;
  let types: readonly ServedType[] = [];
  let unknownBefore: string | undefined;
  let wake = new AbortController();

  const poll = async (signal: AbortSignal): Promise<boolean> => {
    const now = await served(api, groups(), { signal });
    for (const [what, error] of now.failures) log.warn("Cannot discover", { what, error });
    const { added, removed, all } = compare(types, now);
    types = all;
    const unknown = unknownOf(types, now);
    const named = [...unknown].sort().join();
    if (named !== unknownBefore || added.length > 0 || removed.length > 0) {
      unknownBefore = named;
      onChange({ added, removed, types, unknown, failures: now.failures });
    }
    return now.failures.size === 0;
  };

  return {
    async run(signal) {
      const waits = backoff({ maxMs: intervalMs, random });
      const end = () => wake.abort();
      signal.addEventListener("abort", end, { once: true });
      while (!signal.aborted) {
        wake = new AbortController();
        try {
          const complete = await poll(signal);
          if (complete) waits.reset();
          await elapsed(complete ? intervalMs : waits.next(), { signal: wake.signal, sleep });
        } catch (error) {
          if (!signal.aborted) throw error;
        }
      }
      signal.removeEventListener("abort", end);
    },
    refresh: () => wake.abort(),
    types: () => types,
  };
}

function unknownOf(types: readonly ServedType[], { failures }: ServedTypes): ReadonlySet<string> {
  const known = new Set(types.flatMap(({ group, version }) => [group, `${group}/${version}`]));
  return new Set([...failures.keys()].filter((name) => !known.has(name)));
}

function compare(before: readonly ServedType[], { types, failures }: ServedTypes) {
  const key = (type: ServedType) => JSON.stringify([type.group, type.version, type.plural]);
  const unknown = (type: ServedType) =>
    failures.has(type.group) || failures.has(`${type.group}/${type.version}`);
  const now = new Map(types.map((type) => [key(type), type]));
  const known = new Set(before.map(key));
  const kept = before.filter((type) => !now.has(key(type)) && unknown(type));
  return {
    added: types.filter((type) => !known.has(key(type))),
    removed: before.filter((type) => !now.has(key(type)) && !unknown(type)),
    all: [...types, ...kept],
  };
}
