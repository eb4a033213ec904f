import type { JsonObject } from "../core/json.ts";
import { apiVersion, type Resource } from "./resources.ts";

interface Entry {
  readonly group: string;
  readonly version: string;
  readonly resource: JsonObject;
}

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const REVIEWS: readonly Entry[] = [
  "authentication SelfSubjectReview",
  "authorization SelfSubjectAccessReview",
].map((review) => {
  const [group, kind = ""] = review.split(" ");
  const resource = {
    name: `${kind.toLowerCase()}s`,
    singularName: "",
    kind,
    namespaced: false,
    verbs: ["create"],
  };
  return { group: `${group}.k8s.io`, version: "v1", resource };
});

/** Answers discovery and OpenAPI paths; undefined for any other. */
export function discovery(
  path: string,
  { resources, host }: { resources: readonly Resource[]; host: string },
): JsonObject | undefined {
  const entries = [...resources.flatMap(entriesOf), ...REVIEWS];
  const [, root, group = "", version] = /^\/(apis?)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path) ?? [];
  if (path === "/api") {
    const serverAddressByClientCIDRs = [{ clientCIDR: "0.0.0.0/0", serverAddress: host }];
    return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs };
  }
  if (path === "/apis") {
    const groups = new Set(entries.map((entry) => entry.group).filter(Boolean));
    return {
      kind: "APIGroupList",
      apiVersion: "v1",
      groups: [...groups].map((name) => apiGroup(name, entries)),
    };
  }
  if (path === "/openapi/v2") {
    return { swagger: "2.0", info: { title: "devcluster", version: "v1" }, paths: {}, definitions: {} };
  }
  if (path === "/openapi/v3") {
    const paths = entries.map((entry) => groupPath(entry.group, entry.version));
    return {
      paths: Object.fromEntries(paths.map((each) => [each, { serverRelativeURL: `/openapi/v3/${each}` }])),
    };
  }
  if (path.startsWith("/openapi/v3/")) return openApi(path.slice("/openapi/v3/".length), resources);
  if (root === "apis" && !version) {
    return entries.some((entry) => entry.group === group)
      ? { kind: "APIGroup", apiVersion: "v1", ...apiGroup(group, entries) }
      : undefined;
  }
  const asked = root === "api" ? groupPath("", version ? "" : group) : groupPath(group, version ?? "");
  const found = entries.filter((entry) =>
    root !== undefined && groupPath(entry.group, entry.version) === asked
  );
  if (found.length === 0) return undefined;
  const groupVersion = root === "api" ? group : `${group}/${version}`;
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion,
    resources: found.map(({ resource }) => resource),
  };
}

function entriesOf(
  { group, plural: name, singular: singularName, kind, namespaced, shortNames, categories, versions }:
    Resource,
): Entry[] {
  return versions.flatMap(({ name: version, hasStatus }) => {
    const main = { name, singularName, kind, namespaced, shortNames, categories, verbs: VERBS };
    const status = {
      name: `${name}/status`,
      singularName: "",
      kind,
      namespaced,
      verbs: ["get", "patch", "update"],
    };
    return (hasStatus ? [main, status] : [main]).map((resource) => ({ group, version, resource }));
  });
}

function apiGroup(name: string, entries: readonly Entry[]): JsonObject {
  const names = new Set(entries.filter(({ group }) => group === name).map(({ version }) => version));
  const versions = [...names].map((version) => ({ groupVersion: apiVersion(name, version), version }));
  return { name, versions, preferredVersion: versions[0] ?? null };
}

function groupPath(group: string, version: string): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

/** As much OpenAPI as `kubectl explain` and `apply` read: schemas by kind, and what a PATCH takes. */
function openApi(path: string, resources: readonly Resource[]): JsonObject {
  const schemas: JsonObject = {};
  const paths: JsonObject = {};
  const parameters = ["dryRun", "fieldValidation"].map((name) => ({
    name,
    in: "query",
    schema: { type: "string" },
  }));
  for (const { group, kind, plural, namespaced, versions } of resources) {
    for (const { name: version, schema } of versions) {
      if (groupPath(group, version) !== path) continue;
      const about = { "x-kubernetes-group-version-kind": { group, version, kind } };
      const name = `${group || "core"}.${version}.${kind}`;
      schemas[name] = {
        type: "object",
        ...schema,
        "x-kubernetes-group-version-kind": [{ group, version, kind }],
      };
      const content = { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } };
      const operation = { ...about, responses: { "200": { description: "OK", content } } };
      const one = `/${path}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`;
      paths[one] = { get: operation, patch: { ...operation, "x-kubernetes-action": "patch", parameters } };
    }
  }
  return { openapi: "3.0.0", info: { title: "devcluster", version: "v1" }, paths, components: { schemas } };
}
