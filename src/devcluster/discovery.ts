import type { JsonObject } from "../core/json.ts";
import { apiVersion, type Resource } from "./resources.ts";

type Entry = { readonly group: string; readonly version: string; readonly resource: JsonObject };

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS = ["get", "patch", "update"];
const REVIEWS = { authentication: "SelfSubjectReview", authorization: "SelfSubjectAccessReview" };
const INFO = { title: "devcluster", version: "v1" };

/** Answers discovery and OpenAPI paths; undefined for any other. */
export function discovery(path: string, resources: readonly Resource[]): JsonObject | undefined {
  const entries = resources.flatMap(entriesOf);
  for (const [group, kind] of Object.entries(REVIEWS)) {
    const resource = { name: `${kind.toLowerCase()}s`, singularName: "", kind, namespaced: false };
    entries.push({ group: `${group}.k8s.io`, version: "v1", resource: { ...resource, verbs: ["create"] } });
  }
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  if (path === "/openapi/v2") return { swagger: "2.0", info: INFO, paths: {}, definitions: {} };
  const groups = Map.groupBy(entries, ({ group }) => group);
  if (path === "/apis") {
    const named = [...groups].filter(([group]) => group !== "");
    return { kind: "APIGroupList", apiVersion: "v1", groups: named.map(([, each]) => apiGroup(each)) };
  }
  const group = groups.get(/^\/apis\/([^/]+)$/.exec(path)?.[1] ?? "-");
  if (group) return { kind: "APIGroup", apiVersion: "v1", ...apiGroup(group) };
  const byPath = Map.groupBy(entries, (entry) => groupPath(entry.group, entry.version));
  if (path === "/openapi/v3") {
    const url = (of: string) => [of.slice(1), { serverRelativeURL: `/openapi/v3${of}` }];
    return { paths: Object.fromEntries([...byPath.keys()].map(url)) };
  }
  if (path.startsWith("/openapi/v3/")) return openApi(path.slice("/openapi/v3".length), resources);
  const found = byPath.get(path);
  if (!found) return undefined;
  const groupVersion = apiVersion(found[0]!.group, found[0]!.version);
  const listed = found.map(({ resource }) => resource);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: listed };
}

function entriesOf(
  { group, plural: name, singular, kind, namespaced, versions, ...names }: Resource,
): Entry[] {
  const { shortNames, categories } = names;
  return versions.flatMap(({ name: version, subresources }) => {
    const main = { name, singularName: singular, kind, namespaced, shortNames, categories, verbs: VERBS };
    const status = { name: `${name}/status`, singularName: "", kind, namespaced, verbs: STATUS_VERBS };
    return (subresources?.status ? [main, status] : [main]).map((resource) => ({ group, version, resource }));
  });
}

function apiGroup(entries: readonly Entry[]): JsonObject {
  const name = entries[0]!.group;
  const served = [...new Set(entries.map(({ version }) => version))].sort((a, b) => rank(b) - rank(a));
  const versions = served.map((version) => ({ groupVersion: apiVersion(name, version), version }));
  return { name, versions, preferredVersion: versions[0]! };
}

/** Stable versions before beta before alpha, later ones first. */
function rank(version: string): number {
  const [, major = "0", stage = "stable", minor = "0"] = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version) ?? [];
  return ["alpha", "beta", "stable"].indexOf(stage) * 1e6 + Number(major) * 1e3 + Number(minor);
}

function groupPath(group: string, version: string): string {
  return group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
}

/** As much OpenAPI as `kubectl explain` and `apply` read: schemas by kind, and what a PATCH takes. */
function openApi(path: string, resources: readonly Resource[]): JsonObject {
  const schemas: JsonObject = {};
  const paths: JsonObject = {};
  const inQuery = { in: "query", schema: { type: "string" } };
  const parameters = [{ name: "dryRun", ...inQuery }, { name: "fieldValidation", ...inQuery }];
  for (const { group, kind, plural, namespaced, versions } of resources) {
    for (const { name: version, schema } of versions) {
      if (groupPath(group, version) !== path) continue;
      const about = { group, version, kind };
      const name = `${group || "core"}.${version}.${kind}`;
      const known = schema?.openAPIV3Schema ?? {};
      schemas[name] = { type: "object", ...known, "x-kubernetes-group-version-kind": [about] };
      const content = { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } };
      const responses = { "200": { description: "OK", content } };
      const get = { responses, "x-kubernetes-group-version-kind": about };
      const patch = { ...get, "x-kubernetes-action": "patch", parameters };
      paths[`${path}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`] = { get, patch };
    }
  }
  return { openapi: "3.0.0", info: INFO, paths, components: { schemas } };
}
