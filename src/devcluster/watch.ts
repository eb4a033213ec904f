import type { JsonObject } from "../core/json.ts";
import type { StatusError } from "./errors.ts";
import { keyPrefix, meta } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import { type Matches, selection } from "./selectors.ts";
import type { Change, Collection } from "./store.ts";
import { type Asked, integer, isTrue, render, revisionOf } from "./verbs.ts";

const BATCH_CHARS = 256 * 1024;
const encoder = new TextEncoder();

/**
 * A watch as the source of an answer's body; a request that is wrong throws at once. Each reads the collection's history
 * at its own pace, so that a slow client costs no memory: one that falls behind gets 410. `present` renders objects: as
 * tables where the client asked for that.
 */
export class Watch implements UnderlyingDefaultSource<Uint8Array> {
  readonly #collection: Collection;
  readonly #matches: Matches | undefined;
  readonly #bookmarks: boolean;
  readonly #lines: Generator<string | undefined, void>;
  readonly #endAt: number;
  #bookmarkAt: number;
  #isCancelled = false;

  constructor(readonly asked: Asked, readonly present: (object: string) => string) {
    const { target, query, bookmarkMs } = asked;
    this.#collection = target.resource.objects;
    this.#matches = selection(asked);
    this.#bookmarks = isTrue(query, "allowWatchBookmarks");
    this.#lines = this.#linesFrom(isTrue(query, "sendInitialEvents") ? undefined : revisionOf(query));
    const now = performance.now();
    const timeoutMs = (integer(query, "timeoutSeconds") || 1800) * 1000;
    this.#endAt = now + timeoutMs;
    // Like the real server: two seconds before the end at the latest.
    this.#bookmarkAt = now + Math.min(bookmarkMs, Math.max(timeoutMs - 2000, timeoutMs / 2));
  }

  /** Sends what there is, many lines in one chunk, or waits for it. */
  async pull(body: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { signal, bookmarkMs, cluster } = this.asked;
    let out = "";
    while (!out && !signal.aborted && !this.#isCancelled) {
      let next = this.#lines.next();
      for (; next.value; next = this.#lines.next()) {
        if ((out += next.value).length > BATCH_CHARS) break;
      }
      const now = performance.now();
      if (out || next.done || now >= this.#endAt) break;
      if (now < this.#bookmarkAt) {
        await this.#collection.changed(Math.min(this.#bookmarkAt, this.#endAt) - now);
        continue;
      }
      if (this.#bookmarks) out = this.#bookmark(cluster.revisions.revision);
      this.#bookmarkAt = now + bookmarkMs;
    }
    if (out) body.enqueue(encoder.encode(out));
    else if (!this.#isCancelled) body.close();
  }

  /** The client has gone. */
  cancel(): void {
    this.#isCancelled = true;
    this.#collection.wake();
  }

  /** Every line; undefined where there is none yet. */
  *#linesFrom(from: number | undefined): Generator<string | undefined, void> {
    const { cluster, target } = this.asked;
    let revision = from || cluster.revisions.revision;
    for (const stored of from ? [] : [...this.#collection.range(keyPrefix(target))]) {
      const isSelected = !this.#matches || this.#matches(JSON.parse(stored.body));
      if (isSelected) yield this.#line("ADDED", render(target, stored));
    }
    if (from === undefined && this.#bookmarks) {
      yield this.#bookmark(revision, { annotations: { "k8s.io/initial-events-end": "true" } });
    }
    try {
      for (;;) {
        const change = this.#collection.changeAfter(revision);
        if (!change && this.#collection.ended) return;
        const line = change?.current.key.startsWith(keyPrefix(target)) ? this.#changeLine(change) : undefined;
        revision = change?.current.revision ?? revision;
        if (line || !change) yield line;
      }
    } catch (error) {
      yield `{"type":"ERROR","object":${JSON.stringify((error as StatusError).body())}}\n`;
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

  #bookmark(revision: number, extra?: JsonObject): string {
    const { resource: { group, kind }, version } = this.asked.target;
    const metadata = { resourceVersion: String(revision), ...extra };
    return this.#line(
      "BOOKMARK",
      JSON.stringify({ kind, apiVersion: apiVersion(group, version.name), metadata }),
    );
  }

  #line(type: string, object: string): string {
    return `{"type":"${type}","object":${this.present(object)}}\n`;
  }
}
