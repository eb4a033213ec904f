/** Kinds that belong to no namespace. */
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

/** True for a kind, in any case, that belongs to no namespace; not for `IPAddress`: Cluster API has a namespaced one. */
export function isClusterScoped(kind: string): boolean {
  return CLUSTER_SCOPED.has(kind.toLowerCase());
}
