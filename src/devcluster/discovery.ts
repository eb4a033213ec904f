import type { Json, JsonObject } from "../core/json.ts";
import { apiVersion, type Resource, type Version } from "./resources.ts";

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS = ["get", "patch", "update"];
const REVIEWS = [
  { group: "authentication.k8s.io", plural: "selfsubjectreviews", kind: "SelfSubjectReview" },
  { group: "authorization.k8s.io", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview" },
];

interface Entry {
  readonly group: string;
  readonly version: string;
  readonly resource: JsonObject;
}

/** Answers discovery and OpenAPI paths; undefined for any other. */
export function discovery(path: string, { resources, aggregated, host }: {
  resources: Iterable<Resource>;
  aggregated: string | undefined;
  host: string;
}): JsonObject | undefined {
  const all = [...resources];
  const entries = all.flatMap((resource) =>
    resource.versions.flatMap((version) => entriesOf(resource, version))
  );
  for (const { group, plural, kind } of REVIEWS) {
    entries.push({
      group,
      version: "v1",
      resource: apiResource({ name: plural, kind, verbs: ["create"], namespaced: false }),
    });
  }
  if (path === "/api" || path === "/apis") {
    const inGroup = entries.filter(({ group }) => (group === "") === (path === "/api"));
    if (aggregated) return aggregate(inGroup, aggregated);
    if (path === "/apis") return { kind: "APIGroupList", apiVersion: "v1", groups: groupsOf(inGroup) };
    const addresses = [{ clientCIDR: "0.0.0.0/0", serverAddress: host }];
    return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: addresses };
  }
  if (path === "/openapi/v2") {
    return { swagger: "2.0", info: { title: "devcluster", version: "v1" }, paths: {}, definitions: {} };
  }
  if (path === "/openapi/v3") {
    const paths = new Set(entries.map(({ group, version }) => groupPath(group, version)));
    return {
      paths: Object.fromEntries(
        [...paths].map((each) => [each, { serverRelativeURL: `/openapi/v3/${each}` }]),
      ),
    };
  }
  if (path.startsWith("/openapi/v3/")) return openApi(path.slice("/openapi/v3/".length), all);
  const [, root, group = "", version] = /^\/(apis?)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path) ?? [];
  const asked = root === "api" ? { group: "", version: group } : { group, version };
  const found = entries.filter((entry) =>
    entry.group === asked.group && (!asked.version || entry.version === asked.version)
  );
  if (root === undefined || found.length === 0 || (root === "api" && version)) return undefined;
  if (!asked.version) return { kind: "APIGroup", apiVersion: "v1", ...groupsOf(found)[0] };
  const groupVersion = apiVersion(asked.group, asked.version);
  const listed = found.map(({ resource }) => resource);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: listed };
}

function entriesOf(resource: Resource, { name: version, hasStatus }: Version): Entry[] {
  const { group, plural: name, singular: singularName, kind, namespaced, shortNames, categories } = resource;
  const lists = {
    ...(shortNames.length > 0 ? { shortNames: [...shortNames] } : {}),
    ...(categories.length > 0 ? { categories: [...categories] } : {}),
  };
  const main = { ...apiResource({ name, singularName, kind, namespaced, verbs: VERBS }), ...lists };
  const status = apiResource({ name: `${name}/status`, kind, namespaced, verbs: STATUS_VERBS });
  return [{ group, version, resource: main }, ...(hasStatus ? [{ group, version, resource: status }] : [])];
}

function apiResource({ singularName = "", ...rest }: {
  name: string;
  kind: string;
  namespaced: boolean;
  verbs: string[];
  singularName?: string;
}): JsonObject {
  return { singularName, ...rest };
}

function groupsOf(entries: readonly Entry[]): JsonObject[] {
  return [...new Set(entries.map(({ group }) => group))].map((name) => {
    const names = new Set(entries.filter(({ group }) => group === name).map(({ version }) => version));
    const versions = [...names].map((version) => ({ groupVersion: apiVersion(name, version), version }));
    return { name, versions, preferredVersion: versions[0]! };
  });
}

function aggregate(entries: readonly Entry[], version: string): JsonObject {
  const items = groupsOf(entries).map(({ name, versions }) => ({
    metadata: { name: name!, creationTimestamp: null },
    versions: (versions as JsonObject[]).map((each) => ({
      version: each.version!,
      freshness: "Current",
      resources: aggregatedResources(
        entries.filter((entry) => entry.group === name && entry.version === each.version),
      ),
    })),
  }));
  return { kind: "APIGroupDiscoveryList", apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items };
}

function aggregatedResources(entries: readonly Entry[]): Json[] {
  const main = entries.filter(({ resource }) => !String(resource.name).includes("/"));
  return main.map(({ group, version, resource }) => {
    const { name, kind, singularName, namespaced, verbs, shortNames, categories } = resource;
    const responseKind = { group, version, kind: kind! };
    const hasStatus = entries.some((entry) => entry.resource.name === `${name}/status`);
    return {
      resource: name!,
      responseKind,
      scope: namespaced ? "Namespaced" : "Cluster",
      singularResource: singularName!,
      verbs: verbs!,
      ...(shortNames ? { shortNames } : {}),
      ...(categories ? { categories } : {}),
      ...(hasStatus ? { subresources: [{ subresource: "status", responseKind, verbs: STATUS_VERBS }] } : {}),
    };
  });
}

function groupPath(group: string, version: string): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

/** As much OpenAPI as `kubectl explain` and `apply` read: schemas by kind, and what a PATCH takes. */
function openApi(path: string, resources: readonly Resource[]): JsonObject | undefined {
  const schemas: JsonObject = {};
  const paths: JsonObject = {};
  for (const { group, kind, plural, namespaced, versions } of resources) {
    for (const version of versions) {
      if (groupPath(group, version.name) !== path) continue;
      const action = { group, version: version.name, kind };
      const name = `${group || "core"}.${version.name}.${kind}`;
      schemas[name] = { type: "object", ...version.schema, "x-kubernetes-group-version-kind": [action] };
      const ref = { $ref: `#/components/schemas/${name}` };
      const operation = {
        responses: { "200": { description: "OK", content: { "application/json": { schema: ref } } } },
        "x-kubernetes-group-version-kind": action,
      };
      const parameters = ["dryRun", "fieldValidation"].map((each) => ({
        name: each,
        in: "query",
        schema: { type: "string" },
      }));
      const patch = { ...operation, "x-kubernetes-action": "patch", parameters };
      paths[`/${path}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`] = {
        get: operation,
        patch,
      };
    }
  }
  if (Object.keys(schemas).length === 0) return undefined;
  return { openapi: "3.0.0", info: { title: "devcluster", version: "v1" }, paths, components: { schemas } };
}
