/** Watches the filter ConfigMap and the ObservationFilters, and activates valid filters at once. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { KubeApi, KubeObject, ResourceType } from "../kube/api.ts";
import { Denial } from "../kube/denial.ts";
import { every } from "../kube/retry.ts";
import {
  watch,
  type WatchEvent,
  type WatchOptions,
  type WatchState,
  type WatchTuning,
} from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import {
  ConfigMapFilters,
  type ConfigMapFiltersOptions,
  type ConfigMapFiltersReport,
  RELOAD_RESULTS,
} from "./configmap_filters.ts";
import type { FilterStatus } from "./filter_status.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import type { DocumentReport } from "./filter.ts";
import {
  OBSERVATION_FILTERS,
  ObservationFilters,
  type ObservationFiltersOptions,
  type ObservationFiltersReport,
} from "./observation_filters.ts";

export interface FiltersWatchOptions extends ConfigMapFiltersOptions, ObservationFiltersOptions {
  readonly api: KubeApi;
  readonly watchTuning?: WatchTuning;
  /** Namespaces of tenants whose ObservationFilters are used; "" is all of them. Empty: TENANT_FILTERS is off. */
  readonly tenantNamespaces: readonly string[];
  readonly status: FilterStatus;
}

/** Filters as `/tools/status` shows them. */
export interface FiltersReport {
  readonly hash: string;
  readonly documents: readonly DocumentReport[];
  readonly configMap: ConfigMapFiltersReport;
  readonly observationFilters: ObservationFiltersReport;
}

/** The watch that feeds the filters. */
export interface FiltersWatch {
  /** Runs until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
  /** Resolves once the first read of every place is decided: loaded, refused, missing or forbidden. */
  readonly firstReadDecided: Promise<void>;
  status(): FiltersReport;
  /** Writes the conditions that differ from the stored ones; called when this replica became leader. */
  publishConditions(): void;
  /** Call when the known sources changed. */
  sourcesChanged(): void;
}

const PASS_RATE_INTERVAL_MS = 5_000;

const log = logger("filter");

/** Creates the watch; nothing is read before `run`. */
export function createFiltersWatch(options: FiltersWatchOptions): FiltersWatch {
  const { filters, configMap: { namespace, name }, ownNamespace, tenantNamespaces } = options;
  // Prometheus sees the first refusal only if the series was 0 before.
  for (const result of RELOAD_RESULTS) options.metrics.filterReload.inc({ result }, 0);
  const configMap = new ConfigMapFilters(options);
  const resources = new ObservationFilters(options);
  const namespaces = tenantNamespaces.includes("") ? [""] : [...new Set([ownNamespace, ...tenantNamespaces])];
  const first = [configMap.firstRead, ...namespaces.map((watched) => resources.firstReadOf(watched))];
  const firstReadDecided = Promise.all(first).then(() => {
    if (filters.report().length === 0) log.info("No filters are in force: every event is allowed");
  });

  async function configMapLoop(signal: AbortSignal, beat: Beat): Promise<void> {
    configMap.restoreFrom(options.status.readLastGood(signal, beat.of("stored filters")));
    const scope = { namespace, fieldSelector: `metadata.name=${name}` };
    await each(options, {
      type: CONFIG_MAPS,
      scope,
      signal,
      beat: beat.of("ConfigMap"),
      take: (event) => configMap.take(event),
      resumed: () => configMap.resumed(),
    });
  }

  function resourceLoop(watched: string, { signal, beat }: Pick<Loop, "signal" | "beat">): Promise<void> {
    const scope = { namespace: watched };
    return each(options, {
      type: OBSERVATION_FILTERS,
      scope,
      signal,
      beat: beat.of(`ObservationFilters ${watched}`),
      take: (event) => resources.take(watched, event),
      resumed: () => resources.resumed(watched),
    });
  }

  return {
    firstReadDecided,
    async run(signal, beat = NO_BEAT) {
      await Promise.all([
        configMapLoop(signal, beat),
        ...namespaces.map((watched) => resourceLoop(watched, { signal, beat })),
        options.status.run(signal, beat),
        every(PASS_RATE_INTERVAL_MS, () => filters.publishPassRates(), {
          signal,
          beat: beat.of("pass rates"),
          sleep: options.watchTuning?.sleep,
        }),
      ]);
    },
    status: () => ({
      hash: filters.hash,
      documents: filters.report(),
      configMap: configMap.report(),
      observationFilters: resources.report(),
    }),
    publishConditions() {
      resources.publishConditions();
      options.status.publish();
    },
    sourcesChanged() {
      configMap.sourcesChanged();
      resources.sourcesChanged();
    },
  };
}

interface Loop {
  readonly type: ResourceType;
  readonly scope: Pick<WatchOptions, "namespace" | "fieldSelector">;
  readonly signal: AbortSignal;
  readonly beat: Beat;
  /** Resolves with "relist" if it needs a new list of all objects. */
  readonly take: (event: WatchEvent<KubeObject>) => Promise<unknown>;
  /** After an error, with or without a new list. */
  readonly resumed: () => void;
}

async function each(
  options: FiltersWatchOptions,
  { type, scope, signal, beat, take, resumed }: Loop,
): Promise<void> {
  const denial = new Denial(options.clock);
  const onState = (state: WatchState) => {
    if (state !== "synced") return;
    denial.ended();
    resumed();
  };
  const events = watch(options.api, type, { ...options.watchTuning, ...scope, signal, beat, onState });
  for await (const event of events) {
    if (await take(denial.judge(event)) === "relist") events.relist();
  }
}
