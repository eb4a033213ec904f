/**
 * Writes what filters left out into the status of each document, and the last good filters of the ConfigMap into a ConfigMap of
 * their own. Every replica adds its share; the leader writes the last good filters.
 */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { errorMessage } from "../model/error_message.ts";
import type { NormalEvent } from "../model/event.ts";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import { hasStatus, type KubeObject } from "../kube/api.ts";
import { backoff, elapsed, every } from "../kube/retry.ts";
import { type StatusApi, type StatusTarget, StatusWriter } from "../kube/status_writer.ts";
import { logger } from "../telemetry/logging.ts";
import { utf8Length } from "../text/clean.ts";
import { addDrop, addedDrops, dropsOf, emptyShare, mergeShares, type Share } from "./drops.ts";
import type { LiveFilters } from "./filter.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";

/** The name of the ConfigMap with the state of the filter ConfigMap's filters, for an instance. */
export function filterStatusName(instance: string): string {
  return instance === "default" ? "zen-watcher-filter-status" : `zen-watcher-filter-status-${instance}`;
}

/** Keys of that ConfigMap. */
export const STATUS_KEYS = {
  /** The text of the last good filters. */
  lastGood: "lastGood",
  /** Where that text was read: `namespace/name key`. */
  lastGoodOf: "lastGoodOf",
  /** `{"sources": {"<source or *>": drops}, "budget": drops}`. */
  drops: "drops.json",
  ready: "ready",
  reason: "reason",
  message: "message",
} as const;

/** Prefix, in a message, of a setting that is valid but probably a mistake. */
const WARNING = "Warning: ";

/** The message of a document in force, with its warnings. */
export function messageWith(warnings: readonly string[], state: string): string {
  return [state, ...warnings.map((warning) => `${WARNING}${warning}`)].join(". ");
}

/** True where `messageWith` put a warning into the message. */
export function hasWarning(message: string): boolean {
  return message.includes(WARNING);
}

