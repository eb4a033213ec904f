/**
 * The way of an event, wired: the sources in force, the namespaces of this shard, and the intake with its filters, dedup, budget,
 * limits and store.
 */
import type { ViewKey } from "../model/view.ts";
import { type Claim } from "../mapped/runtime.ts";
import { type KubeApi, resourceName } from "../kube/api.ts";
import type { EventDraft } from "../kube/events.ts";
import { watch, WATCH_ERROR_REASONS, type WatchState, type WatchTuning } from "../kube/watch.ts";
import { SOURCES } from "../sources/registry.ts";
import { categoriesOf, otherSourcesOf, type Source, watchedResources } from "../sources/source.ts";
import type { SourceStates } from "../sources/status.ts";
import { DELETE_REASON_MEANINGS } from "../store/deletes.ts";
import { CREATE_ERROR_REASONS } from "../store/refusal.ts";
import type { Books, Metrics } from "../telemetry/metrics.ts";
import { openEndpointSeries, openReadingSeries, openSourceSeries } from "../telemetry/series.ts";
import type { DrawContext, NormalEvent } from "../model/event.ts";
import { createDrawContext } from "../sources/draw_context.ts";
import { leaseReference } from "../sources/rbac.ts";
import { ownRequests } from "../sources/own_requests.ts";
import { type Budget, type BudgetState, createBudget } from "../store/budget.ts";
import { createFindingGauges } from "../store/finding_gauges.ts";
import { createTransitions, type Transitions } from "../store/transitions.ts";
import { logger } from "../telemetry/logging.ts";
import { type OwnUser } from "./api_probe.ts";
import type { Beat } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import type { Observation } from "../model/observation.ts";
import { sleep } from "../kube/retry.ts";
import { createDedup, type Dedup } from "../pipeline/dedup.ts";
import { createIntake, type Intake, type Steps } from "../pipeline/intake.ts";
import { contentHashOf } from "../pipeline/normalize.ts";
import type { Rejection } from "../pipeline/ports.ts";
import { createLimits, type Limits, type TimeSlices } from "../pipeline/limits.ts";
import { readSettings, type Settings } from "../settings.ts";
import type { SettingValues } from "../text/setting.ts";
import {
  type AcceptanceOf,
  createStore,
  feedIndex,
  OBSERVATIONS,
  type Store,
  type StoredObservation,
  type StoreOptions,
} from "../store/mod.ts";

export interface SourceSetOptions {
  readonly states: SourceStates;
  readonly metrics: Metrics;
  readonly settings: SettingValues;
  /** Whether an Ingester or ObservationMapping that is not in force names a source. */
  readonly claims: (source: string) => Claim;
}

/** No source has this name, so its views are unknown and none of its findings is resolved. */
const UNKNOWN_VIEWS = "";
/** The most names of sources that configuration defined once. */
const MAX_REMEMBERED = 1_000;

/** A value of `spec.source`, and whether its Observations are findings or occurrences. */
type SourceName = Pick<Source, "name" | "kind">;

/** Every source in force, by name. */
export class SourceSet {
  readonly #options: SourceSetOptions;
  #byName: ReadonlyMap<string, Source> = new Map();
  #all: readonly Source[] = [];
  #reported: readonly SourceName[] = [];
  /** The source whose reports bring the findings of other tools, by the names of those. */
  readonly #reporters: ReadonlyMap<string, string>;
  /** Names of sources that configuration defines or defined: no policy report resolves their findings. */
  readonly #everMapped = new Set<string>();

  constructor(options: SourceSetOptions) {
    this.#options = options;
    this.#reporters = reportersOf(options.settings);
    this.set([]);
  }

  /** The same array until `set` replaces them. */
  get all(): readonly Source[] {
    return this.#all;
  }

  /** Every value of `spec.source` that is known: the sources in force, and the tools that their reports can name. */
  get reported(): readonly SourceName[] {
    return this.#reported;
  }

