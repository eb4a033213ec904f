/** Reads the reports of the sources themselves: where they are, their objects, when each was made. */
import { hasStatus, type KubeObject, resourceName, type ResourceType } from "../kube/api.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import { describeAccess } from "../kube/access.ts";
import { at, isObject, type Json, list, textAt } from "../model/json.ts";
import { formatTime, readTime } from "../model/time.ts";
import { BUILT_IN, SOURCES } from "../sources/registry.ts";
import { type Feed, namespaceOf, type Source, type WatchedResource } from "../sources/source.ts";
import type { SettingValues } from "../text/setting.ts";
import { timeText } from "./row.ts";
import { pagesOf, type Progress, type ReadApi, type ReadCounter } from "./pages.ts";

/** Where reports of a source are: a resource, or the labelled ConfigMaps of one namespace. */
export interface ReportPlace {
  readonly source: Source;
  readonly feed: Feed;
  /** Versions of one resource; the first that is served is read. */
  readonly versions: readonly [WatchedResource, ...WatchedResource[]];
  /** Absent: all namespaces, or none. */
  readonly namespace?: string;
  readonly labelSelector?: string;
}

/** How the reading of a place ended: read, not installed, or a right that is missing. */
export type ReportState = "read" | "absent" | "forbidden";

/** How reports are read. */
export interface ReportsOptions {
  /** Called as objects come. */
  readonly onPage?: ((progress: Progress) => void) | undefined;
  readonly counter?: ReadCounter;
  readonly signal?: AbortSignal;
}

/** The source whose reports name findings of this one: itself, or for an engine of policy reports the source that reads those. */
export function reportingSource(name: string): Source | undefined {
  return BUILT_IN.get(name) ?? SOURCES.find(({ reportsForOthers }) => reportsForOthers);
}

/** The places that hold reports of a source: of one namespace, or all, which also have those in no namespace. */
export function reportPlaces(
  source: Source,
  { namespace, settings }: { readonly namespace?: string | undefined; readonly settings: SettingValues },
): ReportPlace[] {
  return source.feeds.flatMap((feed): ReportPlace[] => {
    if (feed.type === "post") return [];
    if (feed.type === "configmap") {
      const { labelSelector } = feed;
      const own = namespaceOf(feed, settings);
      const isWanted = namespace === undefined || namespace === own;
      return isWanted ? [{ source, feed, versions: [CONFIG_MAPS], namespace: own, labelSelector }] : [];
    }
    const wanted = feed.resources.filter(({ namespaced }) => namespaced || namespace === undefined);
    return [...Map.groupBy(wanted, resourceName).values()].map((versions) => ({
      source,
      feed,
      versions: versions as [WatchedResource, ...WatchedResource[]],
      ...(namespace !== undefined && { namespace }),
    }));
  });
}

/** The resource of a place: `policyreports.wgpolicyk8s.io`. */
export function placeName({ versions: [type] }: ReportPlace): string {
  return resourceName(type);
}

/** The right that reading a place takes. */
export function placeRight({ versions: [{ group, plural: resource }], namespace }: ReportPlace): string {
  const where = group === "" && namespace !== undefined ? { namespace } : {};
  return describeAccess({ verb: "list", group, resource, ...where });
}

/** Hands each report of a place to `take` until that returns true. */
export async function readReports(
  api: ReadApi,
  { versions, namespace, labelSelector }: ReportPlace,
  { take, onPage, ...options }: ReportsOptions & { readonly take: (report: KubeObject) => boolean | void },
): Promise<ReportState> {
  for (const type of versions) {
    const state = await readObjects(api, type, {
      take,
      ...(namespace !== undefined && { namespace }),
      ...(labelSelector !== undefined && { labelSelector }),
      ...(onPage && { onPage }),
      ...options,
    });
    if (state !== "absent") return state;
  }
  return "absent";
}

interface ReadObjectsOptions extends ReportsOptions {
  readonly take: (object: KubeObject) => boolean | void;
  readonly namespace?: string;
  readonly labelSelector?: string;
}

/** Hands each object of a resource to `take` until that returns true. */
export async function readObjects(
  api: ReadApi,
  type: ResourceType,
  { take, onPage, ...options }: ReadObjectsOptions,
): Promise<ReportState> {
  try {
    for await (const page of pagesOf(api, type, { ...options, ...(onPage && { onPage }) })) {
      for (const object of page) if (take(object) === true) return "read";
    }
    return "read";
  } catch (error) {
    if (hasStatus(error, 403)) return "forbidden";
    if (hasStatus(error, 404)) return "absent";
    throw error;
  }
}

/** When a report was made: Trivy says it, results of policy reports have times, a ConfigMap shows when it was last written. */
export function madeAt(report: KubeObject): string {
  const { metadata, report: content, results, data, binaryData } = report;
  const own = isObject(content) ? readTime(content["updateTimestamp"])?.text : undefined;
  const newest = list(results).reduce<number>((ms, result) => Math.max(ms, timeOf(result)), 0);
  const written = data === undefined && binaryData === undefined ? "" : writtenAt(metadata);
  return own ?? (newest > 0 ? formatTime(newest) : written || (metadata.creationTimestamp ?? ""));
}

/** Milliseconds since the epoch; 0 where a result has no time, or one that cannot be. */
function timeOf(result: Json): number {
  const seconds = at(result, "timestamp", "seconds");
  return typeof seconds === "number" ? readTime(seconds * 1_000)?.ms ?? 0 : 0;
}

/** The newest time of the field managers; "" where there is none. */
function writtenAt(metadata: unknown): string {
  const managers = list(at(metadata as Json, "managedFields"));
  const newest = managers.reduce<number>((ms, manager) => {
    return Math.max(ms, readTime(textAt(manager, "time"))?.ms ?? 0);
  }, 0);
  return timeText(newest);
}
