/** Resources that every API server serves and that more than one folder uses. */
import type { ResourceType } from "./api.ts";

/** ConfigMaps. */
export const CONFIG_MAPS = coreResource("configmaps", "ConfigMap");
/** Secrets. */
export const SECRETS = coreResource("secrets", "Secret");
/** Namespaces. */
export const NAMESPACES: ResourceType = { ...coreResource("namespaces", "Namespace"), namespaced: false };
/** CustomResourceDefinitions. */
export const CUSTOM_RESOURCE_DEFINITIONS: ResourceType = {
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  namespaced: false,
};

function coreResource(plural: string, kind: string): ResourceType {
  return { group: "", version: "v1", plural, kind, namespaced: true };
}
