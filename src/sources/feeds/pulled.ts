/**
 * Reads the watch and ConfigMap feeds of all sources, on the leader: one list and watch for each resource that is served.
 * A view is read in full at the start and at each resync, then change by change.
 */
import { isObject, type Json } from "../../model/json.ts";
import { type Beat, NO_BEAT } from "../../model/beat.ts";
import { viewId, type ViewKey, viewName, type Views } from "../../model/view.ts";
import { hasStatus, type KubeApi, type KubeObject, resourceName, type ResourceType } from "../../kube/api.ts";
import type { Discovery, Served } from "../../kube/discovery.ts";
import type { Intake } from "../../pipeline/intake.ts";
import type { SettingValues } from "../../text/setting.ts";
import {
  type ConfigMapFeed,
  feedId,
  namespaceOf,
  otherSourcesOf,
  type Source,
  viewOf,
  type WatchFeed,
  type WatchScope,
} from "../source.ts";
import { CONFIG_MAPS } from "../../kube/core_resources.ts";
import { createEvaluator, type Evaluator, type EvaluatorOptions, type ReadDocument } from "./evaluator.ts";
import { watch, WATCH_TURN_MS, type WatchState, type WatchTuning } from "../../kube/watch.ts";
import type { ChangeSignal } from "../../model/change_signal.ts";
import type { Clock } from "../../model/time.ts";
import type { Origin, Payload } from "../../model/event.ts";
import { backoff, createPacer } from "../../kube/retry.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import { logger } from "../../telemetry/logging.ts";
import type { Metrics } from "../../telemetry/metrics.ts";
import type { SourceStates } from "../status.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { runStepsInSlices } from "../../model/turns.ts";
import type { TextLimits, TimeSlices } from "../../pipeline/limits.ts";
import { payloadErrorsOf, scanJsonInSlices, wholeOf } from "../../text/json.ts";
import { keyBytes, logLineSteps } from "../config_maps.ts";

export interface PulledFeedsOptions {
  readonly api: KubeApi;
  readonly discovery: Pick<Discovery, "served" | "subscribe">;
  readonly intake: Intake;
  readonly settings: SettingValues;
  readonly views: Views;
  /** Fires when every feed has to be evaluated in full again. */
  readonly evaluateAgain: Pick<ChangeSignal, "subscribe">;
  /** Fires with the filter documents that changed: what they may have dropped is evaluated again. */
  readonly filterChanges: Pick<ChangeSignal<readonly FilterDocument[]>, "subscribe">;
  readonly states: SourceStates;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  /** Bounds of the texts in ConfigMaps. */
  readonly texts: TextLimits;
  readonly slices: TimeSlices;
  /** Called with the number of events of an Ingester or ObservationMapping. */
  readonly noteEvents: (ingester: string, count: number) => void;
  /** This shard's namespaces; empty: all. */
  readonly namespaces: readonly string[];
  /** Whether this shard reads cluster-scoped resources. */
  readonly clusterScoped: boolean;
  readonly resyncMs: number;
  readonly configMapPollMs: number;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly watchTuning?: WatchTuning | undefined;
}

type PulledFeed = WatchFeed | ConfigMapFeed;

/** A view of a feed with its served type, or why it has none: not served, or discovery failed or has not answered yet. */
interface Place {
  readonly source: Source;
  readonly feed: PulledFeed;
  readonly view: ViewKey;
  readonly type: ResourceType | Exclude<Served["state"], "served">;
}

/** A view that is read. */
interface Reading extends Place {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

const log = logger("sources");

/** The pulled feeds of this process. */
export class PulledFeeds {
  readonly #options: PulledFeedsOptions;
  /** By the ids of their views, absent ones too. */
  #places: ReadonlyMap<string, Place> = new Map();
  readonly #readings = new Map<string, Reading>();
  #sources: readonly Source[] = [];
  #active = false;
  #beat = NO_BEAT;

  constructor(options: PulledFeedsOptions) {
    this.#options = options;
  }