  /** Replaces what configuration defines: new sources, and doors (feeds added to built-in sources, under their names). */
  set(mapped: readonly Source[]): void {
    const { states, metrics, settings } = this.#options;
    const before = this.#byName;
    const byName = new Map(SOURCES.map((source) => [source.name, source]));
    for (const source of mapped) {
      const own = byName.get(source.name);
      byName.set(source.name, own ? { ...own, feeds: [...own.feeds, ...source.feeds] } : source);
      if (!own && this.#everMapped.size < MAX_REMEMBERED) this.#everMapped.add(source.name);
    }
    this.#byName = byName;
    this.#all = [...byName.values()];
    for (const name of before.keys()) if (!byName.has(name)) states.remove(name);
    const reported = new Map<string, SourceName>();
    for (const source of byName.values()) {
      const { name, kind } = source;
      states.add(source);
      for (const each of [name, ...otherSourcesOf(source, settings).filter((other) => !byName.has(other))]) {
        reported.set(each, { name: each, kind });
        openSourceSeries(metrics, {
          source: each,
          kind,
          categories: categoriesOf(source),
          createErrors: CREATE_ERROR_REASONS,
          deletes: Object.keys(DELETE_REASON_MEANINGS),
        });
      }
      openReadingSeries(metrics, {
        source: name,
        watchErrors: source.feeds.some(({ type }) => type !== "post")
          ? [...WATCH_ERROR_REASONS, "internal"]
          : [],
      });
      for (const feed of source.feeds) if (feed.type === "post") openEndpointSeries(metrics, feed.path);
    }
    this.#reported = [...reported.values()];
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  get size(): number {
    return this.#byName.size;
  }

  named(name: string): Source | undefined {
    return this.#byName.get(name);
  }

  /**
   * The source whose views report the findings of `name`. Undefined where there are none: for pushed sources, and for
   * sources that configuration removed, in this process or before it started, since no view observed the end of their
   * findings. A source that configuration names but that is not in force has unknown views: its findings are not resolved.
   */
  viewSourceOf(name: string): string | undefined {
    const own = this.named(name);
    if (own) return own.feeds.some(isOwnView) ? name : undefined;
    const claim = this.#options.claims(name);
    if (claim === "open") return UNKNOWN_VIEWS;
    if (claim !== "none" || this.#everMapped.has(name)) return undefined;
    return this.#reporters.get(name);
  }

  /** True where the reports of such findings expire. */
  expires({ source, eventType }: { readonly source: string; readonly eventType: string }): boolean {
    const own = this.named(source);
    return own !== undefined &&
      watchedResources(own).some(({ eventTypes, expires }) =>
        expires === true && (eventTypes === undefined || eventTypes.includes(eventType))
      );
  }

  /** The event types a view may report; undefined: any. */
  eventTypesOf({ source, resource }: Pick<ViewKey, "source" | "resource">): readonly string[] | undefined {
    const own = this.named(source);
    return own && watchedResources(own).find((type) => resourceName(type) === resource)?.eventTypes;
  }
}

/**
 * The sources whose reports name other tools, by the names under which findings of these are stored. The tools that a
 * setting lists by default are always among them, so that their findings are resolved when an operator shortens the list.
 */
function reportersOf(settings: SettingValues): ReadonlyMap<string, string> {
  const defaults = readSettings(() => undefined);
  return new Map(
    SOURCES.flatMap((source) =>
      [...otherSourcesOf(source, settings), ...otherSourcesOf(source, defaults)].map((name) =>
        [name, source.name] as const
      )
    ),
  );
}

/** True for a feed whose views are those of the source. A door has views of its own, and a post feed has none. */
function isOwnView({ type, ingester }: Source["feeds"][number]): boolean {
  return type !== "post" && !ingester?.isDoor;
}

/** The part of the cluster that this shard handles. */
export interface Scope {
  /** Empty: all. */
  readonly namespaces: readonly string[];
  /** Whether cluster-scoped resources and events without a namespace are this shard's. */
  readonly clusterScoped: boolean;
}

/** WATCH_NAMESPACE and WATCH_CLUSTER_SCOPED; the latter is by default true where there is no list. */
export function scopeOf(
  { watchNamespaces, watchClusterScoped }: Pick<Settings, "watchNamespaces" | "watchClusterScoped">,
): Scope {
  return { namespaces: watchNamespaces, clusterScoped: watchClusterScoped ?? watchNamespaces.length === 0 };
}

/** Returns whether what belongs to a namespace ("": to none) is this shard's, wherever it is stored. */
export function coverageOf({ namespaces, clusterScoped }: Scope): (belongsTo: string) => boolean {
  return (belongsTo) =>
    belongsTo === "" ? clusterScoped : namespaces.length === 0 || namespaces.includes(belongsTo);
}

/** Returns whether an event's resource is in this shard's part. */
export function inScopeOf(
  covers: (belongsTo: string) => boolean,
): (event: Pick<NormalEvent, "resource">) => boolean {
  return ({ resource }) => covers(resource?.namespace ?? "");
}

export interface PipelineOptions {
  readonly api: KubeApi;
  readonly settings: Settings;
  readonly metrics: Metrics;
  readonly books: Pick<Books, "open" | "payloadError" | "sourceLabel">;
  readonly clock: Clock;
  readonly filter: (event: NormalEvent) => Rejection | undefined;
  /** Which exception covers a stored finding. */
  readonly acceptanceOf: AcceptanceOf;
  /** Whether what belongs to a namespace ("": to none) is this shard's. */
  readonly covers: (belongsTo: string) => boolean;
  /** Returns what `draw` reads besides the payload, as it is now. */
  readonly drawContext: () => DrawContext;
  /** The sources that configuration knows. */
  readonly sources: Pick<SourceSet, "has" | "size" | "reported" | "named">;
  /** Records a Kubernetes Event about findings that were resolved or reopened. */
  readonly record: (event: EventDraft) => void;
  /** The storage budget is used up, or has room again. */
  readonly onBudget: (state: BudgetState) => void;
  /** The budget left out an event. */
  readonly onBudgetDrop: (event: NormalEvent) => void;
  readonly onIndexState: (state: WatchState) => void;
  /** Called after a full list that follows a step back of the server's revision, or that lacks findings. */
  readonly onIndexHealed: () => void;
  readonly watchTuning?: WatchTuning | undefined;
  /** Time, chance, limits and log, where a test decides them. */
  readonly injected?:
    & Partial<Pick<StoreOptions, "sleep" | "random" | "log"> & Pick<Steps, "admits" | "inScope">>
    & {
      readonly limits?: Limits;
    };
}

/** The parts that an event passes through, wired. */
export interface Pipeline {
  readonly dedup: Dedup;
  readonly store: Store;
  readonly intake: Intake;
  readonly budget: Budget;
  /** Findings that this process created, resolved or reopened. */
  readonly transitions: Transitions;
  readonly slices: TimeSlices;
  /** Feeds the index until `signal` aborts. */
  runIndex(signal: AbortSignal, beat: Beat): Promise<void>;
  /**
   * Resolves once the index is complete, or after 30 s: it alone finds what is stored in another namespace.
   * Rejects with the signal's reason when it aborts.
   */
  indexed(signal: AbortSignal): Promise<void>;
  /** Brings the gauges up to date that are read rather than counted. */
  publish(): void;
  /** What `/tools/status` says of the store. */
  report(): Readonly<Record<string, unknown>>;
}

const INDEX_POLL_MS = 50;
const INDEX_WAITS = 600;

/** Wires the pipeline of a process. */
export function createPipeline(options: PipelineOptions): Pipeline {
  const {
    api,
    settings,
    metrics,
    books,
    clock,
    sources,
    covers,
    injected: { limits: givenLimits, admits, inScope, ...injected } = {},
  } = options;
  const contentHash = (observation: Observation) =>
    contentHashOf(observation, sources.named(observation.spec.source)?.volatileDetails ?? []);
  const transitions = createTransitions({
    clock,
    log: injected.log ?? logger("findings"),
    metrics,
    sourceLabel: books.sourceLabel,
    record: options.record,
    regarding: leaseReference(settings),
  });
  const store = createStore({
    api,
    clock,
    contentHash,
    log: logger("store"),
    metrics,
    instance: settings.instance,
    ownNamespace: settings.podNamespace,
    observationNamespace: settings.observationNamespace,
    covers,
    acceptanceOf: options.acceptanceOf,
    onHealed: options.onIndexHealed,
    sourceLabel: books.sourceLabel,
    contentSilenceMs: 2 * settings.resyncIntervalMs,
    countReturns: settings.dedupEnableAggregation,
    onTransition: (transition) => transitions.note(transition),
    ...injected,
  });
  const { index, repeats } = store;
  const wait = injected.sleep ?? sleep;
  const dedup = createDedup({
    index,
    maxSize: settings.dedupMaxSize,
    onEvict: () => metrics.dedupEvictions.inc(),
  });
  index.onGone = (fingerprint, generation) => dedup.forget(fingerprint, generation);
  const budget = createBudget({
    index,
    log: logger("budget"),
    metrics,
    maxCount: settings.observationMaxTotal,
    maxBytes: settings.observationMaxBytes,
    burst: settings.dedupRateBurst,
    sources,
    onChange: options.onBudget,
  });
  const publishFindings = createFindingGauges({
    index,
    now: () => clock.now(),
    metrics,
    sourceLabel: books.sourceLabel,
    sources: () => sources.reported,
    byNamespace: settings.metricsByNamespace,
  });
  const limits = givenLimits ?? createLimits({
    clock,
    rate: { perSecond: settings.dedupMaxRatePerSource, burst: settings.dedupRateBurst },
    rateOf: (source) => sources.named(source)?.rate,
  });
  const intake = createIntake({
    steps: {
      filter: options.filter,
      inScope: inScope ?? inScopeOf(covers),
      dedup,
      admits: admits ?? ((event) => {
        const admission = budget.admits(event);
        if (admission === "refused") options.onBudgetDrop(event);
        return admission;
      }),
    },
    limits,
    store,
    recorder: books,
    settings,
    context: options.drawContext,
  });

  return {
    dedup,
    store,
    intake,
    budget,
    transitions,
    slices: limits.slices,
    runIndex(signal, beat) {
      return feedIndex(
        index,
        watch<StoredObservation>(api, OBSERVATIONS, {
          ...options.watchTuning,
          signal,
          beat,
          clock,
          metrics,
          onState: options.onIndexState,
        }),
        { log: logger("store"), resyncMs: settings.resyncIntervalMs },
      );
    },
    async indexed(signal) {
      for (let waits = 0; !index.complete && waits < INDEX_WAITS; waits++) {
        await wait(INDEX_POLL_MS, signal);
      }
    },
    report: () => ({
      indexComplete: index.complete,
      observations: index.tallies.count,
      bytes: index.tallies.bytes,
      notOurs: index.foreign,
      budget: { state: budget.state, usage: budget.usage() },
      openWindows: dedup.usage(),
      statusWritesPending: repeats.size,
    }),
    publish() {
      publish({ dedup, limits, store, budget, metrics });
      publishFindings();
    },
  };
}

function publish(
  parts: Pick<Pipeline, "dedup" | "store" | "budget"> & { limits: Limits; metrics: Metrics },
): void {
  const { dedup, limits, store: { index, repeats }, budget, metrics } = parts;
  budget.observe();
  metrics.dedupCacheUsage.set(dedup.usage());
  metrics.tasks.set(limits.slots.taken + repeats.size);
  metrics.activeEvents.reset();
  for (const { category, severity, count } of index.tallies.active()) {
    metrics.activeEvents.set({ category, severity }, count);
  }
}

/** Returns the function that makes the context of `draw()` from the settings, the sources in force and this process. */
export function drawContextOf(
  { settings, sources, ownUser, isApiServerStarting }: {
    readonly settings: Settings;
    readonly sources: Pick<SourceSet, "all">;
    readonly ownUser: Pick<OwnUser, "name">;
    readonly isApiServerStarting: DrawContext["isApiServerStarting"];
  },
): () => DrawContext {
  const contextFor = (all: readonly Source[]) =>
    createDrawContext(settings, {
      ownUser: "",
      isOwnRequest: ownRequests(settings, all),
      isApiServerStarting,
    });
  let known = { all: sources.all, context: contextFor(sources.all) };
  return () => {
    if (known.all !== sources.all) known = { all: sources.all, context: contextFor(sources.all) };
    return { ...known.context, ownUser: ownUser.name };
  };
}

/** Takes nothing in before the filters are read, or the deadline of a request has passed: nothing comes in unfiltered. */
export function afterFirstRead(intake: Intake, firstRead: Promise<void>): Intake {
  let isRead = false;
  firstRead.then(() => isRead = true);
  return {
    async take(source, payload, context) {
      const { signal } = context;
      if (!isRead && !signal.aborted) {
        const aborted = Promise.withResolvers<void>();
        const end = () => aborted.resolve();
        signal.addEventListener("abort", end, { once: true });
        await Promise.race([firstRead, aborted.promise]);
        signal.removeEventListener("abort", end);
      }
      return await intake.take(source, payload, context);
    },
  };
}
