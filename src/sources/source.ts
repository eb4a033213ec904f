/** The one shape of a source, built in or by configuration: what it reports, how that arrives, how events are drawn. */
import type { FilterDocument } from "../filters/filter.ts";
import type { KnownSource } from "../filters/warnings.ts";
import type { ResourceType } from "../kube/api.ts";
import type { DrawContext, Drawn, DrawnNote, Payload, SourceKind } from "../model/event.ts";
import type { JsonObject } from "../model/json.ts";
import { CATEGORIES, type Category, type Severity } from "../model/observation.ts";
import type { ReportScope, ViewKey } from "../model/view.ts";
import type { Rate } from "../pipeline/limits.ts";
import type { JsonLists } from "../text/json.ts";
import type { Setting, SettingValues } from "../text/setting.ts";
import { cleanText } from "../text/clean.ts";
import type { PayloadError, PayloadErrorReason } from "../model/outcome.ts";

/** A source: data, and a pure generator. See docs/adding-a-source.md. */
export interface Source {
  /** The word in `spec.source`. */
  readonly name: string;
  readonly kind: SourceKind;
  /** One line for the README table. */
  readonly summary: string;
  /** Every event type of its events; ANY where a mapping reads the type from the payload. */
  readonly eventTypes: Readonly<Record<string, EventType>>;
  /** Ways in which its payloads arrive: its own, and one for each Ingester that adds another. */
  readonly feeds: readonly Feed[];
  /** Environment variables of its own: read, documented and offered by the chart because they are listed here. */
  readonly settings?: readonly Setting<unknown>[];
  /** How lists in a posted body are split into payloads; "elements" by default. */
  readonly lists?: JsonLists;
  /** The tool's word in lower case → severity; decides before the general table. */
  readonly severities?: Readonly<Record<string, Severity>>;
  /** What tools say of the same finding or act in other words each time, for the reference page: no part of its identity. */
  readonly volatile?: readonly string[];
  /** Keys of `details` that change while the finding stays the same (a score). */
  readonly volatileDetails?: readonly string[];
  /** Set where each event carries its own window: settings and Ingesters cannot change it. */
  readonly ownWindows?: true;
  /** Set where its reports name other tools as the source of a finding. */
  readonly reportsForOthers?: true;
  /** How fast it may write; by default DEDUP_MAX_RATE_PER_SOURCE. */
  readonly rate?: Rate;
  /** The workload and the end of a watched report, where reports of this source expire. */
  scopeOf?(report: JsonObject): ReportScope;
  /** Draws every event of a payload, in order. Pure; yields an error for what cannot be read and goes on; never throws. */
  draw(payload: Payload, context: DrawContext): Iterable<Drawn | DrawnNote>;
}

/** Stands for every event type, or every category, where a mapping reads them from the payload. */
export const ANY = "*";

/** What the events of one type have in common. */
export interface EventType {
  readonly category: Category | typeof ANY;
  /** The fields of the fingerprint; `source` and `severity` are always part. */
  readonly identity: readonly string[];
}

/** One way in which payloads of a source arrive. */
export type Feed = WatchFeed | PostFeed | ConfigMapFeed;

interface AnyFeed {
  /** The object that declares the feed; absent for a built-in source's own. */
  readonly ingester?: FeedIngester;
}

/** An Ingester or ObservationMapping in force, and what it says of its feed alone. */
export interface FeedIngester {
  /** `Ingester zen-system/alertmanager`. */
  readonly id: string;
  /** Differs whenever anything of the feed does: it is then started anew. */
  readonly revision: string;
  /** Set on a door: a feed that an Ingester without a mapping adds to a built-in source. Its views are its own. */
  readonly isDoor?: true;
  /** Acts on what comes through this feed alone. */
  readonly filter?: FilterDocument;
  readonly windowSeconds?: number;
  readonly ttlSeconds?: number;
}

/** Objects read from the API server by list and watch. A type that it does not serve is absent, which is no error. */
export interface WatchFeed extends AnyFeed {
  readonly type: "watch";
  /** Of several versions of a group and plural the first that is served is watched. */
  readonly resources: readonly WatchedResource[];
  readonly scope?: WatchScope;
}

