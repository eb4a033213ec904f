/** This shard's part of the cluster (SPEC section 9). */
import type { NormalEvent } from "../model/event.ts";
import type { Settings } from "../settings.ts";

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
export function inScope(
  { resource }: Pick<NormalEvent, "resource">,
  { namespaces, clusterScoped }: Scope,
): boolean {
  if (!resource?.namespace) return clusterScoped;
  return namespaces.length === 0 || namespaces.includes(resource.namespace);
}

/**
 * True where what is stored in a namespace may be this shard's. Our own namespaces also hold what was found elsewhere.
 * A namespace that was taken off the list is nobody's to look after from here: no view speaks of it.
 */
export function keepsIn(
  namespace: string,
  { namespaces }: Scope,
  sharedNamespaces: readonly string[],
): boolean {
  return namespaces.length === 0 || namespaces.includes(namespace) || sharedNamespaces.includes(namespace);
}
