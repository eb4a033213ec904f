/** Makes a tool's event legal, clean and bounded: what filters see, and the Observation it is stored as. */
import {
  canonicalJson,
  cleanIdentityV1,
  eventTypeName,
  fingerprintOf,
  hash32,
  IDENTITY_VERSION,
  isClusterScoped,
  isNamespaceName,
  labelValue,
  observationName,
  shortFingerprint,
  sourceName,
  workloadOf,
} from "../model/identity.ts";
import {
  clean,
  cleanObject,
  cleanText,
  cut,
  cutBytes,
  fitsBytes,
  jsonBytes,
  truncateObject,
} from "../text/clean.ts";
import type { DrawnEvent, EventFeed, EventSource, NormalEvent, Origin, Payload } from "../model/event.ts";
import { isObject, type Json, type JsonObject, text } from "../model/json.ts";
import {
  ANNOTATIONS,
  API_VERSION,
  CATEGORIES,
  type Category,
  KIND,
  LABELS,
  LIMITS,
  MANAGED_BY,
  type Observation,
  type Resource,
  type Severity,
} from "../model/observation.ts";
import { eventTime, formatTime, isPlausibleDetection, readTime } from "../model/time.ts";

const MAX_RULES = 32;
const MAX_RULE = 512;
/** Part of the 8 KiB kept free for members that flap, so that they cannot move where lasting ones are cut. */
const VOLATILE_BYTES = 1024;
const MAX_CLAIM = 64;
/** An occurrence keeps the content it was stored with: nothing compares it. */
const NO_CONTENT_HASH = 0;

/** Details that normalise adds. */
const CLAIMED_TIME = "claimedDetectedAt";
const CLAIMED_RESOURCE = "claimedResource";
const TRUNCATED = "truncated";

/** The settings that normalize() reads. */
export interface EventSettings {
  /** The controller's namespace: for events without one. */
  readonly podNamespace: string;
  /** OBSERVATION_NAMESPACE: for all of them; "" where not set. */
  readonly observationNamespace: string;
  readonly observationTtlSeconds: number;
  readonly dedupWindowSeconds: number;
  readonly dedupWindowBySource: ReadonlyMap<string, number>;
  readonly dedupEnableAggregation: boolean;
}

/** The source and feed of an event, and the settings. */
export interface NormalizeOptions {
  readonly source: Omit<EventSource, "draw">;
  readonly feed: EventFeed;
  readonly settings: EventSettings;
}

/** Makes the event that is filtered, compared and stored. Never throws, whatever a source drew from hostile input. */
export function normalize(
  drawn: DrawnEvent,
  { origin, receivedAt }: Pick<Payload, "origin" | "receivedAt">,
  { source: from, feed: { ingester }, settings }: NormalizeOptions,
): NormalEvent {
  const { name, kind, severities = {}, volatileDetails = [], openDetails = false, neverDroppedByTenants } =
    from;
  // The types are what sources promise; a value copied from a payload may be of any type.
  const raw: { readonly [Field in keyof DrawnEvent]?: unknown } = drawn;
  const source = sourceName(text(raw.source)) || sourceName(name) || "unknown";
  const severity = severityOf(typeof raw.severity === "string" ? raw.severity : null, severities);
  const eventType = eventTypeName(text(raw.eventType)) || "event";
  const { resource, claimed, namespace } = confine(cleanResource(raw.resource), origin);
  const time = readTime(raw.detectedAt);
  const believed = time !== undefined && isPlausibleDetection(time.ms, receivedAt) ? time : undefined;
  const ended = raw.resolved === true ? readTime(raw.resolvedAt) : undefined;
  const identity = identityOf(raw.identity, { source, severity, origin, resource });
  const { prose = [] } = drawn;
  const message = cleanText(text(raw.message), LIMITS.message, {
    prose: prose.includes("message"),
    objectName: resource?.name ?? "",
  }) || eventType;
  const { details, lastingText } = boundDetails(raw.details, {
    prose,
    volatile: volatileDetails,
    links: !openDetails,
    ...(claimed && { claimedResource: claimed }),
    ...(believed === undefined && { claimedTime: claimedTime(raw.detectedAt) }),
  });
  const rules = cleanRules(raw.rules);
  const rule = clean(text(raw.rule), LIMITS.rule) || cut(rules[0] ?? "", LIMITS.rule);
  const rise = isPulledAct(kind, origin) && believed ? withinSecond(believed.ms, raw.count) : 0;
  const windowSeconds = ingester?.windowSeconds ?? settings.dedupWindowBySource.get(name) ??
    settings.dedupWindowSeconds;
  const windowMs = typeof raw.windowMs === "number" && raw.windowMs > 0
    ? raw.windowMs
    : windowSeconds * 1_000;
  const ttlSeconds = ttlOf(raw.ttlSeconds) ?? ttlOf(ingester?.ttlSeconds ?? settings.observationTtlSeconds);
  const target = settings.observationNamespace || (namespace ?? resource?.namespace ?? "");
  return {
    source,
    kind,
    category: isCategory(raw.category) ? raw.category : "security",
    severity,
    eventType,
    message,
    ...(resource && { resource }),
    details,
    detectedAt: believed === undefined
      ? formatTime(receivedAt)
      : rise > 0
      ? formatTime(believed.ms + rise)
      : believed.text,
    rule,
    rules,
    fingerprint: fingerprintOf(identity),
    identity: readableIdentity(raw.identity, {
      source,
      severity,
      shown: { message, rule, resource, details },
    }),
    at: isPulledAct(kind, origin) && believed
      ? believed.ms + rise
      : eventTime(time?.ms, receivedAt, { source }),
    receivedAt,
    namespace: isNamespaceName(target) ? target : settings.podNamespace,
    ttlSeconds: ttlSeconds ?? LIMITS.ttlSeconds,
    windowMs,
    ...(drawn.request !== undefined && { requestKey: fingerprintOf(drawn.request) }),
    countRepeats: settings.dedupEnableAggregation && windowMs !== Infinity && raw.isLaterStage !== true,
    contentHash: kind === "occurrence" ? NO_CONTENT_HASH : contentHash(message, lastingText),
    ...(isDrop(raw.drop) && { drop: raw.drop }),
    resolved: raw.resolved === true,
    ...(ended !== undefined && isPlausibleDetection(ended.ms, receivedAt) && { resolvedAt: ended.ms }),
    ...(ingester?.isDoor && { door: ingester.id }),
    ...(neverDroppedByTenants && { neverDroppedByTenants }),
  };
}