/** The state of the ConfigMap's filters. */
export interface ConfigMapState {
  /** The text in force. */
  readonly lastGood: string | undefined;
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface FilterStatusOptions extends StatusApi {
  readonly isLeader: () => boolean;
  readonly filters: LiveFilters;
  readonly configMap: { readonly namespace: string; readonly name: string; readonly key: string };
  /** `filterStatusName()`. */
  readonly statusName: string;
}

/** Writes the statuses of filters. */
export interface FilterStatus {
  /** The last good filters of the ConfigMap, as an earlier run stored them. Waits while the API server is unreachable. */
  readLastGood(signal: AbortSignal, beat: Beat): Promise<string | undefined>;
  /** Sets the state of the ConfigMap's filters; the leader writes it. */
  say(state: ConfigMapState): void;
  /** Writes the state again; call it when this replica became leader. */
  publish(): void;
  /** Counts an event that the storage budget refused. */
  noteBudget(event: NormalEvent): void;
  /** Writes until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

/** A document is written at most once in this time, and all of them at this rate. */
const DROPS = { minIntervalMs: 30_000, perSecond: 2, flushMs: 1_000 };
/** The last good filters are written sooner, because a restart before the write loses them. */
const LAST_GOOD = { minIntervalMs: 1_000, perSecond: 2, flushMs: 1_000 };
/** How often drops are passed to the writers. */
const TICK_MS = 1_000;
/** How often the last day's count of documents in mode Shadow is updated. */
const DAY_REFRESH_MS = 3_600_000;
/** How often the leader retries a failed write. */
const RETRY_MS = 60_000;
/** If the API server answers 403 for longer, permission is missing: a starting API server answers 403 too. */
const DENIED_MS = 30_000;
const READ_TURN_MS = 120_000;
/** Largest last good text: together with the drops it fits into a ConfigMap. */
const MAX_LAST_GOOD_BYTES = 700 * 1024;
const MAX_DROPS_BYTES = 200 * 1024;
/** Numbers of drops for each source to try, until they fit. */
const FEWER_DROPS = [10, 5, 2, 0];

/** Shares of the ConfigMap's entries, by source, and of the storage budget. */
interface ConfigMapShares {
  readonly sources: ReadonlyMap<string, Share>;
  readonly budget: Share | undefined;
}

/** A share of an object's own status, or of the `filters` in it. */
interface ObjectShare {
  readonly share: Share;
  readonly under: "filters" | undefined;
}

const log = logger("filter");

/** Creates the writer of a process. */
export function createFilterStatus(options: FilterStatusOptions): FilterStatus {
  const { api, clock, sleep, filters, configMap, statusName, isLeader } = options;
  const common = { api, clock, ...(sleep && { sleep }) };
  const name = `${configMap.namespace}/${statusName}`;
  const origin = `${configMap.namespace}/${configMap.name} ${configMap.key}`;
  const target: StatusTarget = { type: CONFIG_MAPS, namespace: configMap.namespace, name: statusName };
  let isMissing = false;
  let state: ConfigMapState | undefined;
  let isStored = true;
  let budget: Share | undefined;

  const objects = new StatusWriter<ObjectShare>({
    ...common,
    ...DROPS,
    merge: (older, newer) => ({ ...newer, share: mergeShares(older.share, newer.share) }),
    statusOf: ({ status }, { share, under }) => {
      const root = isObject(status) ? status : {};
      const stored = under === undefined ? root : isObject(root[under]) ? root[under] : {};
      const added = addedDrops(stored, share, clock.now());
      return added && (under === undefined ? added : { [under]: added });
    },
  });
  const shares = new StatusWriter<ConfigMapShares>({
    ...common,
    ...DROPS,
    part: "data",
    merge: mergeConfigMapShares,
    statusOf: (stored, added) => dropsText(dataOf(stored), added),
    onMissing: noteMissing,
  });
  const lastGood = new StatusWriter<ConfigMapState>({
    ...common,
    ...LAST_GOOD,
    part: "data",
    isAllowed: isLeader,
    merge: (_older, newer) => newer,
    statusOf: (stored, wanted) => {
      isMissing = false;
      isStored = true;
      const data = dataOf(stored);
      const changed = Object.entries(stateTexts(wanted)).filter(([key, text]) =>
        (data[key] ?? null) !== text
      );
      return changed.length === 0 ? undefined : Object.fromEntries(changed);
    },
    // Where no filter was ever good, nothing is lost.
    onMissing: () => state?.lastGood !== undefined && noteMissing(),
  });

  function noteMissing(): void {
    if (!isMissing) {
      log.warn(
        "The last good filters are kept in memory alone: the ConfigMap for them does not exist. The chart creates it",
        { configMap: name },
      );
    }
    isMissing = true;
  }

  function stateTexts({ lastGood: text, ready, reason, message }: ConfigMapState): JsonObject {
    const texts: JsonObject = {
      [STATUS_KEYS.ready]: ready ? "True" : "False",
      [STATUS_KEYS.reason]: reason,
      [STATUS_KEYS.message]: message,
    };
    if (text === undefined) return texts;
    if (utf8Length(text) > MAX_LAST_GOOD_BYTES) {
      log.warn("The last good filters are kept in memory alone: they are too long to be stored", {
        configMap: name,
        maxBytes: MAX_LAST_GOOD_BYTES,
      });
      return texts;
    }
    return { ...texts, [STATUS_KEYS.lastGood]: text, [STATUS_KEYS.lastGoodOf]: origin };
  }

  /** The merge patch of the data that adds shares to the drops of a ConfigMap; undefined where they add nothing. */
  function dropsText(data: JsonObject, added: ConfigMapShares): JsonObject | undefined {
    const stored = storedDrops(data);
    const storedSources = isObject(stored.sources) ? stored.sources : {};
    const inForce = filters.documentsOf("configMap").map(({ source }) => source);
    const sources: JsonObject = {};
    for (const source of inForce) {
      const share = added.sources.get(source);
      const before = storedSources[source];
      const own = patched(isObject(before) ? before : {}, share, clock.now());
      if (Object.keys(own).length > 0) sources[source] = own;
    }
    const budgetBefore = isObject(stored.budget) ? stored.budget : {};
    const budgetNow = patched(budgetBefore, added.budget, clock.now());
    const next = { sources, ...(Object.keys(budgetNow).length > 0 && { budget: budgetNow }) };
    const text = boundedText(next);
    return text === data[STATUS_KEYS.drops] ? undefined : { [STATUS_KEYS.drops]: text };
  }

  function collect(): void {
    const sources = new Map<string, Share>();
    for (const { document, share } of filters.takeShares()) {
      const { owner, source } = document;
      if (owner === undefined) sources.set(source, share);
      else {
        const under = owner.type.plural === "ingesters" ? "filters" as const : undefined;
        objects.add(owner, { share, under });
      }
    }
    if (sources.size > 0 || budget) shares.add(target, { sources, budget });
    budget = undefined;
  }

  /** Makes the work of each tick: hands the drops, and what is due, to the writers. */
  function createTick(): () => void {
    let refreshedAt = clock.monotonic();
    let retriedAt = clock.monotonic();
    return () => {
      const now = clock.monotonic();
      if (isLeader() && now - refreshedAt >= DAY_REFRESH_MS) {
        refreshedAt = now;
        filters.touchShadows();
      }
      if (isLeader() && !isStored && now - retriedAt >= RETRY_MS) {
        retriedAt = now;
        publish();
      }
      collect();
    };
  }

  function publish(): void {
    if (!state || !isLeader()) return;
    isStored = false;
    lastGood.replace(target, state);
  }

  return {
    async readLastGood(signal, beat) {
      const waits = backoff({ initialMs: 200, maxMs: 5_000 });
      let deniedAt: number | undefined;
      using _idle = { [Symbol.dispose]: () => beat.idle() };
      for (;;) {
        beat.within(READ_TURN_MS);
        try {
          const stored = await api.get(CONFIG_MAPS, statusName, { namespace: configMap.namespace, signal });
          const data = dataOf(stored);
          const text = data[STATUS_KEYS.lastGood];
          return data[STATUS_KEYS.lastGoodOf] === origin && typeof text === "string" ? text : undefined;
        } catch (error) {
          if (signal.aborted || hasStatus(error, 404)) return undefined;
          if (hasStatus(error, 403)) {
            deniedAt ??= clock.monotonic();
            if (clock.monotonic() - deniedAt >= DENIED_MS) {
              log.warn("The last good filters of an earlier run cannot be read", {
                configMap: name,
                error: errorMessage(error),
              });
              return undefined;
            }
          } else deniedAt = undefined;
          if (!await elapsed(waits.next(), { signal, sleep })) return undefined;
        }
      }
    },
    say(next) {
      state = next;
      publish();
    },
    publish,
    noteBudget(event) {
      budget ??= emptyShare(false);
      addDrop(budget, { event, reason: "budget", atMs: clock.now(), sampled: true });
    },
    async run(signal, beat = NO_BEAT) {
      // Before the writers' signal aborts, so that they still write these shares.
      signal.addEventListener("abort", collect, { once: true });
      await Promise.all([
        every(TICK_MS, createTick(), { signal, beat: beat.of("collected drops"), sleep }),
        objects.run(signal, beat.of("drops")),
        shares.run(signal, beat.of("ConfigMap drops")),
        lastGood.run(signal, beat.of("last good filters")),
      ]);
      signal.removeEventListener("abort", collect);
    },
  };
}

function mergeConfigMapShares(older: ConfigMapShares, newer: ConfigMapShares): ConfigMapShares {
  const sources = new Map(older.sources);
  for (const [source, share] of newer.sources) {
    const before = sources.get(source);
    sources.set(source, before ? mergeShares(before, share) : share);
  }
  const budget = older.budget && newer.budget
    ? mergeShares(older.budget, newer.budget)
    : newer.budget ?? older.budget;
  return { sources, budget };
}

/** The stored value with a share added. */
function patched(before: JsonObject, share: Share | undefined, now: number): JsonObject {
  const added = share ? addedDrops(before, share, now) ?? {} : {};
  return Object.fromEntries(Object.entries({ ...before, ...added }).filter(([, value]) => value !== null));
}

function boundedText(value: JsonObject): string {
  for (const limit of FEWER_DROPS) {
    const text = JSON.stringify(
      value,
      (_key, each: Json) => isListOfDrops(each) ? each.slice(0, limit) : each,
    );
    if (utf8Length(text) <= MAX_DROPS_BYTES || limit === 0) return text;
  }
  return "{}";
}

function isListOfDrops(value: Json): value is Json[] {
  return Array.isArray(value) && value.length > 0 && dropsOf(value.slice(0, 1)).length === 1;
}

/** What the data of that ConfigMap hold under `STATUS_KEYS.drops`; empty where it is no JSON object. */
export function storedDrops(data: JsonObject): JsonObject {
  const text = data[STATUS_KEYS.drops];
  if (typeof text !== "string") return {};
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function dataOf({ data }: KubeObject): JsonObject {
  return isObject(data) ? data : {};
}
