/** Views: what a complete list and watch of one resource says a source reports now. */

/** One list and watch of a source, or one webhook path. Its state and what it reports are kept by it. */
export interface ViewKey {
  readonly source: string;
  /** `plural.group` as kubectl writes it, `configmaps`, or a webhook's path. */
  readonly resource: string;
  /** Set where the resource is watched in one namespace at a time. */
  readonly namespace?: string;
  /** The Ingester that is one more feed of a built-in source (`Ingester zen-system/edge`). */
  readonly ingester?: string;
}

/** Identifies a view in maps. */
export function viewId({ source, resource, namespace = "", ingester = "" }: ViewKey): string {
  return [source, resource, namespace, ingester].join("\n");
}

/** Names a view among those of its source, in states and logs: `plural.group/namespace (ingester)`. */
export function viewName({ resource, namespace, ingester }: ViewKey): string {
  return `${resource}${namespace === undefined ? "" : `/${namespace}`}${
    ingester === undefined ? "" : ` (${ingester})`
  }`;
}

/** The workload of a report, and when its tool deletes the report in order to recreate it. */
export interface ReportScope {
  /** See `workloadKey`. */
  readonly workload: string;
  /** The part of the workload that is reported on: a container; "" for all of it. */
  readonly part: string;
  /** Milliseconds since the epoch; absent: it is there until its workload is gone. */
  readonly expiresAt?: number;
}

/** The findings of one document: of a report or a ConfigMap. */
export interface ReportedFindings {
  /** `namespace/name` of the document, or `name` of a cluster-scoped one. */
  readonly key: string;
  readonly fingerprints: readonly string[];
  /** Further ones, which are filtered. Of those the ones that are stored count: there may be any number that are not. */
  readonly filteredFingerprints?: readonly string[];
  /** False where part of it could not be read: it then only adds, and ends nothing. */
  readonly readable: boolean;
  /** Where reports of its source expire. */
  readonly scope?: ReportScope;
}

/** Takes what feeds see of their documents. The leader's findings implement it. */
export interface Views {
  /** A full list begins. What it does not show until `complete` is gone. */
  begin(view: ViewKey): void;
  /** A document replaces what it reported before. */
  report(view: ViewKey, findings: ReportedFindings): void;
  /** A document was deleted. */
  gone(view: ViewKey, key: string): void;
  /** The full list is in and evaluated. */
  complete(view: ViewKey): void;
  /** The resource cannot be seen: it counts as still reporting. `absent`: it is not served any more. */
  lost(view: ViewKey, why: "absent" | "unreadable"): void;
}
