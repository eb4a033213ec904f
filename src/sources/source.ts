/** The type of every source, built in or configured: what it reports, how its payloads arrive, how events are drawn. */
import type { FilterDocument } from "../filters/filter.ts";
import type { KnownSource } from "../filters/warnings.ts";
import type { ResourceType } from "../kube/api.ts";
import type { DrawContext, Drawn, DrawnNote, Payload, SourceKind } from "../model/event.ts";
import type { JsonObject } from "../model/json.ts";
import { sourceName } from "../model/identity.ts";
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
  /** Every event type of its events; ANY if a mapping reads the type from the payload. */
  readonly eventTypes: Readonly<Record<string, EventType>>;
  /** Ways in which its payloads arrive: its own, and one for each Ingester that adds another. */
  readonly feeds: readonly Feed[];
  /** Its environment variables. Listing them here makes the program read them, and the chart and the reference offer them. */
  readonly settings?: readonly Setting<unknown>[];
  /** How lists in a posted body are split into payloads; "elements" by default. */
  readonly lists?: JsonLists;
  /** Severities by the tool's word in lower case; they take precedence over the general table. */
  readonly severities?: Readonly<Record<string, Severity>>;
  /** Fields that differ each time for the same finding or act, for the reference page. They are not part of the identity. */
  readonly volatile?: readonly string[];
  /** Keys of `details` that change while the finding stays the same (a score). */
  readonly volatileDetails?: readonly string[];
  /** Set if `details` hold fields that a tool's rules name: no such name makes its value a link. */
  readonly openDetails?: true;
  /** Set if each event has its own window: settings and Ingesters cannot change it. */
  readonly ownWindows?: true;
  /** Set if its reports can name other tools as the source of a finding. */
  readonly reportsForOthers?: OtherTools;
  /** Set if no filter of a tenant may drop its events: a tenant may be who they tell of. */
  readonly neverDroppedByTenants?: true;
  /** How fast it may write; by default DEDUP_MAX_RATE_PER_SOURCE. */
  readonly rate?: Rate;
  /** The workload and the expiry time of a watched report, if reports of this source expire. */
  scopeOf?(report: JsonObject): ReportScope;
  /** Draws every event of a payload, in order. Pure. Yields an error for each unreadable part and continues; never throws. */
  draw(payload: Payload, context: DrawContext): Iterable<Drawn | DrawnNote>;
}

/** Which tools a source's reports can name as the source of a finding. */
export interface OtherTools {
  /** The setting that lists them. */
  readonly listed: Setting<readonly string[]>;
  /** The source of findings of any other tool; no mapping can take this name. */
  readonly rest: string;
}

/** Every event type, or every category, if a mapping reads them from the payload. */
export const ANY = "*";

/** The properties of all events of one type. */
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

/** An active Ingester or ObservationMapping, and the properties of its feed. */
export interface FeedIngester {
  /** `Ingester zen-system/alertmanager`. */
  readonly id: string;
  /** Changes with every change of the feed, which is then restarted. */
  readonly revision: string;
  /** Set on a door: a feed that an Ingester without a mapping adds to a built-in source. It has its own views. */
  readonly isDoor?: true;
  /** Applies only to events of this feed. */
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
  /** Event types that its objects may report; absent: any. A list of the objects resolves only findings of these types. */
  readonly eventTypes?: readonly string[];
  /** Set if its tool deletes old reports and recreates them; `scopeOf` returns when. */
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
  /** Most requests of this source that wait for their answer at once; absent: it shares a limit with all other paths. */
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
  | ({ readonly type: "bearer" } & SecretAuth)
  /** `X-Hub-Signature-256: sha256=<hex>` over the body. */
  | ({ readonly type: "hmac" } & SecretAuth);

/** The Secret that an Ingester names. */
export interface SecretRef {
  readonly namespace: string;
  readonly name: string;
}

/** A Secret, and what its token is used for. A bearer token is one word. */
export interface NamedSecret extends SecretRef {
  readonly use: "bearer" | "hmac";
}

interface SecretAuth {
  readonly secretRef: SecretRef;
  /** Undefined while the Secret is missing: every request is then refused. */
  secret(): string | undefined;
}

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
  // A source with an open list can have events of any tool.
  const isOpen = eventTypes.includes(ANY) || source.reportsForOthers !== undefined;
  return {
    name: source.name,
    ...(isOpen ? {} : { eventTypes, categories }),
    ...(source.neverDroppedByTenants && { neverDroppedByTenants: true }),
  };
}

/** The names under which findings of other tools in the source's reports are stored. */
export function otherSourcesOf({ reportsForOthers }: Source, settings: SettingValues): readonly string[] {
  if (!reportsForOthers) return [];
  const { listed, rest } = reportsForOthers;
  return [...settings.of(listed).map(sourceName).filter(Boolean), rest];
}

/** Every category that events of the source can have. */
export function categoriesOf({ eventTypes }: Source): readonly Category[] {
  const named = Object.values(eventTypes).map(({ category }) => category);
  return CATEGORIES.filter((category) => named.includes(ANY) || named.includes(category));
}

/** The resources that the watch feeds of a source read. */
export function watchedResources({ feeds }: Source): readonly WatchedResource[] {
  return feeds.flatMap((feed) => feed.type === "watch" ? feed.resources : []);
}

/** The Secrets that the webhooks of a source name. */
export function secretRefsOf({ feeds }: Source): readonly NamedSecret[] {
  return feeds.flatMap((feed) =>
    feed.type === "post" && feed.auth && "secretRef" in feed.auth
      ? [{ ...feed.auth.secretRef, use: feed.auth.type }]
      : []
  );
}

/** The namespace of a ConfigMap feed: its own, or that of its setting. */
export function namespaceOf({ namespace }: ConfigMapFeed, settings: SettingValues): string {
  return typeof namespace === "string" ? namespace : settings.of(namespace);
}

/** Names a feed and its version among those of all sources; "" for a built-in source's own. */
export function feedId({ ingester }: Feed): string {
  return ingester ? `${ingester.id} ${ingester.revision}` : "";
}

/** The view of a feed on one resource or path. A door has its own view, because a complete list of it is not complete for the source's other feeds. */
export function viewOf(
  { source, feed: { ingester } }: { readonly source: Source; readonly feed: Feed },
  at: Pick<ViewKey, "resource" | "namespace">,
): ViewKey {
  return { source: source.name, ...at, ...(ingester?.isDoor ? { ingester: ingester.id } : {}) };
}

/** Longest path and message of a payload's error: both may contain text of the payload. */
const MAX_TOLD = 256;

/** The error that `draw` yields for a part it cannot read. Path and message are cleaned for logs and terminals. */
export function unread(
  reason: PayloadErrorReason,
  path: string,
  message: string,
): { readonly error: PayloadError } {
  return { error: { reason, path: cleanText(path, MAX_TOLD), message: cleanText(message, MAX_TOLD) } };
}
