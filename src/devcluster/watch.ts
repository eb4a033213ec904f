import type { JsonObject } from "../core/json.ts";
import type { Cluster } from "./cluster.ts";
import { expired, StatusError } from "./errors.ts";
import type { Call, FaultEffect, Faults } from "./faults.ts";
import { meta } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import type { Change, Collection } from "./store.ts";
import { integer, render, type ResourceRequest, revisionOf, scope, selection } from "./verbs.ts";

/** How a watch is served. */
export interface WatchOptions {
  readonly cluster: Cluster;
  readonly faults: Faults;
  readonly call: Call;
  readonly bookmarkMs: number;
  readonly signal: AbortSignal;
  /** Renders the object of a frame: as a table where the client asked for that. */
  readonly present: (object: string) => string;
}

/** Thrown out of a watch whose connection is to break. */
export class ConnectionReset extends Error {
  override readonly name = "ConnectionReset";
}

interface Frame {
  readonly type: string;
  readonly object: string;
}

const BATCH_CHARS = 64 * 1024;

/**
 * The frames of a watch, many in one chunk; a request that is wrong throws here and now. Each watch reads the
 * collection's history at its own pace, so that a slow client costs no memory: one that falls behind gets 410.
 */
export function watch(request: ResourceRequest, options: WatchOptions): AsyncGenerator<string> {
  const collection = options.cluster.collection(request.target.resource);
  const bookmarks = /^(true|1)$/.test(request.query.get("allowWatchBookmarks") ?? "");
  const timeoutMs = (integer(request.query, "timeoutSeconds") || 1800) * 1000;
  const next = reader(request, { cluster: options.cluster, collection, bookmarks });
  return frames(next, { ...options, request, collection, bookmarks, timeoutMs });
}

async function* frames(
  next: () => Frame | undefined,
  { request, collection, bookmarks, timeoutMs, ...options }: WatchOptions & {
    request: ResourceRequest;
    collection: Collection;
    bookmarks: boolean;
    timeoutMs: number;
  },
): AsyncGenerator<string> {
  const { cluster, faults, call, signal, bookmarkMs } = options;
  const line = ({ type, object }: Frame) => `{"type":"${type}","object":${options.present(object)}}\n`;
  const end = performance.now() + timeoutMs;
  // Like the real server: two seconds before the end at the latest.
  let bookmarkAt = end - timeoutMs + Math.min(bookmarkMs, Math.max(timeoutMs - 2000, timeoutMs / 2));
  let sent = 0;
  let out = "";
  while (!signal.aborted) {
    const frame = next();
    const effect = faults.takeStream(call, { sent, frame: frame !== undefined });
    if (effect && effect.kind !== "garbled") {
      if (out) yield out;
      return yield* strike(effect, signal);
    }
    if (frame) {
      const whole = frame.type === "ERROR" ? errorLine(frame.object) : line(frame);
      out += effect ? `${whole.slice(0, whole.length >> 1)}\n` : whole;
      sent++;
      if (frame.type === "ERROR") return yield out;
      if (out.length < BATCH_CHARS) continue;
    }
    if (out) {
      yield out;
      out = "";
      continue;
    }
    const now = performance.now();
    if (collection.ended || now >= end) return;
    if (now >= bookmarkAt) {
      if (bookmarks) out = line({ type: "BOOKMARK", object: bookmark(request, cluster.store.revision) });
      bookmarkAt = now + bookmarkMs;
    } else await idle(Math.min(bookmarkAt, end) - now, { collection, faults, signal });
  }
}

function errorLine(status: string): string {
  return `{"type":"ERROR","object":${status}}\n`;
}

function reader(
  request: ResourceRequest,
  { cluster, collection, bookmarks }: { cluster: Cluster; collection: Collection; bookmarks: boolean },
): () => Frame | undefined {
  const { target } = request;
  const matches = selection(request);
  const prefix = scope(target);
  const wanted = revisionOf(request.query);
  const initial = wanted ? [] : [...collection.range(prefix)].reverse();
  let revision = wanted || cluster.store.revision;
  let announces = wanted === undefined && bookmarks;
  return () => {
    for (let stored = initial.pop(); stored; stored = initial.pop()) {
      if (!matches || matches(JSON.parse(stored.body))) {
        return { type: "ADDED", object: render(target, stored) };
      }
    }
    if (announces) {
      announces = false;
      return {
        type: "BOOKMARK",
        object: bookmark(request, revision, { "k8s.io/initial-events-end": "true" }),
      };
    }
    try {
      for (let change = collection.changeAfter(revision); change; change = collection.changeAfter(revision)) {
        revision = change.current.revision;
        if (!change.current.key.startsWith(prefix)) continue;
        const frame = matches ? selected(change, request, matches) : whole(change, request);
        if (frame) return frame;
      }
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      return { type: "ERROR", object: JSON.stringify(error.body()) };
    }
    return undefined;
  };
}

function whole({ type, current }: Change, { target }: ResourceRequest): Frame {
  return { type, object: render(target, current) };
}

function selected(
  { type, current, previous }: Change,
  { target }: ResourceRequest,
  matches: (object: JsonObject) => boolean,
): Frame | undefined {
  const before: JsonObject | undefined = previous && JSON.parse(previous.body);
  const was = before !== undefined && matches(before);
  const is = type !== "DELETED" && matches(JSON.parse(current.body));
  if (is) return { type: was ? "MODIFIED" : "ADDED", object: render(target, current) };
  if (!was) return undefined;
  // What leaves the selection is sent as it last matched, under the revision of the change.
  meta(before).resourceVersion = String(current.revision);
  return { type: "DELETED", object: render(target, { body: JSON.stringify(before) }) };
}

function bookmark({ target }: ResourceRequest, revision: number, annotations?: JsonObject): string {
  const { group, kind } = target.resource;
  const metadata = { resourceVersion: String(revision), ...(annotations ? { annotations } : {}) };
  return JSON.stringify({ kind, apiVersion: apiVersion(group, target.version.name), metadata });
}

async function* strike(effect: FaultEffect, signal: AbortSignal): AsyncGenerator<string> {
  if (effect.kind === "silent") {
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  } else if (effect.kind === "gone") {
    yield errorLine(JSON.stringify(expired("too old resource version").body()));
  } else if (effect.kind === "error") {
    const status = effect.status ?? new StatusError(500, "InternalError", "an error was injected").body();
    yield errorLine(JSON.stringify(status));
  } else throw new ConnectionReset();
}

async function idle(
  timeoutMs: number,
  { collection, faults, signal }: { collection: Collection; faults: Faults; signal: AbortSignal },
): Promise<void> {
  await new Promise<void>((resolve) => {
    const undo = [collection.onChange(done), faults.onChange(done)];
    const timer = setTimeout(done, timeoutMs);
    signal.addEventListener("abort", done, { once: true });
    function done(): void {
      for (const each of undo) each();
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
