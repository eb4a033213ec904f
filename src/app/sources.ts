/** The sources in force: the built-in ones with the doors that Ingesters add, and those that configuration adds. */
import type { ViewKey } from "../model/view.ts";
import type { Claim } from "../mapped/runtime.ts";
import { resourceName } from "../kube/paths.ts";
import { SOURCES } from "../sources/registry.ts";
import { categoriesOf, type Source, watchedResources } from "../sources/source.ts";
import type { SourceStates } from "../sources/status.ts";
import { DELETE_REASONS } from "../store/deletes.ts";
import { CREATE_ERROR_REASONS } from "../store/refusal.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openEndpointSeries, openSourceSeries } from "../telemetry/series.ts";

export interface SourceSetOptions {
  readonly states: SourceStates;
  readonly metrics: Metrics;
  /** What an Ingester or ObservationMapping that is not in force says of a source. */
  readonly claims: (source: string) => Claim;
}

/** The source of a view that is in no book: nothing is known of its findings. */
const UNKNOWN_VIEWS = "";
/** Sources remembered that configuration took back. */
const MAX_REMEMBERED = 1_000;

/** Every source in force, by name. */
export class SourceSet {
  readonly #options: SourceSetOptions;
  #byName: ReadonlyMap<string, Source> = new Map();
  /** Sources that configuration added, also those it took back: no policy report reports for them. */
  readonly #everMapped = new Set<string>();

  constructor(options: SourceSetOptions) {
    this.#options = options;
    this.set([]);
  }

  get all(): readonly Source[] {
    return [...this.#byName.values()];
  }

  /** Replaces what configuration adds: sources, and doors under the names of built-in ones. */
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
    for (const name of before.keys()) if (!byName.has(name)) states.remove(name);
    for (const source of byName.values()) {
      states.add(source);
      openSourceSeries(metrics, {
        source: source.name,
        categories: categoriesOf(source),
        createErrors: CREATE_ERROR_REASONS,
        deletes: DELETE_REASONS,
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
   * The source whose views report findings of this one; undefined for those without: pushed ones, and what
   * configuration took back or its uninstalled CRD took with it, since the end of their findings was not observed. What
   * configuration names, but has not in force for another reason, has views of which nothing is known.
   */
  viewSourceOf(name: string): string | undefined {
    const own = this.named(name);
    if (own) return own.feeds.some(isOwnView) ? name : undefined;
    const claim = this.#options.claims(name);
    if (claim === "open") return UNKNOWN_VIEWS;
    if (claim !== "none" || this.#everMapped.has(name)) return undefined;
    // Tools that have no source of their own are those that policy reports name.
    return SOURCES.find(({ reportsForOthers }) => reportsForOthers)?.name;
  }

  /** The event types a view may report; undefined: any. */
  eventTypesOf({ source, resource }: Pick<ViewKey, "source" | "resource">): readonly string[] | undefined {
    const own = this.named(source);
    return own && watchedResources(own).find((type) => resourceName(type) === resource)?.eventTypes;
  }
}

/** A door that pulls has views of its own; what a source pushes has none. */
function isOwnView({ type, ingester }: Source["feeds"][number]): boolean {
  return type !== "post" && !ingester?.isDoor;
}