/**
 * Milliseconds that tell apart the rises of a count within the second that its time names. They are part of detectedAt,
 * from which a replica reads when the act was last seen while its status is not written.
 */
function withinSecond(ms: number, count: unknown): number {
  return typeof count === "number" && count >= 1 && ms % 1_000 === 0 ? (Math.floor(count) - 1) % 1_000 : 0;
}

/**
 * True for an occurrence that was read from an object (a Kubernetes Event). Every resync reads it again, long after it
 * happened, and its time of receipt would open a generation each time: only its own time tells a new act from an old one.
 */
function isPulledAct(kind: EventSource["kind"], { name }: Origin): boolean {
  return kind === "occurrence" && name !== undefined;
}

/**
 * The content hash of a stored Observation, equal to that of the event it was made of.
 * `volatileDetails` are those of its source.
 */
export function contentHashOf(observation: Observation, volatileDetails: readonly string[]): number {
  if (observation.metadata.labels?.[LABELS.kind] === "occurrence") return NO_CONTENT_HASH;
  const { message = "", details = {} } = observation.spec;
  const lasting: JsonObject = {};
  for (const [key, value] of Object.entries(details)) {
    if (!isVolatileDetail(key, volatileDetails)) lasting[key] = value;
  }
  return contentHash(message, canonicalJson(lasting));
}

function contentHash(message: string, lastingText: string): number {
  return hash32(`${message}\n${lastingText}`);
}

interface IdentityContext {
  readonly source: string;
  readonly severity: string;
  readonly origin: Origin;
  readonly resource: Resource | undefined;
}

/**
 * What is hashed: the version, source, severity and the identity as the tool says it, cleaned by a frozen function and
 * never masked. The namespace is part of it where the identity does not name it: that of a confined origin, else a
 * forged report could pass for another namespace's finding and hide it, or that of the resource.
 */
function identityOf(identity: unknown, { source, severity, origin, resource }: IdentityContext): JsonObject {
  const cleaned = cleanIdentityV1(identity);
  const named = isObject(cleaned.resource) ? cleaned.resource.namespace : undefined;
  const home = origin.confined ? origin.namespace : undefined;
  const namespace = home
    ? (named === home ? undefined : home)
    : named === undefined
    ? resource?.namespace
    : undefined;
  return {
    v: IDENTITY_VERSION,
    source,
    severity,
    identity: cleaned,
    ...(namespace && { namespace }),
  };
}

interface Shown {
  readonly message: string;
  readonly rule: string;
  readonly resource: Resource | undefined;
  readonly details: JsonObject;
}

/** Stands in the readable identity for a value that the Observation shows nowhere else. */
const HIDDEN = "…";

