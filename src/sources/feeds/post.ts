/** The post feeds: finds the feed of a path, and passes posted payloads to the intake. */
import type { PayloadError } from "../../model/outcome.ts";
import type { Intake, IntakeResult, PayloadParts, TakeContext } from "../../pipeline/intake.ts";
import type { SettingValues } from "../../text/setting.ts";
import { type PostFeed, type Source, viewOf } from "../source.ts";
import type { SourceStates } from "../status.ts";

/** A post feed and its source. */
export interface Post {
  readonly source: Source;
  readonly feed: PostFeed;
  /** The deadline of an answer. */
  readonly ackTimeoutMs: number;
}

export interface PostFeedsOptions {
  readonly intake: Intake;
  readonly settings: SettingValues;
  /** WEBHOOK_ACK_TIMEOUT, for feeds that have no `ackTimeout`. */
  readonly ackTimeoutMs: number;
  readonly states: SourceStates;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  /** Called with the number of events of an Ingester. */
  readonly noteEvents: (ingester: string, count: number) => void;
}

/** Most requests that wait at once, for all sources together that have no `waiting`. */
const SHARED_WAITING = 100;

/** The post feeds of this process. */
export class PostFeeds {
  readonly #options: PostFeedsOptions;
  #byPath: ReadonlyMap<string, Post> = new Map();

  constructor(options: PostFeedsOptions) {
    this.#options = options;
  }

  /** Replaces the sources. */
  set(sources: readonly Source[]): void {
    const { states } = this.#options;
    const before = this.#byPath;
    this.#byPath = new Map(sources.flatMap((source) => this.#postsOf(source)));
    for (const [path, post] of before) {
      if (!this.#byPath.has(path)) states.forget(viewOf(post, { resource: path }));
    }
    for (const [path, post] of this.#byPath) states.set(viewOf(post, { resource: path }), "serving");
  }

  /** The active paths, without tokens. */
  get paths(): readonly string[] {
    return [...this.#byPath.keys()];
  }

  /** The feed of a path, and the token if the path's last segment is one. Paths are compared decoded. */
  find(path: string): { readonly post: Post; readonly token?: string } | undefined {
    // A token in base64 can have characters that are escaped in a path, so each segment is decoded separately.
    const segments = path.split("/").map(decoded);
    const exact = this.#byPath.get(segments.join("/"));
    if (exact) return { post: exact };
    const token = segments.pop() ?? "";
    const post = this.#byPath.get(segments.join("/"));
    return post && (token === "" ? { post } : { post, token });
  }

  #postsOf(source: Source): [path: string, post: Post][] {
    const { settings, ackTimeoutMs } = this.#options;
    return source.feeds.flatMap((feed): [string, Post][] => {
      if (feed.type !== "post") return [];
      const { path, ackTimeout } = feed;
      return [[path, { source, feed, ackTimeoutMs: ackTimeout ? settings.of(ackTimeout) : ackTimeoutMs }]];
    });
  }

  /** The longest of all deadlines. A door has that of its source or the default one, so that later ones are none longer. */
  get longestAckTimeoutMs(): number {
    const ownMs = [...this.#byPath.values()].map((post) => post.ackTimeoutMs);
    return Math.max(this.#options.ackTimeoutMs, ...ownMs);
  }

  /** Resolves once every event of the payload's parts has its outcome. */
  async take(
    { source, feed }: Post,
    parts: PayloadParts,
    { receivedAt, ...context }: {
      readonly signal: AbortSignal;
      readonly correlationId: string;
      readonly receivedAt: number;
      readonly onOnlyNamespace?: TakeContext["onOnlyNamespace"];
    },
  ): Promise<IntakeResult> {
    const { intake, states, noteEvents } = this.#options;
    const result = await intake.take(source, parts, { feed, ...context });
    if (result.received > 0) {
      states.sawEvents(source.name, receivedAt);
      if (feed.ingester) noteEvents(feed.ingester.id, result.received);
    }
    return result;
  }

  /** Counts a body, or a part of one, that is not JSON: an error of its source. */
  unreadable({ source }: Post, error: PayloadError, correlationId: string): void {
    this.#options.payloadError(source.name, error, correlationId);
  }
}

/** The waiting room of a feed: that of its source, else the one that all other sources share. */
export function roomOf(
  { source, feed: { waiting } }: Post,
): { readonly name: string; readonly size: number } {
  return waiting === undefined ? { name: "", size: SHARED_WAITING } : { name: source.name, size: waiting };
}

/** A segment with its percent-escapes decoded; unchanged if they are invalid. */
function decoded(segment: string): string {
  if (!segment.includes("%")) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
