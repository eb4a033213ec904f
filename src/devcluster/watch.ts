import type { JsonObject } from "../core/json.ts";
import { StatusError } from "./errors.ts";
import type { Call, FaultEffect, Faults } from "./faults.ts";
import { meta } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import type { Matches } from "./selectors.ts";
import type { Change } from "./store.ts";
import { integer, render, type ResourceRequest, revisionOf, scope, selection } from "./verbs.ts";

/** How a watch is served. */
export interface WatchOptions {
  readonly faults: Faults;
  readonly call: Call;
  readonly bookmarkMs: number;
  readonly signal: AbortSignal;
  /** Renders the object of a frame: as a table where the client asked for that. */
  readonly present: (object: string) => string;
}

/** Thrown out of a watch whose connection is to break. */
export class ConnectionReset extends Error {}

interface Frame {
  readonly type: string;
  readonly object: string;
}

const BATCH_CHARS = 64 * 1024;

/** The frames of a watch, many in one chunk; a request that is wrong throws here and now. */
export function watch(request: ResourceRequest, options: WatchOptions): AsyncGenerator<string> {
  const timeoutMs = (integer(request.query, "timeoutSeconds") || 1800) * 1000;
  return frames(request, { ...options, timeoutMs, next: reader(request) });
}

/**
 * Each watch reads the collection's history at its own pace, so that a slow client costs no memory: one that falls
 * behind the history gets 410.
 */
async function* frames(
  request: ResourceRequest,
  { faults, call, signal, present, bookmarkMs, timeoutMs, next }: WatchOptions & {
    timeoutMs: number;
    next: () => Frame | undefined;
  },
): AsyncGenerator<string> {
  const collection = request.cluster.collection(request.target.resource);
  const line = ({ type, object }: Frame) =>
    `{"type":"${type}","object":${type === "ERROR" ? object : present(object)}}\n`;
  const end = performance.now() + timeoutMs;
  // Like the real server: two seconds before the end at the latest.
  let bookmarkAt = end - timeoutMs + Math.min(bookmarkMs, Math.max(timeoutMs - 2000, timeoutMs / 2));
  let out = "";
  for (let sent = 0; !signal.aborted;) {
    let frame = next();
    const effect = faults.takeStream(call, { sent, frame: frame !== undefined });
    if (effect && effect.kind !== "garbled") frame = await strike(effect, signal);
    if (frame) {
      out += effect?.kind === "garbled" ? `${line(frame).slice(0, -20)}\n` : line(frame);
      sent++;
      if (frame.type === "ERROR") return yield out;
      if (out.length < BATCH_CHARS) continue;
    }
    const now = performance.now();
    if (out) {
      yield out;
      out = "";
    } else if (collection.ended || now >= end) return;
    else if (now >= bookmarkAt) {
      if (wantsBookmarks(request)) out = line({ type: "BOOKMARK", object: bookmark(request) });
      bookmarkAt = now + bookmarkMs;
    } else await idle(Math.min(bookmarkAt, end) - now, { signal, sources: [collection, faults] });
  }
}

function reader(request: ResourceRequest): () => Frame | undefined {
  const { cluster: { store }, target, query } = request;
  const collection = request.cluster.collection(target.resource);
  const matches = selection(request);
  const prefix = scope(target);
  const wanted = query.get("sendInitialEvents") === "true" ? undefined : revisionOf(query);
  const initial = wanted ? [] : [...collection.range(prefix)].reverse();
  const first = {
    type: "BOOKMARK",
    object: bookmark(request, { annotations: { "k8s.io/initial-events-end": "true" } }),
  };
  const announced = wanted === undefined && wantsBookmarks(request) ? [first] : [];
  let revision = wanted || store.revision;
  return () => {
    for (let stored = initial.pop(); stored; stored = initial.pop()) {
      if (!matches || matches(JSON.parse(stored.body))) {
        return { type: "ADDED", object: render(target, stored) };
      }
    }
    if (announced.length > 0) return announced.pop();
    try {
      for (let change = collection.changeAfter(revision); change; change = collection.changeAfter(revision)) {
        revision = change.current.revision;
        const frame = change.current.key.startsWith(prefix)
          ? frameOf(change, { request, matches })
          : undefined;
        if (frame) return frame;
      }
      return undefined;
    } catch (error) {
      return { type: "ERROR", object: JSON.stringify((error as StatusError).body()) };
    }
  };
}

function frameOf(
  { type, current, previous }: Change,
  { request: { target }, matches }: { request: ResourceRequest; matches: Matches | undefined },
): Frame | undefined {
  if (!matches) return { type, object: render(target, current) };
  const before: JsonObject | undefined = previous && JSON.parse(previous.body);
  const was = before !== undefined && matches(before);
  const is = type !== "DELETED" && matches(JSON.parse(current.body));
  if (is) return { type: was ? "MODIFIED" : "ADDED", object: render(target, current) };
  if (!was) return undefined;
  // What leaves the selection is sent as it last matched, under the revision of the change.
  meta(before).resourceVersion = String(current.revision);
  return { type: "DELETED", object: render(target, { body: JSON.stringify(before) }) };
}

function wantsBookmarks({ query }: ResourceRequest): boolean {
  return /^(true|1)$/.test(query.get("allowWatchBookmarks") ?? "");
}

function bookmark(
  { cluster: { store }, target: { resource, version } }: ResourceRequest,
  extra: JsonObject = {},
): string {
  const metadata = { resourceVersion: String(store.revision), ...extra };
  return JSON.stringify({
    kind: resource.kind,
    apiVersion: apiVersion(resource.group, version.name),
    metadata,
  });
}

async function strike(effect: FaultEffect, signal: AbortSignal): Promise<Frame | undefined> {
  if (effect.kind === "reset") throw new ConnectionReset();
  if (effect.kind === "silent") return await idle(undefined, { signal, sources: [] });
  const status = effect.kind === "gone"
    ? new StatusError(410, "Expired", "too old resource version").body()
    : new StatusError(500, "InternalError", "an error was injected").body();
  return { type: "ERROR", object: JSON.stringify(effect.kind === "error" && effect.status || status) };
}

/** Waits until a source changes, the time is over (never, if undefined) or the signal aborts. */
export async function idle(
  timeoutMs: number | undefined,
  { signal, sources }: { signal: AbortSignal; sources: { onChange(wake: () => void): () => void }[] },
): Promise<undefined> {
  await new Promise<void>((resolve) => {
    const undo = sources.map((source) => source.onChange(done));
    const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
    function done(): void {
      for (const each of undo) each();
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
