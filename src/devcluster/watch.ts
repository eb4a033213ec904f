import type { JsonObject } from "../core/json.ts";
import type { StatusError } from "./errors.ts";
import { meta } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import type { Matches } from "./selectors.ts";
import type { Change, Collection, Stored } from "./store.ts";
import { type Asked, integer, isTrue, render, revisionOf, scope, selection } from "./verbs.ts";

const BATCH_CHARS = 256 * 1024;

/**
 * A watch; a request that is wrong throws at once. Each reads the collection's history at its own pace, so that a slow
 * client costs no memory: one that falls behind gets 410. `present` renders objects: as tables where the client asked
 * for that.
 */
export class Watch {
  readonly #collection: Collection;
  readonly #matches: Matches | undefined;
  readonly #bookmarks: boolean;
  readonly #timeoutMs: number;
  readonly #initial: Stored[] = [];
  #announces: boolean;
  #revision: number;
  #failed = false;

  constructor(readonly asked: Asked, readonly present: (object: string) => string) {
    const { cluster, target, query } = asked;
    this.#collection = cluster.collectionOf(target);
    this.#matches = selection(asked);
    this.#bookmarks = isTrue(query, "allowWatchBookmarks");
    this.#timeoutMs = (integer(query, "timeoutSeconds") || 1800) * 1000;
    const from = isTrue(query, "sendInitialEvents") ? undefined : revisionOf(query);
    if (!from) this.#initial = [...this.#collection.range(scope(target))].reverse();
    this.#announces = from === undefined && this.#bookmarks;
    this.#revision = from || cluster.revisions.revision;
  }

  /** The frames, many in one chunk. */
  async *chunks(): AsyncGenerator<string> {
    const { signal, bookmarkMs } = this.asked;
    const start = performance.now();
    const end = start + this.#timeoutMs;
    // Like the real server: two seconds before the end at the latest.
    let bookmarkAt = start + Math.min(bookmarkMs, Math.max(this.#timeoutMs - 2000, this.#timeoutMs / 2));
    while (!signal.aborted) {
      let out = "";
      for (let line = this.#next(); line; line = this.#next()) {
        if ((out += line).length > BATCH_CHARS) break;
      }
      const now = performance.now();
      if (out) yield out;
      else if (this.#failed || this.#collection.ended || now >= end) return;
      else if (now < bookmarkAt) await idle(Math.min(bookmarkAt, end) - now, signal, this.#collection);
      else {
        if (this.#bookmarks) yield this.#bookmark();
        bookmarkAt = now + bookmarkMs;
      }
    }
  }

  #next(): string | undefined {
    const { target } = this.asked;
    for (let stored = this.#initial.pop(); stored; stored = this.#initial.pop()) {
      const isSelected = !this.#matches || this.#matches(JSON.parse(stored.body));
      if (isSelected) return this.#line("ADDED", render(target, stored));
    }
    if (this.#announces) {
      this.#announces = false;
      return this.#bookmark({ annotations: { "k8s.io/initial-events-end": "true" } });
    }
    try {
      while (!this.#failed) {
        const change = this.#collection.changeAfter(this.#revision);
        if (!change) break;
        this.#revision = change.current.revision;
        const line = change.current.key.startsWith(scope(target)) ? this.#changeLine(change) : undefined;
        if (line) return line;
      }
      return undefined;
    } catch (error) {
      this.#failed = true;
      return `{"type":"ERROR","object":${JSON.stringify((error as StatusError).body())}}\n`;
    }
  }

  #changeLine({ type, current, previous }: Change): string | undefined {
    const { target } = this.asked;
    if (!this.#matches) return this.#line(type, render(target, current));
    const before: JsonObject | undefined = previous && JSON.parse(previous.body);
    const was = before !== undefined && this.#matches(before);
    const is = type !== "DELETED" && this.#matches(JSON.parse(current.body));
    if (is) return this.#line(was ? "MODIFIED" : "ADDED", render(target, current));
    if (!was) return undefined;
    // What leaves the selection is sent as it last matched, under the revision of the change.
    meta(before).resourceVersion = String(current.revision);
    return this.#line("DELETED", render(target, { body: JSON.stringify(before) }));
  }

  #bookmark(extra?: JsonObject): string {
    const { cluster, target: { resource: { group, kind }, version } } = this.asked;
    const metadata = { resourceVersion: String(cluster.revisions.revision), ...extra };
    const object = { kind, apiVersion: apiVersion(group, version.name), metadata };
    return this.#line("BOOKMARK", JSON.stringify(object));
  }

  #line(type: string, object: string): string {
    return `{"type":"${type}","object":${this.present(object)}}\n`;
  }
}

/** Waits until the time is over (never, if undefined), the signal aborts or the collection changes. */
export async function idle(
  timeoutMs: number | undefined,
  signal: AbortSignal,
  of?: Collection,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = () => resolve();
  const forget = of?.onChange(wake);
  const timer = timeoutMs === undefined ? undefined : setTimeout(wake, timeoutMs);
  signal.addEventListener("abort", wake);
  if (!signal.aborted) await promise;
  forget?.();
  clearTimeout(timer);
  signal.removeEventListener("abort", wake);
}
