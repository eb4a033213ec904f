/** Kubernetes URLs. */
import type { ListOptions, ResourceType, WatchRequestOptions, WriteOptions } from "./api.ts";

/** `/api/v1` or `/apis/<group>/<version>`. */
export function groupPath({ group, version }: Pick<ResourceType, "group" | "version">): string {
  return group === ""
    ? `/api/${encodeURIComponent(version)}`
    : `/apis/${encodeURIComponent(group)}/${encodeURIComponent(version)}`;
}

/** Path of a collection, or of one object and subresource in it. No namespace: all of them, or cluster scope. */
export function resourcePath(
  type: ResourceType,
  at: { readonly namespace?: string | undefined; readonly name?: string; readonly subresource?: string } = {},
): string {
  const parts = [groupPath(type)];
  if (type.namespaced && at.namespace) parts.push("namespaces", encodeURIComponent(at.namespace));
  parts.push(encodeURIComponent(type.plural));
  if (at.name !== undefined) parts.push(encodeURIComponent(at.name));
  if (at.subresource) parts.push(encodeURIComponent(at.subresource));
  return parts.join("/");
}

/** `vulnerabilityreports.aquasecurity.github.io`, `pods`. */
export function resourceName({ plural, group }: Pick<ResourceType, "plural" | "group">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** Query of a list. */
export function listQuery(options: ListOptions): URLSearchParams {
  return query({
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    limit: options.limit,
    continue: options.continue,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
  });
}

/** Query of a watch. */
export function watchQuery(options: WatchRequestOptions): URLSearchParams {
  return query({
    watch: "true",
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    resourceVersion: options.resourceVersion,
    timeoutSeconds: options.timeoutSeconds,
    allowWatchBookmarks: options.allowWatchBookmarks,
  });
}

/** Query of a write; `fieldManager` names us in managedFields. */
export function writeQuery(options: WriteOptions, fieldManager: string): URLSearchParams {
  return query({ fieldManager, dryRun: options.dryRun ? "All" : undefined });
}

function query(fields: Record<string, string | number | boolean | undefined>): URLSearchParams {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "") params.set(key, String(value));
  }
  return params;
}
