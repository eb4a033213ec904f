/** This shard's part of the cluster (SPEC section 9). */
import type { ObjectReference } from "../kube/events.ts";
import { leaseName } from "../sources/rbac.ts";
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