/** The identity for people: cleaned and masked, its values only where message, rule, resource or details hold them too. */
function readableIdentity(
  identity: unknown,
  { source, severity, shown }: { source: string; severity: string; shown: Shown },
): string {
  const { value } = cleanObject(identity, {
    maxString: LIMITS.annotationBytes,
    maxTotal: LIMITS.annotationBytes,
    links: false,
  });
  const { message, rule, resource, details } = shown;
  const texts = [message, rule, JSON.stringify(resource ?? {}), JSON.stringify(details)];
  const isShown = (text: string) => {
    const quoted = JSON.stringify(text).slice(1, -1);
    return texts.some((known) => known.includes(text) || known.includes(quoted));
  };
  let room = LIMITS.annotationBytes;
  // In the order of the canonical JSON, so that nothing is looked for that lies beyond the cut. Each text takes two quotes,
  // and a comma, a colon or a bracket follows.
  const readable = (json: Json): Json => {
    if (typeof json === "string") {
      const text = room > 0 && isShown(json) ? json : HIDDEN;
      room -= text.length + 3;
      return text;
    }
    if (Array.isArray(json)) return json.map(readable);
    if (!isObject(json)) return json;
    const members: JsonObject = {};
    for (const key of Object.keys(json).sort()) {
      room -= key.length + 3;
      members[key] = readable(json[key] ?? null);
    }
    return members;
  };
  return cutBytes(canonicalJson({ identity: readable(value), severity, source }), LIMITS.annotationBytes);
}

interface DetailsContext {
  readonly prose: readonly string[];
  readonly volatile: readonly string[];
  readonly links: boolean;
  readonly claimedResource?: Resource;
  readonly claimedTime?: string | undefined;
}

/** Details within 8 KiB, and the canonical text of those whose change is news. */
function boundDetails(raw: unknown, context: DetailsContext): { details: JsonObject; lastingText: string } {
  const { links, prose } = context;
  const cleaned = cleanObject(raw, { maxString: LIMITS.detailsBytes, links, prose });
  const lastingRaw: JsonObject = {};
  const flapping: JsonObject = {};
  if (context.claimedTime) flapping[CLAIMED_TIME] = context.claimedTime;
  for (const [key, value] of Object.entries(cleaned.value)) {
    if (!isVolatileDetail(key, context.volatile)) lastingRaw[key] = value;
    else if (!Object.hasOwn(flapping, key)) flapping[key] = value;
  }
  if (context.claimedResource) lastingRaw[CLAIMED_RESOURCE] = resourceJson(context.claimedResource);
  const maxBytes = LIMITS.detailsBytes - VOLATILE_BYTES;
  const wholeText = canonicalJson(lastingRaw);
  const truncated = !fitsBytes(wholeText, maxBytes);
  const lasting = truncated ? truncateObject(lastingRaw, maxBytes).value : lastingRaw;
  const details: JsonObject = { ...lasting };
  let room = VOLATILE_BYTES - 32; // for `"truncated":true` and the braces
  let dropped = cleaned.truncated || truncated;
  for (const [key, value] of Object.entries(flapping)) {
    const bytes = jsonBytes(key) + jsonBytes(value) + 2;
    if (bytes > room) dropped = true;
    else {
      room -= bytes;
      details[key] = value;
    }
  }
  if (dropped) details[TRUNCATED] = true;
  return { details, lastingText: truncated ? canonicalJson(lasting) : wholeText };
}

function isVolatileDetail(key: string, volatile: readonly string[]): boolean {
  return key === CLAIMED_TIME || key === TRUNCATED || volatile.includes(key);
}

function claimedTime(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return typeof value === "string" ? cleanText(value, MAX_CLAIM) : undefined;
}

function cleanResource(value: unknown): Resource | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const raw: { readonly [Field in keyof Resource]?: unknown } = value;
  const apiVersion = clean(text(raw.apiVersion), LIMITS.apiVersion);
  const kind = clean(text(raw.kind), LIMITS.kind);
  const name = clean(text(raw.name), LIMITS.name);
  const namespace = clean(text(raw.namespace), LIMITS.namespace);
  if (!apiVersion && !kind && !name && !namespace) return undefined;
  return {
    ...(apiVersion && { apiVersion }),
    ...(kind && { kind }),
    ...(name && { name }),
    ...(namespace && { namespace }),
  };
}

function resourceJson(resource: Resource): Json {
  const json: JsonObject = {};
  for (const [key, value] of Object.entries(resource)) if (value !== undefined) json[key] = value;
  return json;
}

function cleanRules(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, MAX_RULES).map((rule) => clean(text(rule), MAX_RULE)).filter((rule) => rule !== "");
}

function ttlOf(value: unknown): number | undefined {
  if (typeof value !== "number" || !Number.isFinite(value)) return undefined;
  return Math.min(LIMITS.ttlSeconds, Math.max(1, Math.trunc(value)));
}

