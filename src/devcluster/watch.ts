import type { JsonObject } from "../model/json.ts";
import type { StatusError } from "./errors.ts";
import { meta, objectKey } from "./objects.ts";
import { apiVersion } from "./resources.ts";
import { type Matches, selection } from "./selectors.ts";
import type { Change } from "./store.ts";
import { type Asked, encode, integerParameter, isTrue, revisionOf } from "./verbs.ts";

const BATCH_CHARS = 256 * 1024;

/**
 * A watch as the source of an answer's body; a request that is wrong throws at once. Each reads the collection's history
 * at its own pace, so that a slow client costs no memory: one that falls behind gets 410. `present` renders objects: as
 * tables where the client asked for that.
 */
export class WatchStream implements UnderlyingDefaultSource<Uint8Array> {
  readonly #chunks: AsyncGenerator<string>;
  readonly #matches: Matches | undefined;
  #isCancelled = false;

  constructor(readonly asked: Asked, readonly present: (object: string) => string) {
    const { query } = asked;
    const from = isTrue(query, "sendInitialEvents") ? undefined : revisionOf(query);
    const timeoutMs = (integerParameter(query, "timeoutSeconds") || 1800) * 1000;
    this.#matches = selection(asked);
    this.#chunks = this.#chunksFrom(from, timeoutMs);
  }

  /** Sends what there is, or waits for it. */
  async pull(body: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { value } = await this.#chunks.next();
    if (value) body.enqueue(new TextEncoder().encode(value));
    else if (!this.#isCancelled) body.close();
  }

  /** The client has gone. */
  cancel(): void {
    this.#isCancelled = true;
    this.asked.target.resource.objects.wake();
  }

  /** Every line, many in one chunk where there are many. */
  async *#chunksFrom(from: number | undefined, timeoutMs: number): AsyncGenerator<string> {
    const { target, query, bookmarkMs, signal, cluster: { revisions } } = this.asked;
    const { objects } = target.resource;
    const bookmarks = isTrue(query, "allowWatchBookmarks");
    const endAt = performance.now() + timeoutMs;
    // Like the real server: two seconds before the end at the latest.
    let bookmarkAt = endAt - timeoutMs + Math.min(bookmarkMs, Math.max(timeoutMs - 2000, timeoutMs / 2));
    let revision = from || revisions.revision;
    let out = "";
    for (const current of from ? [] : [...objects.range(objectKey(target))]) {
      out += this.#changeLine({ type: "ADDED", current, previous: undefined });
      if (out.length < BATCH_CHARS) continue;
      yield out;
      out = "";
    }
    const initial = { annotations: { "k8s.io/initial-events-end": "true" } };
    if (from === undefined && bookmarks) out += this.#bookmark(revision, initial);
    try {
      while (!signal.aborted && !this.#isCancelled) {
        const change = out.length < BATCH_CHARS ? objects.changeAfter(revision) : undefined;
        const now = performance.now();
        if (change) {
          revision = change.current.revision;
          out += this.#changeLine(change);
        } else if (out) {
          yield out;
          out = "";
        } else if (objects.ended || now >= endAt) return;
        else if (now < bookmarkAt) await objects.changed(Math.min(bookmarkAt, endAt) - now);
        else {
          bookmarkAt = now + bookmarkMs;
          if (bookmarks) out = this.#bookmark(revisions.revision);
        }
      }
    } catch (error) {
      yield `${out}{"type":"ERROR","object":${JSON.stringify((error as StatusError).body())}}\n`;
    }
  }

  /** A change as this watch sees it; "" where it does not. */
  #changeLine({ type, current, previous }: Change): string {
    const { target } = this.asked;
    if (!current.key.startsWith(objectKey(target))) return "";
    if (!this.#matches) return this.#line(type, encode(target, current));
    const before: JsonObject | undefined = previous && JSON.parse(previous.body);
    const was = before !== undefined && this.#matches(before);
    const is = type !== "DELETED" && this.#matches(JSON.parse(current.body));
    if (is) return this.#line(was ? "MODIFIED" : "ADDED", encode(target, current));
    if (!was) return "";
    // What leaves the selection is sent as it last matched, under the revision of the change.
    meta(before).resourceVersion = String(current.revision);
    return this.#line("DELETED", encode(target, { body: JSON.stringify(before) }));
  }

  #bookmark(revision: number, more?: JsonObject): string {
    const { resource: { group, kind }, version } = this.asked.target;
    const metadata = { resourceVersion: String(revision), ...more };
    const object = { kind, apiVersion: apiVersion(group, version.name), metadata };
    return this.#line("BOOKMARK", JSON.stringify(object));
  }

  #line(type: string, object: string): string {
    return `{"type":"${type}","object":${this.present(object)}}\n`;
  }
}