/** A resource of a watch feed. */
export interface WatchedResource extends ResourceType {
  /** Event types its objects may report; absent: any. A list of them resolves findings of these types alone. */
  readonly eventTypes?: readonly string[];
  /** Set where its tool deletes reports when they are old, and builds them anew: `scopeOf` says when. */
  readonly expires?: true;
}

/** Which objects of a resource are read; absent: all. */
export interface WatchScope {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

/** Events pushed by HTTP. */
export interface PostFeed extends AnyFeed {
  readonly type: "post";
  /** `/falco/webhook`. */
  readonly path: string;
  /** Absent: the token of the settings. */
  readonly auth?: FeedAuth;
  /** Requests of this source that may wait for their answer at once; absent: the room that all other paths share. */
  readonly waiting?: number;
  /** Deadline of an answer; absent: WEBHOOK_ACK_TIMEOUT. */
  readonly ackTimeout?: Setting<number>;
  /** Advice for a sender whose body is not JSON. */
  readonly unreadableHint?: string;
}

/** How senders prove who they are. */
export type FeedAuth =
  /** The token of the settings, as bearer or last path segment; open where none is set. */
  | { readonly type: "default" }
  | { readonly type: "none" }
  /** `secret()` is undefined while the Secret is missing: every request is then refused. */
  | { readonly type: "bearer"; secret(): string | undefined }
  /** `X-Hub-Signature-256: sha256=<hex>` over the body. */
  | { readonly type: "hmac"; secret(): string | undefined };

/** Results kept in labelled ConfigMaps of one namespace. */
export interface ConfigMapFeed extends AnyFeed {
  readonly type: "configmap";
  readonly namespace: string | Setting<string>;
  readonly labelSelector: string;
  readonly key: string;
}

/** A source as the warnings of filters know it. */
export function knownSource(source: Source): KnownSource {
  const eventTypes = Object.keys(source.eventTypes);
  const categories = categoriesOf(source);
  // Reports and ConfigMaps of any tool come through a source with an open list.
  const isOpen = eventTypes.includes(ANY) || source.reportsForOthers === true;
  return isOpen ? { name: source.name } : { name: source.name, eventTypes, categories };
}

/** Every category that events of the source can have. */
export function categoriesOf({ eventTypes }: Source): readonly Category[] {
  const named = Object.values(eventTypes).map(({ category }) => category);
  return CATEGORIES.filter((category) => named.includes(ANY) || named.includes(category));
}

/** What the watch feeds of a source read. */
export function watchedResources({ feeds }: Source): readonly WatchedResource[] {
  return feeds.flatMap((feed) => feed.type === "watch" ? feed.resources : []);
}

/** The namespace of a ConfigMap feed: its own, or that of its setting. */
export function namespaceOf({ namespace }: ConfigMapFeed, settings: SettingValues): string {
  return typeof namespace === "string" ? namespace : settings.of(namespace);
}

/** Names a feed and its version among those of all sources; "" for a built-in source's own. */
export function feedId({ ingester }: Feed): string {
  return ingester ? `${ingester.id} ${ingester.revision}` : "";
}

/** The view of a feed on one resource or path. A door has a view of its own, since a complete list of it says nothing about the source's other feeds. */
export function viewOf(
  { source, feed: { ingester } }: { readonly source: Source; readonly feed: Feed },
  at: Pick<ViewKey, "resource" | "namespace">,
): ViewKey {
  return { source: source.name, ...at, ...(ingester?.isDoor ? { ingester: ingester.id } : {}) };
}

/** Longest path and message of a payload's error: both may hold words of the payload. */
const MAX_TOLD = 256;

/** The error that `draw` yields for a part it cannot read. Path and message are cleaned for logs and terminals. */
export function unread(
  reason: PayloadErrorReason,
  path: string,
  message: string,
): { readonly error: PayloadError } {
  return { error: { reason, path: cleanText(path, MAX_TOLD), message: cleanText(message, MAX_TOLD) } };
}
