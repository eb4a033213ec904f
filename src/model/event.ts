import type { Category, Resource, Severity } from "./observation.ts";
import type { Json, JsonObject } from "./json.ts";
import type { FilterReason, PayloadError } from "./outcome.ts";

/**
 * A finding is a state: its identity holds while the Observation exists.
 * An occurrence is an act: its identity holds for a sliding window.
 */
export type SourceKind = "finding" | "occurrence";

/** One finding or occurrence as a source draws it from a payload: the tool's own words, not yet cleaned. */
export interface DrawnEvent {
  /** The name of another tool, where a source carries the results of several (policy reports do). */
  readonly source?: string;
  readonly category: Category;
  /** The tool's word, any case; null where it says none. */
  readonly severity: string | null;
  readonly eventType: string;
  readonly message: string;
  /** The tool's own ids for filters' `Rules`: a CVE, a check id; `policy` and `policy/rule`. */
  readonly rules: readonly string[];
  /** The one of them that is stored as `spec.rule`; by default the first. */
  readonly rule?: string;
  readonly resource?: Resource;
  /**
   * An allow-list, never the raw input; where the tool's fields are open (Falco's output fields), the source bounds them
   * itself.
   */
  readonly details: JsonObject;
  /**
   * Of `message` and the keys of details those that hold sentences of the tool's catalogue and names of objects alone: they
   * are not masked. All others may hold command lines or output.
   */
  readonly prose?: readonly string[];
  /** The tool's own time: RFC 3339, or milliseconds since the epoch. */
  readonly detectedAt?: string | number;
  /** The fields the fingerprint is made of. Source and severity are added by normalise. */
  readonly identity: JsonObject;
  /** Window of this act in ms where it is not its source's; Infinity: as long as the Observation is stored, and a repeat adds nothing. */
  readonly windowMs?: number;
  /** Names one of the repeats, the same each time that it is sent: it is then counted once. */
  readonly request?: Json;
  /** Set if an earlier event tells of the same act: where that is stored, this one adds nothing. */
  readonly isLaterStage?: true;
  /** The source's own verdict on an act that is not relevant (audit): counted as filtered. */
  readonly drop?: Extract<FilterReason, "not_relevant" | "own_request" | "api_server_starting">;
  /** A pushed finding that its tool says is over (Alertmanager's `resolved`). */
  readonly resolved?: boolean;
  /** When it ended by what the tool says: RFC 3339, or milliseconds since the epoch. */
  readonly resolvedAt?: string | number;
  readonly ttlSeconds?: number;
  /** How often an object that keeps an act says that it happened: its time may be the same for several, in whole seconds. */
  readonly count?: number;
}

/** A request to the API server, as rights name it; absent parts are "". */
export interface ApiRequest {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Without the query. */
  readonly path: string;
}

/** What `draw` reads besides the payload. */
export interface DrawContext {
  /** Username of zen-watcher at the API server, "" while unknown. */
  readonly ownUser: string;
  /** Names that no report can take: those of the built-in sources. */
  readonly reservedSources: ReadonlySet<string>;
  /** The value of one of the source's own settings. */
  readonly setting: <T>(declared: { readonly env: string; parse(text: string): T }) => T;
  /** Whether zen-watcher itself sends such a request. */
  readonly isOwnRequest: (request: ApiRequest) => boolean;
  /** Whether an API server was starting at that time (ms), as far as this replica noticed. */
  readonly isApiServerStarting: (atMs: number) => boolean;
}

/** An event of a payload, or what cannot be read of it. */
export type Drawn = { readonly event: DrawnEvent } | { readonly error: PayloadError };

/**
 * What a generator says beside events and errors. `skipped`: an item is no finding, so that a long payload without
 * findings takes turns and keeps to its deadline. `partial`: the tool shows a part of its list, which ends nothing.
 */
export interface DrawnNote {
  readonly note: "skipped" | "partial";
  /** Why it is skipped, for `explain`: `ClusterComplianceReport is a summary of others`. */
  readonly why?: string;
}

/** Where a payload came from. */
export interface Origin {
  /** Namespace of the report or mapped object; "" for a cluster-scoped one; undefined for pushed payloads. */
  readonly namespace?: string;
  /** Name of the report, ConfigMap or object; undefined for pushed payloads. */
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /**
   * True where findings may name only resources of `namespace`: any other claim goes to
   * `details.claimedResource`. False for ConfigMaps in configured namespaces, core Events, webhooks.
   */
  readonly confined: boolean;
}

/** One parsed payload on its way into a source's generator: a document, or a part of one. */
export interface Payload {
  readonly body: Json;
  /** Where the part stands in what was sent: `items[3]`. Paths of errors begin with it. */
  readonly path?: string;
  readonly origin: Origin;
  /** Milliseconds since the epoch. */
  readonly receivedAt: number;
}

/** What the pipeline reads of a source: `Source` of src/sources/source.ts has it. */
export interface EventSource {
  readonly name: string;
  readonly kind: SourceKind;
  readonly severities?: Readonly<Record<string, Severity>>;
  readonly volatileDetails?: readonly string[];
  readonly neverDroppedByTenants?: true;
  readonly openDetails?: true;
  draw(payload: Payload, context: DrawContext): Iterable<Drawn | DrawnNote>;
}

/** What the pipeline reads of the feed that brought a payload: `Feed` of src/sources/source.ts has it. */
export interface EventFeed {
  /** `post`: the sender waits, and no list tells what still holds. */
  readonly type: "watch" | "post" | "configmap";
  readonly ingester?: {
    readonly id: string;
    readonly isDoor?: true;
    readonly windowSeconds?: number;
    readonly ttlSeconds?: number;
  };
}

/** A normalised event: legal, cleaned, cut. What filters see and what is stored. */
export interface NormalEvent {
  readonly source: string;
  readonly kind: SourceKind;
  readonly category: Category;
  readonly severity: Severity;
  readonly eventType: string;
  readonly message: string;
  readonly resource?: Resource;
  readonly details: JsonObject;
  /** RFC 3339. */
  readonly detectedAt: string;
  /** The source's own id of what was found, "" where it has none. */
  readonly rule: string;
  readonly rules: readonly string[];
  /** 64 hex: SHA-256 over the canonical JSON of the identity. */
  readonly fingerprint: string;
  /** The identity, readable, at most 1 KiB. */
  readonly identity: string;
  /** Event time for windows, ms: the tool's own if within [receipt − 1 h, receipt + 6 min], else receipt. */
  readonly at: number;
  readonly receivedAt: number;
  /** Namespace the Observation goes to. */
  readonly namespace: string;
  readonly ttlSeconds: number;
  readonly windowMs: number;
  /** Hash of the request that this repeat was. */
  readonly requestKey?: string;
  readonly countRepeats: boolean;
  /** 32 bits of the hash of message and lasting details: a change replaces a stored finding's content. 0 for occurrences. */
  readonly contentHash: number;
  readonly drop?: Extract<FilterReason, "not_relevant" | "own_request" | "api_server_starting">;
  readonly resolved: boolean;
  /** When it ended, ms; absent where the tool does not say it. */
  readonly resolvedAt?: number;
  /** The Ingester through whose door it came to a built-in source. */
  readonly door?: string;
  /** True for events of a source that no filter of a tenant may drop. */
  readonly neverDroppedByTenants?: true;
}
