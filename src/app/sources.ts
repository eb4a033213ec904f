/**
 * The sources in force (the built-in ones with the feeds that Ingesters add to them, and those that configuration defines),
 * and the namespaces of this shard.
 */
import type { ViewKey } from "../model/view.ts";
import type { Claim } from "../mapped/runtime.ts";
import { resourceName } from "../kube/api.ts";
import { WATCH_ERROR_REASONS } from "../kube/watch.ts";
import { SOURCES } from "../sources/registry.ts";
import { categoriesOf, type Source, watchedResources } from "../sources/source.ts";
import type { SourceStates } from "../sources/status.ts";
import { DELETE_REASONS } from "../store/deletes.ts";
import { CREATE_ERROR_REASONS } from "../store/refusal.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openEndpointSeries, openSourceSeries } from "../telemetry/series.ts";
import type { ObjectReference } from "../kube/events.ts";
import { leaseName } from "../sources/rbac.ts";
import type { NormalEvent } from "../model/event.ts";
import type { Settings } from "../settings.ts";

export interface SourceSetOptions {
  readonly states: SourceStates;
  readonly metrics: Metrics;
  /** Whether an Ingester or ObservationMapping that is not in force names a source. */
  readonly claims: (source: string) => Claim;
}

/** No source has this name, so its views are unknown and none of its findings is resolved. */
const UNKNOWN_VIEWS = "";
/** The most names of sources that configuration defined once. */
const MAX_REMEMBERED = 1_000;

/** Every source in force, by name. */
export class SourceSet {
  readonly #options: SourceSetOptions;
  #byName: ReadonlyMap<string, Source> = new Map();
  #all: readonly Source[] = [];
  /** Names of sources that configuration defines or defined: no policy report resolves their findings. */
  readonly #everMapped = new Set<string>();

  constructor(options: SourceSetOptions) {
    this.#options = options;
    this.set([]);
  }

  /** The same array until `set` replaces them. */
  get all(): readonly Source[] {
    return this.#all;
  }

  /** Replaces what configuration defines: new sources, and doors (feeds added to built-in sources, under their names). */
  set(mapped: readonly Source[]): void {
    const { states, metrics } = this.#options;
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
    for (const source of byName.values()) {
      states.add(source);
      openSourceSeries(metrics, {
        source: source.name,
        kind: source.kind,
        categories: categoriesOf(source),
        createErrors: CREATE_ERROR_REASONS,
        deletes: DELETE_REASONS,
        watchErrors: source.feeds.some(({ type }) => type !== "post")
          ? [...WATCH_ERROR_REASONS, "internal"]
          : [],
      });
      for (const feed of source.feeds) if (feed.type === "post") openEndpointSeries(metrics, feed.path);
    }
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
   * sources that configuration removed, since no view observed the end of their findings. A source that configuration
   * names but that is not in force has unknown views: its findings are not resolved.
   */
  viewSourceOf(name: string): string | undefined {
    const own = this.named(name);
    if (own) return own.feeds.some(isOwnView) ? name : undefined;
    const claim = this.#options.claims(name);
    if (claim === "open") return UNKNOWN_VIEWS;
    if (claim !== "none" || this.#everMapped.has(name)) return undefined;
    // Any other name is that of a tool whose findings policy reports bring.
    return SOURCES.find(({ reportsForOthers }) => reportsForOthers)?.name;
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

/** True for a feed whose views are those of the source. A door has views of its own, and a post feed has none. */
function isOwnView({ type, ingester }: Source["feeds"][number]): boolean {
  return type !== "post" && !ingester?.isDoor;
}

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

/** True where the event's resource is in this shard's part. */
export function inScope({ resource }: Pick<NormalEvent, "resource">, scope: Scope): boolean {
  return covers(resource?.namespace ?? "", scope);
}

/** True where what belongs to a namespace ("": to none) is this shard's, wherever it is stored. */
export function covers(namespace: string, { namespaces, clusterScoped }: Scope): boolean {
  if (namespace === "") return clusterScoped;
  return namespaces.length === 0 || namespaces.includes(namespace);
}

/** The shard's Lease, as Events name it. */
export function leaseReference({ instance, podNamespace }: Settings): ObjectReference {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    name: leaseName(instance),
    namespace: podNamespace,
  };
}
