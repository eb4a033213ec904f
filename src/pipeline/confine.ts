/** Keeps what a namespace's reports say to that namespace (SPEC section 13). */
import type { Origin } from "../model/event.ts";
import type { Resource } from "../model/observation.ts";

/** Kinds that belong to no namespace, lower-case: nobody's report from inside one speaks of them. */
const CLUSTER_SCOPED: ReadonlySet<string> = new Set([
  ...["namespace", "node", "persistentvolume", "componentstatus"],
  ...["customresourcedefinition", "apiservice", "certificatesigningrequest"],
  ...["mutatingadmissionpolicy", "mutatingadmissionpolicybinding", "mutatingwebhookconfiguration"],
  ...["validatingadmissionpolicy", "validatingadmissionpolicybinding", "validatingwebhookconfiguration"],
  ...["flowschema", "prioritylevelconfiguration", "priorityclass", "runtimeclass"],
  ...["clusterrole", "clusterrolebinding", "podsecuritypolicy", "clusterpolicy"],
  ...["ingressclass", "servicecidr", "deviceclass", "resourceslice"],
  ...["storageclass", "csidriver", "csinode", "volumeattachment", "volumeattributesclass"],
]);

/** True for a kind, in any case, that belongs to no namespace; not for `IPAddress`, which Cluster API has in namespaces. */
export function isClusterScoped(kind: string): boolean {
  return CLUSTER_SCOPED.has(kind.toLowerCase());
}

/** What an event may speak of, what it claimed beyond that, and the namespace it is bound to, if any. */
export interface Confined {
  readonly resource?: Resource;
  readonly claimed?: Resource;
  readonly namespace?: string;
}

/** The resource as its origin entitles it to claim: a foreign one becomes `claimed`, an absent namespace the report's. */
export function confine(resource: Resource | undefined, origin: Origin): Confined {
  const home = origin.namespace;
  if (!origin.confined || !home) return resource ? { resource } : {};
  if (!resource) return { resource: { namespace: home }, namespace: home };
  if (isForeign(resource, home)) return { resource: { namespace: home }, claimed: resource, namespace: home };
  return { resource: { ...resource, namespace: home }, namespace: home };
}

function isForeign(resource: Resource, home: string): boolean {
  if (resource.namespace !== undefined && resource.namespace !== home) return true;
  const { kind = "", name } = resource;
  if (kind.toLowerCase() === "namespace") return name !== undefined && name !== home;
  return isClusterScoped(kind);
}