function isCategory(value: unknown): value is Category {
  return CATEGORIES.some((category) => category === value);
}

function isDrop(value: unknown): value is NonNullable<NormalEvent["drop"]> {
  return value === "not_relevant" || value === "own_request" || value === "api_server_starting";
}

/** The resource an event may name, what it claimed beyond that, and the namespace it is bound to, if any. */
export interface Confined {
  readonly resource?: Resource;
  readonly claimed?: Resource;
  readonly namespace?: string;
}

/**
 * Confines a namespace's reports to that namespace, so that a tenant cannot report on another one: a foreign resource becomes
 * `claimed`, an absent namespace is the report's.
 */
export function confine(resource: Resource | undefined, origin: Origin): Confined {
  const home = origin.namespace;
  if (!origin.confined || !home) return resource ? { resource } : {};
  if (!resource) return { resource: { namespace: home }, namespace: home };
  if (isForeign(resource, home)) return { resource: { namespace: home }, claimed: resource, namespace: home };
  return { resource: { ...resource, namespace: home }, namespace: home };
}

function isForeign(resource: Resource, home: string): boolean {
  if (resource.namespace !== undefined && resource.namespace !== home) return true;
  const { kind = "", name } = resource;
  if (kind.toLowerCase() === "namespace") return name !== undefined && name !== home;
  return isClusterScoped(kind);
}

/** The fields of an Observation that its event does not hold. */
export interface ObserveContext {
  /** INSTANCE: the shard set it belongs to. */
  readonly instance: string;
  /** Unique to this create, the same in its retries. */
  readonly eventId: string;
  /** Set where it does not go to the event's own namespace (gone or terminating). */
  readonly namespace?: string;
  /** True where it was pushed, not read from a view. */
  readonly pushed?: boolean;
}

/** The object to create for generation `generation` of the event (0 for a finding). */
export function toObservation(event: NormalEvent, generation: number, context: ObserveContext): Observation {
  const workload = workloadOf(event.resource);
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: {
      name: observationName(event.source, event.fingerprint, generation),
      namespace: context.namespace ?? event.namespace,
      labels: {
        [LABELS.managedBy]: MANAGED_BY,
        [LABELS.source]: labelValue(event.source),
        [LABELS.severity]: event.severity,
        [LABELS.category]: event.category,
        [LABELS.eventType]: labelValue(event.eventType),
        [LABELS.kind]: event.kind,
        ...(event.rule !== "" && { [LABELS.rule]: labelValue(event.rule) }),
        ...(workload !== undefined && { [LABELS.workload]: labelValue(workload) }),
        [LABELS.fingerprint]: shortFingerprint(event.fingerprint),
        [LABELS.instance]: labelValue(context.instance),
      },
      annotations: {
        [ANNOTATIONS.fingerprint]: event.fingerprint,
        [ANNOTATIONS.identity]: event.identity,
        [ANNOTATIONS.eventId]: context.eventId,
        ...(context.pushed && event.kind === "finding" && event.door !== undefined && {
          [ANNOTATIONS.pushedThrough]: event.door,
        }),
      },
    },
    spec: {
      source: event.source,
      category: event.category,
      severity: event.severity,
      eventType: event.eventType,
      ...(event.rule !== "" && { rule: event.rule }),
      message: event.message,
      ...(event.resource && { resource: event.resource }),
      ...(Object.keys(event.details).length > 0 && { details: event.details }),
      detectedAt: event.detectedAt,
      ttlSecondsAfterCreation: event.ttlSeconds,
    },
  };
}

const WORDS: ReadonlyMap<string, Severity> = new Map([
  ...words("CRITICAL", "critical", "fatal", "emergency", "alert"),
  ...words("HIGH", "high", "error", "danger", "important"),
  ...words("MEDIUM", "medium", "moderate", "warning", "warn"),
  ...words("LOW", "low", "info", "informational", "notice", "negligible", "debug", "none"),
  ...words("UNKNOWN", "unknown"),
]);

/**
 * The severity a tool's word means, in any case; `overrides` (lower-case words) take precedence over the general table, and
 * `*` among them stands for a word that neither has.
 */
export function severityOf(
  word: string | null | undefined,
  overrides: Readonly<Record<string, Severity>> = {},
): Severity {
  if (typeof word !== "string") return "UNKNOWN";
  const key = word.trim().toLowerCase();
  if (Object.hasOwn(overrides, key)) return overrides[key] ?? "UNKNOWN";
  return WORDS.get(key) ?? overrides["*"] ?? "UNKNOWN";
}

function words(severity: Severity, ...names: string[]): [string, Severity][] {
  return names.map((name) => [name, severity]);
}
