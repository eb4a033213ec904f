import type { JsonObject } from "../model/json.ts";
import type { Collection } from "./store.ts";

/** A column of `kubectl get`: a JSONPath into the object. */
export type Column = { name: string; type: string; jsonPath: string; priority?: number };

/** One version of a resource, as in a CustomResourceDefinition. */
export interface Version {
  readonly name: string;
  readonly served: boolean;
  readonly schema?: { readonly openAPIV3Schema: JsonObject };
  readonly subresources?: { readonly status?: JsonObject };
  readonly additionalPrinterColumns?: readonly Column[];
  readonly selectableFields?: readonly { readonly jsonPath: string }[];
}

/**
 * A resource as the API server knows it. Traits: C(luster scope), S(tatus subresource), G(eneration counted),
 * P(UT creates what is missing), R(esourceVersion needed in a PUT).
 */
export interface Definition {
  readonly group: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames: string[];
  readonly categories: string[];
  readonly namespaced: boolean;
  readonly versions: readonly Version[];
  readonly traits: string;
  readonly custom: boolean;
}

/** A resource that is served, with its objects. */
export interface ApiResource extends Definition {
  readonly objects: Collection;
}

type Spec = { group: string; scope: string; names: Partial<Definition>; versions: Version[] };
/** The column that kubectl shows for every kind. */
export const AGE: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const TEXT: JsonObject = { type: "string" };
const TEXTS: JsonObject = { type: "object", additionalProperties: TEXT };
const TIME: JsonObject = { type: "string", format: "date-time", nullable: true };
const MICRO_TIME: JsonObject = { type: "string", format: "micro-time", nullable: true };
const INTEGER: JsonObject = { type: "integer" };
const LEASE: JsonObject = { holderIdentity: TEXT, leaseDurationSeconds: INTEGER, leaseTransitions: INTEGER };

/** Schemas of the built-in kinds whose fields we rely on; others are kept as they come. */
const SCHEMAS: Readonly<Record<string, JsonObject>> = {
  ConfigMap: properties({ data: TEXTS, binaryData: TEXTS, immutable: { type: "boolean" } }),
  Secret: properties({ type: TEXT, data: TEXTS, stringData: TEXTS }),
  Lease: properties({ spec: properties({ ...LEASE, acquireTime: MICRO_TIME, renewTime: MICRO_TIME }) }),
  Event: {
    ...properties({ eventTime: MICRO_TIME, firstTimestamp: TIME, lastTimestamp: TIME }),
    "x-kubernetes-preserve-unknown-fields": true,
  },
};

/** Group, kind, short name, traits, columns, selectable fields. */
const BUILT_INS = `
|Namespace|ns|CS|Status=.status.phase|status.phase
|ConfigMap|cm
|Secret|||Type=.type|type
|Event|ev|P|Last Seen=.lastTimestamp,Type=.type,Reason=.reason,Object=.involvedObject.name,Message=.message|\
involvedObject.kind,involvedObject.namespace,involvedObject.name,involvedObject.uid,involvedObject.apiVersion,\
involvedObject.resourceVersion,involvedObject.fieldPath,reason,reportingComponent,type
coordination.k8s.io|Lease||PR|Holder=.spec.holderIdentity
apiextensions.k8s.io|CustomResourceDefinition|crd|CSGR`;

/** The resources that are there without a CustomResourceDefinition. */
export function builtIns(): Definition[] {
  return BUILT_INS.trim().split("\n").map((line) => {
    const [group = "", kind = "", short = "", traits = "", columns = "", fields = ""] = line.split("|");
    const additionalPrinterColumns = columns.split(",").filter(Boolean).map((column) => {
      const [name = "", jsonPath = ""] = column.split("=");
      return { name, jsonPath, type: name === "Last Seen" ? "date" : "string" };
    });
    const version = {
      name: "v1",
      served: true,
      ...(SCHEMAS[kind] && { schema: { openAPIV3Schema: SCHEMAS[kind] } }),
      ...(traits.includes("S") && { subresources: { status: {} } }),
      additionalPrinterColumns: [...additionalPrinterColumns, AGE],
      selectableFields: fields.split(",").map((field) => ({ jsonPath: `.${field}` })),
    };
    const scope = traits.includes("C") ? "Cluster" : "Namespaced";
    const names = { kind, plural: `${kind.toLowerCase()}s`, shortNames: short ? [short] : [] };
    return { ...definedResource({ group, scope, names, versions: [version] }), traits, custom: false };
  });
}

/** The resource that the spec of a CustomResourceDefinition defines. */
export function definedResource({ group, scope, names, versions }: Spec): Definition {
  const { kind = "", plural = "" } = names;
  const defaults = { singular: kind.toLowerCase(), listKind: `${kind}List`, shortNames: [], categories: [] };
  const served = versions.filter((version) => version.served);
  const place = { group, namespaced: scope === "Namespaced", versions: served };
  return { ...defaults, ...names, kind, plural, ...place, traits: "GR", custom: true };
}

/** A resource's name, as kubectl has it: `configmaps`, `observations.zen.kube-zen.io`. */
export function pluralName({ group, plural }: Pick<Definition, "group" | "plural">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** `group/version`, or `v1` for the core group. */
export function apiVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

function properties(of: JsonObject): JsonObject {
  return { type: "object", properties: of };
}
