/** The events that a filter document dropped, and how they are added to its status. Pure. */
import type { NormalEvent } from "../model/event.ts";
import { canonicalJson } from "../model/identity.ts";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import { DAY_MS, formatSeconds } from "../model/time.ts";
import { cleanText } from "../text/clean.ts";

/** Most drops in a status. */
export const MAX_DROPS = 10;
const MAX_TEXT = 256;
const HOUR_MS = 3_600_000;

/** One dropped event, as it is in a status. */
export interface Drop {
  /** RFC 3339. */
  readonly time: string;
  readonly source: string;
  readonly severity: string;
  readonly rule?: string;
  /** Of the resource. */
  readonly namespace?: string;
  /** `Deployment/web`. */
  readonly resource?: string;
  readonly reason: string;
}

/** The events that a document dropped and that are not in its status yet. */
export interface Share {
  readonly isShadow: boolean;
  /** Events by the hour (ms since the epoch). */
  readonly hours: Map<number, number>;
  /** Newest first, each different. */
  drops: readonly Seen[];
}

/** A drop before secrets in it are masked for the status. */
interface Seen {
  readonly atMs: number;
  readonly source: string;
  readonly severity: string;
  readonly rule: string;
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly reason: string;
}

/** A share without dropped events. */
export function emptyShare(isShadow: boolean): Share {
  return { isShadow, hours: new Map(), drops: [] };
}

/** Counts an event; `sampled` false counts it and does not show it. */
export function addDrop(
  share: Share,
  { event, reason, atMs, sampled }: {
    readonly event: NormalEvent;
    readonly reason: string;
    readonly atMs: number;
    readonly sampled: boolean;
  },
): void {
  const hour = atMs - atMs % HOUR_MS;
  share.hours.set(hour, (share.hours.get(hour) ?? 0) + 1);
  if (!sampled) return;
  const { source, severity, rule, resource } = event;
  const { namespace = "", kind = "", name = "" } = resource ?? {};
  const seen = { atMs, source, severity, rule, namespace, kind, name, reason };
  const others = share.drops.filter((each) => !isSame(each, seen));
  share.drops = [seen, ...others.slice(0, MAX_DROPS - 1)];
}

/** Adds two shares of one document. If its mode changed in between, only the newer share counts. */
export function mergeShares(older: Share, newer: Share): Share {
  if (older.isShadow !== newer.isShadow) return newer;
  const hours = new Map(older.hours);
  for (const [hour, count] of newer.hours) hours.set(hour, (hours.get(hour) ?? 0) + count);
  const kept = older.drops.filter((drop) => !newer.drops.some((each) => isSame(each, drop)));
  return { isShadow: older.isShadow, hours, drops: [...newer.drops, ...kept].slice(0, MAX_DROPS) };
}

/** The merge patch that adds a share to a status; undefined if it adds nothing. */
export function addedDrops(stored: JsonObject, share: Share, now: number): JsonObject | undefined {
  const added = share.isShadow ? shadowed(stored, share, now) : enforced(stored, share);
  const changed = Object.entries(added).filter(([key, value]) =>
    canonicalJson(stored[key] ?? null) !== canonicalJson(value)
  );
  return changed.length === 0 ? undefined : Object.fromEntries(changed);
}

function enforced(stored: JsonObject, share: Share): JsonObject {
  const count = [...share.hours.values()].reduce((sum, each) => sum + each, 0);
  if (count === 0) return { wouldDrop: null };
  return {
    dropped: countOf(stored.dropped) + count,
    lastDrops: mergedDrops(dropsOf(stored.lastDrops), share).map(toJson),
    wouldDrop: null,
  };
}

function shadowed(stored: JsonObject, share: Share, now: number): JsonObject {
  const before = isObject(stored.wouldDrop) ? stored.wouldDrop : {};
  const hours = new Map(hoursOf(before.hours));
  for (const [hour, count] of share.hours) hours.set(hour, (hours.get(hour) ?? 0) + count);
  const from = now - now % HOUR_MS - DAY_MS;
  const recent = [...hours].filter(([hour]) => hour >= from && hour <= now).sort(([a], [b]) => a - b);
  const samples = mergedDrops(dropsOf(before.samples), share)
    .filter((drop) => Date.parse(drop.time) >= from);
  if (recent.length === 0 && samples.length === 0) return { wouldDrop: null };
  return {
    wouldDrop: {
      lastDay: recent.reduce((sum, [, count]) => sum + count, 0),
      hours: recent.map(([hour, count]) => ({ hour: formatSeconds(hour), count })),
      samples: samples.map(toJson),
    },
  };
}

/** The drops in a status, without values of any other form. */
export function dropsOf(value: Json | undefined): Drop[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each): Drop[] => {
    if (!isObject(each)) return [];
    const { time, source, severity, reason } = each;
    if (typeof time !== "string" || Number.isNaN(Date.parse(time)) || typeof source !== "string") return [];
    const { rule, namespace, resource } = each;
    return [{
      time,
      source,
      severity: typeof severity === "string" ? severity : "",
      ...(typeof rule === "string" && { rule }),
      ...(typeof namespace === "string" && { namespace }),
      ...(typeof resource === "string" && { resource }),
      reason: typeof reason === "string" ? reason : "",
    }];
  });
}

function mergedDrops(stored: readonly Drop[], share: Share): Drop[] {
  const merged = new Map<string, Drop>();
  for (const drop of [...share.drops.map(shown), ...stored]) {
    const { time: at, ...what } = drop;
    const key = JSON.stringify(what);
    const known = merged.get(key);
    if (!known || known.time < at) merged.set(key, drop);
  }
  return [...merged.values()].sort((a, b) => a.time < b.time ? 1 : a.time > b.time ? -1 : 0)
    .slice(0, MAX_DROPS);
}

/** Masks the names: senders choose them, and they can contain secrets. */
function shown({ atMs, source, severity, rule, namespace, kind, name, reason }: Seen): Drop {
  const text = (value: string) => cleanText(value, MAX_TEXT);
  const resource = [kind, name].filter((part) => part !== "").join("/");
  return {
    time: formatSeconds(atMs),
    source,
    severity,
    ...(rule !== "" && { rule: text(rule) }),
    ...(namespace !== "" && { namespace: text(namespace) }),
    ...(resource !== "" && { resource: text(resource) }),
    reason,
  };
}

function toJson(drop: Drop): JsonObject {
  return { ...drop };
}

function isSame(a: Seen, b: Seen): boolean {
  return a.rule === b.rule && a.name === b.name && a.namespace === b.namespace && a.kind === b.kind &&
    a.reason === b.reason && a.source === b.source && a.severity === b.severity;
}

function countOf(value: Json | undefined): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function hoursOf(value: Json | undefined): [number, number][] {
  return (Array.isArray(value) ? value : []).flatMap((each): [number, number][] => {
    const hour = isObject(each) ? Date.parse(String(each.hour)) : NaN;
    return isObject(each) && !Number.isNaN(hour) ? [[hour, countOf(each.count)]] : [];
  });
}