  /** Replaces the sources; feeds that did not change are not restarted. */
  set(sources: readonly Source[]): void {
    this.#sources = sources;
    if (this.#active) this.#reconcile();
  }

  /** Reads until `signal` aborts. The leader alone does. */
  async run(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<void> {
    this.#beat = beat;
    // Each view has a beat of its own.
    beat.idle();
    this.#active = true;
    using _subscription = this.#options.discovery.subscribe(() => this.#reconcile());
    this.#reconcile();
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#active = false;
    const ending = [...this.#readings.keys()].map((id) => this.#stop(id));
    // Before the reads have ended: afterwards the next term as leader may have set states already.
    for (const { view } of this.#places.values()) this.#options.states.forget(view);
    this.#places = new Map();
    await Promise.all(ending);
  }

  #reconcile(): void {
    if (!this.#active) return;
    const { states, views } = this.#options;
    const before = this.#places;
    const places = this.#sources.flatMap((source) => [...this.#placesOf(source)]);
    this.#places = new Map(places.filter(([, { type }]) => type !== "pending"));
    for (const [id, { view }] of before) {
      if (this.#places.has(id)) continue;
      void this.#stop(id);
      states.forget(view);
      // The configuration removed the view, so it did not observe the end of its findings.
      views.lost(view, "absent");
    }
    for (const [id, place] of this.#places) {
      const reading = this.#readings.get(id);
      if (reading && versionOf(reading) === versionOf(place)) continue;
      void this.#stop(id);
      if (typeof place.type !== "string") this.#start(id, { ...place, type: place.type });
      else {
        states.set(place.view, place.type === "absent" ? "absent" : "failing");
        views.lost(place.view, place.type === "absent" ? "absent" : "unreadable");
      }
    }
  }

  *#placesOf(source: Source): Generator<[string, Place]> {
    for (const feed of source.feeds) {
      if (feed.type === "watch") yield* this.#watched(source, feed);
      else if (feed.type === "configmap") {
        const view = viewOf({ source, feed }, { resource: CONFIG_MAPS.plural });
        yield [viewId(view), { source, feed, view, type: CONFIG_MAPS }];
      }
    }
  }

  /** The first served version of each resource, once or per namespace. */
  #watched(source: Source, feed: WatchFeed): ReadonlyMap<string, Place> {
    const { namespaces, clusterScoped, discovery } = this.#options;
    const places = new Map<string, Place>();
    const place = (type: ResourceType, namespace?: string) => {
      const view = viewOf({ source, feed }, {
        resource: resourceName(type),
        ...(namespace === undefined ? {} : { namespace }),
      });
      const before = places.get(viewId(view))?.type ?? "absent";
      if (typeof before !== "string") return;
      const now = servedState(discovery, type);
      const found = now === "served" ? type : now === "absent" ? before : now;
      places.set(viewId(view), { source, feed, view, type: found });
    };
    for (const type of feed.resources) {
      if (!type.namespaced || namespaces.length === 0 || feed.scope?.namespace) {
        if (type.namespaced || clusterScoped) place(type);
        continue;
      }
      for (const namespace of namespaces) place(type, namespace);
    }
    return places;
  }

  #start(id: string, place: Place & { readonly type: ResourceType }): void {
    const { source, feed, view, type } = place;
    const { states, intake, noteEvents, configMapPollMs, resyncMs } = this.#options;
    const abort = new AbortController();
    const { signal } = abort;
    states.set(view, "listing");
    const done = readView({
      ...this.#options,
      type,
      view,
      scope: this.#scopeOf(place),
      affects: (document) => affects(document, { place, settings: this.#options.settings }),
      resyncMs: feed.type === "configmap" ? Math.min(configMapPollMs, resyncMs) : resyncMs,
      payloadOf: (object) => this.#payloadOf(place, { object, signal }),
      async take(payload, document) {
        const result = await intake.take(source, payload, { feed, signal, ...document });
        if (result.received > 0 && feed.ingester && !signal.aborted) {
          noteEvents(feed.ingester.id, result.received);
        }
        return result;
      },
      beat: this.#beat.of(`${source.name} ${viewName(view)}`),
    }, signal).catch((error) => {
      states.failed(source.name, "internal");
      log.fatal("Reading a source ended", { source: source.name, resource: viewName(view), error });
    });
    this.#readings.set(id, { ...place, abort, done });
  }

  #scopeOf({ feed, view: { namespace } }: Place) {
    if (feed.type === "configmap") {
      return { labelSelector: feed.labelSelector, namespace: namespaceOf(feed, this.#options.settings) };
    }
    return { ...feed.scope, ...(namespace === undefined ? {} : { namespace }) };
  }

  #payloadOf(
    { source, feed, view }: Place,
    { object, signal }: { readonly object: KubeObject; readonly signal: AbortSignal },
  ): ReadDocument | Promise<ReadDocument | undefined> {
    const { clock, payloadError, texts, slices } = this.#options;
    const receivedAt = clock.now();
    if (feed.type === "watch") {
      const payload = objectPayload(object, receivedAt);
      const scope = isObject(payload.body) ? source.scopeOf?.(payload.body) : undefined;
      return { payload, readable: true, ...(scope && { scope }) };
    }
    const { namespace = "", name = "", resourceVersion = "" } = object.metadata;
    return configMapPayload(object, {
      key: feed.key,
      receivedAt,
      limits: texts,
      slices,
      signal,
      onError: (error) =>
        payloadError(source.name, error, `${view.resource}/${namespace}/${name}@${resourceVersion}`),
    });
  }

  async #stop(id: string): Promise<void> {
    const reading = this.#readings.get(id);
    this.#readings.delete(id);
    reading?.abort.abort();
    await reading?.done;
  }
}

/** Whether this version of a resource is served. The core group always is. */
function servedState(discovery: Pick<Discovery, "served">, type: ResourceType): Served["state"] {
  if (type.group === "") return "served";
  const served = discovery.served(type);
  if (served.state !== "served") return served.state;
  return served.resources.some(({ plural }) => plural === type.plural) ? "served" : "absent";
}

/** What a changed filter document may have dropped of a view: nothing, what is in one namespace, or any of it. */
type Affected = "none" | "all" | { readonly namespace: string };

function affects(
  { source: target, tenantNamespace, door }: FilterDocument,
  { place: { source, feed, view, type }, settings }: {
    readonly place: Place & { readonly type: ResourceType };
    readonly settings: SettingValues;
  },
): Affected {
  if (door !== undefined && door !== view.ingester) return "none";
  if (!["*", source.name, ...otherSourcesOf(source, settings)].includes(target.toLowerCase())) return "none";
  // A ConfigMap, a Kubernetes Event and a cluster-scoped report may speak of any namespace.
  const isConfined = feed.type === "watch" && type.namespaced && type.plural !== "events";
  if (tenantNamespace === undefined || !isConfined) return "all";
  const { namespace = view.namespace } = feed.scope ?? {};
  return namespace === undefined || namespace === tenantNamespace ? { namespace: tenantNamespace } : "none";
}

/** A text that changes when a view must be listed again: its feed changed, or another version of its resource is served. */
function versionOf({ feed, type }: Place): string {
  return `${typeof type === "string" ? type : type.version} ${feedId(feed)}`;
}

export interface ReadViewOptions extends Pick<EvaluatorOptions, "view" | "views" | "payloadOf" | "take"> {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly scope: WatchScope;
  readonly states: SourceStates;
  /** Full evaluations happen this often. */
  readonly resyncMs: number;
  /** Fires when a full evaluation is needed now (changed filters, budget recovery). */
  readonly evaluateAgain: Pick<ChangeSignal, "subscribe">;
  readonly filterChanges: PulledFeedsOptions["filterChanges"];
  /** What a changed filter document may have dropped of this view. */
  readonly affects: (document: FilterDocument) => Affected;
  readonly beat: Beat;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly watchTuning?: WatchTuning | undefined;
}

/**
 * Longest wait between tries while RBAC denies reading. Each denied request is a line in the API server's audit log, and
 * if that log is sent to zen-watcher, an `access-denied` event.
 */
const DENIED_MS = 120_000;

/** Changes of filters that affect the same namespace, or the same whole view, within this time count as one. */
const FILTER_CHANGES_MS = 60_000;

/** The payload of a report or mapped object: the object itself. */
export function objectPayload(object: KubeObject, receivedAt: number): Payload {
  const origin = originOf(object, { confined: !isKubernetesEvent(object) });
  return { body: object as unknown as Payload["body"], origin, receivedAt };
}

/** The origin of an object's findings. */
export function originOf({ metadata }: KubeObject, { confined }: Pick<Origin, "confined">): Origin {
  const { namespace = "", name = "", labels = {}, annotations = {} } = metadata;
  return { namespace, name, labels, annotations, confined };
}

/** Events may name any resource: the API server itself puts those of cluster-scoped ones into `default`. */
function isKubernetesEvent({ apiVersion = "", kind }: KubeObject): boolean {
  return kind === "Event" && (apiVersion === "v1" || apiVersion.startsWith("events.k8s.io/"));
}

/** Reads the view until `signal` aborts. */
export async function readView(options: ReadViewOptions, signal: AbortSignal): Promise<void> {
  const { type, api, view, states, watchTuning } = options;
  const failure = new AbortController();
  let watched: WatchState = "listing";
  let isPartial = false;
  const showState = () => {
    // After the abort, the next reader of the view may have set its state already.
    if (!signal.aborted) states.set(view, watched === "synced" && isPartial ? "partial" : watched);
  };
  const evaluator = createEvaluator({
    ...options,
    onPartial(now) {
      isPartial = now;
      showState();
    },
    ...(watchTuning?.sleep && { sleep: watchTuning.sleep }),
    signal: AbortSignal.any([signal, failure.signal]),
    read: (key) => readAgain(api, type, key),
  });
  const running = evaluator.run();
  try {
    await followView(options, {
      evaluator,
      signal,
      onState(now) {
        watched = now;
        showState();
      },
    });
  } finally {
    failure.abort();
    await running;
  }
}

/** Lists and watches; lists again at each resync and each call for re-evaluation, and what changed filters may have dropped. */
async function followView(
  options: ReadViewOptions,
  { evaluator, signal, onState }: {
    readonly evaluator: Evaluator;
    readonly signal: AbortSignal;
    readonly onState: (state: WatchState) => void;
  },
): Promise<void> {
  const { view, views, metrics, clock, beat, affects, watchTuning: { random, sleep } = {} } = options;
  const events = watch<KubeObject>(options.api, options.type, {
    deniedBackoff: backoff({ maxMs: DENIED_MS, ...(random && { random }) }),
    ...options.scope,
    ...options.watchTuning,
    signal,
    metrics,
    clock,
    beat,
    onState,
  });
  using _listener = options.evaluateAgain.subscribe(() => events.relist());
  const atMostOnce = createPacer(FILTER_CHANGES_MS, { signal, sleep });
  using _changes = options.filterChanges.subscribe((documents) => {
    // A change brings the document before it and the one after it: what both affect is listed once.
    const affected = documents.map(affects);
    if (affected.includes("all")) return atMostOnce("", () => events.relist());
    const namespaces = affected.flatMap((each) => typeof each === "string" ? [] : [each.namespace]);
    for (const namespace of new Set(namespaces)) {
      atMostOnce(namespace, () => events.relistNamespace(namespace));
    }
  });
  /** Waits for the intake without a due beat, because it waits as long as the API server is unreachable. */
  async function handOver(work: Promise<void>): Promise<void> {
    beat.idle();
    await work;
    beat.within(WATCH_TURN_MS);
  }
  let resync: ReturnType<typeof setTimeout> | undefined;
  let startedAt = clock.monotonic();
  try {
    for await (const event of events) {
      switch (event.type) {
        case "init":
          startedAt = clock.monotonic();
          views.begin(view);
          evaluator.begin();
          break;
        case "apply":
          await handOver(evaluator.evaluate(event.object));
          break;
        case "delete":
          await handOver(evaluator.gone(event.object));
          break;
        case "synced":
          await handOver(evaluator.settled());
          metrics.scrapeDuration.observe(
            { watcher: metrics.sourceLabel(view.source) },
            (clock.monotonic() - startedAt) / 1_000,
          );
          if (!signal.aborted) views.complete(view);
          clearTimeout(resync);
          resync = setTimeout(() => events.relist(), options.resyncMs);
          break;
        case "error":
          noteError(options, event);
          break;
      }
    }
  } finally {
    clearTimeout(resync);
  }
}

function noteError(
  { view, views, states }: ReadViewOptions,
  { error, reason, state }: { error: unknown; reason: string; state: "absent" | "forbidden" | "failing" },
): void {
  states.failed(view.source, reason);
  if (state !== "failing") views.lost(view, state === "absent" ? "absent" : "unreadable");
  const fields = { source: view.source, resource: viewName(view), reason, error };
  if (state === "failing") log.warn("Watch broke and goes on", fields);
  else log.info("Resource cannot be read", { ...fields, state });
}

async function readAgain(api: KubeApi, type: ResourceType, key: string): Promise<KubeObject | undefined> {
  const [name = "", namespace] = key.split("/").reverse();
  try {
    return await api.get(type, name, namespace === undefined ? {} : { namespace });
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

export interface ConfigMapPayloadOptions {
  readonly key: string;
  readonly receivedAt: number;
  readonly limits: TextLimits;
  readonly slices: TimeSlices;
  /** Aborts the wait for memory; the text is then not read. */
  readonly signal: AbortSignal;
  /** Called for a key that is missing or not JSON, to count it. Such a ConfigMap resolves no finding. */
  readonly onError: (error: PayloadError) => void;
}

/** Reads the payload of a ConfigMap; undefined if it cannot be read. */
export async function configMapPayload(
  object: KubeObject,
  options: ConfigMapPayloadOptions,
): Promise<ReadDocument | undefined> {
  const { key, receivedAt, limits: { maxBytes, maxValues, room }, slices, signal, onError } = options;
  const found = keyBytes(object as unknown as Json, { key, maxBytes });
  const path = `${found.field}.${key}`;
  if (!found.ok) {
    onError({ reason: found.reason, path, message: found.message });
    return undefined;
  }
  const { bytes } = found;
  const from = await runStepsInSlices(logLineSteps(bytes), slices);
  const text = await scanJsonInSlices(bytes, { from, maxValues, pause: () => slices.pause() });
  const errors = payloadErrorsOf(text);
  for (const error of errors) {
    await slices.pause();
    onError({ ...error, path: `${path} ${error.path}`.trimEnd() });
  }
  const last = text.parts.at(-1);
  const { namespace: sender = "" } = object.metadata;
  const share = last && await room.take({ bytes: bytes.length, values: last.values }, { sender, signal });
  const body = share && wholeOf(text);
  if (share === undefined || body === undefined) return undefined;
  const payload = { body, origin: originOf(object, { confined: false }), receivedAt };
  return { payload, readable: errors.length === 0, share };
}
