import type { JsonObject } from "../model/json.ts";
import { apiVersion, type Definition, type Version } from "./resources.ts";

type Served = { readonly definition: Definition; readonly version: Version };

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS = ["get", "patch", "update"];
const OPEN_API = { openapi: "3.0.0", info: { title: "devcluster", version: "v1" } };

/** Answers discovery and OpenAPI paths; undefined for any other. */
export function discovery(path: string, definitions: readonly Definition[]): JsonObject | undefined {
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  const groups = [...Map.groupBy(definitions, ({ group }) => group).values()].map(apiGroup);
  if (path === "/apis") {
    return { kind: "APIGroupList", apiVersion: "v1", groups: groups.filter(({ name }) => name !== "") };
  }
  const group = groups.find(({ name }) => path === `/apis/${name}`);
  if (group) return { kind: "APIGroup", apiVersion: "v1", ...group };
  const all = definitions.flatMap((definition) =>
    definition.versions.map((version): Served => ({ definition, version }))
  );
  const places = Map.groupBy(
    all,
    ({ definition: { group }, version: { name } }) => group ? `/apis/${group}/${name}` : `/api/${name}`,
  );
  if (path === "/openapi/v3") {
    const url = (place: string) => [place.slice(1), { serverRelativeURL: `/openapi/v3${place}` }];
    return { paths: Object.fromEntries([...places.keys()].map(url)) };
  }
  const place = path.replace(/^\/openapi\/v3/, "");
  const served = places.get(place);
  if (!served || place !== path) return served && openApi(served, place);
  const groupVersion = place.replace(/^\/apis?\//, "");
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: served.flatMap(entries) };
}

function apiGroup(definitions: readonly Definition[]) {
  const name = definitions[0]!.group;
  const served = new Set(definitions.flatMap((each) => each.versions.map((version) => version.name)));
  const sorted = [...served].sort((a, b) => rank(b) - rank(a));
  const versions = sorted.map((version) => ({ groupVersion: apiVersion(name, version), version }));
  return { name, versions, preferredVersion: versions[0]! };
}

/** Stable versions before beta before alpha, later ones first. */
function rank(version: string): number {
  const [, major = "0", stage = "stable", minor = "0"] = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version) ?? [];
  return ["alpha", "beta", "stable"].indexOf(stage) * 1e6 + Number(major) * 1e3 + Number(minor);
}

function entries({ definition: { plural: name, singular, ...more }, version }: Served): JsonObject[] {
  const { kind, namespaced, shortNames, categories } = more;
  const main = { name, singularName: singular, kind, namespaced, shortNames, categories, verbs: VERBS };
  const status = { name: `${name}/status`, singularName: "", kind, namespaced, verbs: STATUS_VERBS };
  return version.subresources?.status ? [main, status] : [main];
}

/** As much OpenAPI as `kubectl explain` and `apply` read: schemas by kind, and what a PATCH takes. */
function openApi(served: readonly Served[], root: string): JsonObject {
  const schemas: JsonObject = {};
  const paths: JsonObject = {};
  const inQuery = { in: "query", schema: { type: "string" } };
  const parameters = [{ name: "dryRun", ...inQuery }, { name: "fieldValidation", ...inQuery }];
  for (
    const { definition: { group, kind, plural, namespaced }, version: { name: version, schema } } of served
  ) {
    const about = { group, version, kind };
    const name = `${group || "core"}.${version}.${kind}`;
    schemas[name] = {
      type: "object",
      ...schema?.openAPIV3Schema,
      "x-kubernetes-group-version-kind": [about],
    };
    const content = { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } };
    const responses = { "200": { description: "OK", content } };
    const get = { responses, "x-kubernetes-group-version-kind": about };
    const patch = { ...get, "x-kubernetes-action": "patch", parameters };
    paths[`${root}/${namespaced ? "namespaces/{namespace}/" : ""}${plural}/{name}`] = { get, patch };
  }
  return { ...OPEN_API, paths, components: { schemas } };
}
