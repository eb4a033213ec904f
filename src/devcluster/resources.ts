import type { JsonObject } from "../core/json.ts";

/** A column of `kubectl get`: a JSONPath into the object. */
export interface Column {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly priority?: number;
}

/** One served version of a resource. */
export interface Version {
  readonly name: string;
  readonly schema?: JsonObject;
  readonly hasStatus: boolean;
  readonly columns: readonly Column[];
  /** The fields a field selector may name beside name and namespace. */
  readonly selectable: readonly string[];
}

/** In what kinds differ: a generation is counted, a PUT needs no resourceVersion, a PUT creates what is missing. */
export type Trait = "generation" | "unconditional" | "createOnUpdate";

/** A resource as the API server knows it. */
export interface Resource {
  readonly group: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly namespaced: boolean;
  readonly shortNames: string[];
  readonly categories: string[];
  readonly versions: readonly Version[];
  readonly custom: boolean;
  readonly traits: readonly Trait[];
}

interface Definition {
  readonly group: string;
  readonly scope: string;
  readonly names: Partial<Resource> & { readonly plural: string; readonly kind: string };
  readonly versions: {
    readonly name: string;
    readonly served: boolean;
    readonly schema?: { readonly openAPIV3Schema: JsonObject };
    readonly subresources?: { readonly status?: JsonObject };
    readonly additionalPrinterColumns?: Column[];
    readonly selectableFields?: { readonly jsonPath: string }[];
  }[];
}

interface BuiltIn {
  readonly short?: string;
  readonly scope?: "Cluster" | "Namespaced";
  readonly status?: true;
  readonly traits?: readonly Trait[];
  /** `Name=.json.path` */
  readonly columns?: string[];
  readonly select?: string[];
  readonly schema?: JsonObject;
}

const AGE: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const TEXT: JsonObject = { type: "string" };
const TEXTS: JsonObject = { type: "object", additionalProperties: TEXT };
const TIME: JsonObject = { type: "string", format: "date-time", nullable: true };
const MICRO_TIME: JsonObject = { type: "string", format: "micro-time", nullable: true };
const INVOLVED = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
const WORKLOAD: BuiltIn = { status: true, traits: ["generation", "unconditional"] };
const REPLICAS = ["Ready=.status.readyReplicas", "Desired=.spec.replicas"];

/** The name of a resource's collection. */
export function resourceName({ group, plural }: { readonly group: string; readonly plural: string }): string {
  return `${group}/${plural}`;
}

/** `group/version`, or `v1` for the core group. */
export function apiVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The resource that the JSON of a CustomResourceDefinition defines. */
export function definedResource(
  json: string,
  { custom = true, traits = ["generation"] as readonly Trait[] } = {},
): Resource {
  const { spec: { group, scope, names, versions } }: { spec: Definition } = JSON.parse(json);
  return {
    group,
    plural: names.plural,
    singular: names.singular ?? names.kind.toLowerCase(),
    kind: names.kind,
    listKind: names.listKind ?? `${names.kind}List`,
    namespaced: scope === "Namespaced",
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    custom,
    traits,
    versions: versions.filter(({ served }) => served).map((version) => ({
      name: version.name,
      hasStatus: version.subresources?.status !== undefined,
      columns: version.additionalPrinterColumns ?? [AGE],
      selectable: (version.selectableFields ?? []).map(({ jsonPath }) => jsonPath.slice(1)),
      ...(version.schema ? { schema: version.schema.openAPIV3Schema } : {}),
    })),
  };
}

/** The resources that are there without a CustomResourceDefinition. */
export function builtIns(): Resource[] {
  return [
    builtIn("", "Namespace", {
      scope: "Cluster",
      short: "ns",
      status: true,
      columns: ["Status=.status.phase"],
      select: ["status.phase"],
    }),
    builtIn("", "ConfigMap", {
      short: "cm",
      schema: object({ data: TEXTS, binaryData: TEXTS, immutable: { type: "boolean" } }),
    }),
    builtIn("", "Secret", {
      columns: ["Type=.type"],
      select: ["type"],
      schema: object({
        type: { ...TEXT, default: "Opaque" },
        data: TEXTS,
        stringData: TEXTS,
        immutable: { type: "boolean" },
      }),
    }),
    builtIn("", "Event", {
      short: "ev",
      traits: ["unconditional", "createOnUpdate"],
      columns: [
        "Last Seen=.lastTimestamp",
        "Type=.type",
        "Reason=.reason",
        "Object=.involvedObject.name",
        "Message=.message",
      ],
      select: [...INVOLVED.map((field) => `involvedObject.${field}`), "reason", "reportingComponent", "type"],
      schema: {
        ...object({ eventTime: MICRO_TIME, firstTimestamp: TIME, lastTimestamp: TIME }),
        "x-kubernetes-preserve-unknown-fields": true,
      },
    }),
    builtIn("", "ServiceAccount", { short: "sa" }),
    builtIn("", "Service", { short: "svc", status: true }),
    builtIn("", "Node", { scope: "Cluster", short: "no", status: true }),
    builtIn("", "Pod", {
      short: "po",
      status: true,
      columns: ["Status=.status.phase"],
      select: ["spec.nodeName", "status.phase"],
    }),
    builtIn("apps", "Deployment", { ...WORKLOAD, short: "deploy", columns: REPLICAS }),
    builtIn("apps", "ReplicaSet", { ...WORKLOAD, short: "rs", columns: REPLICAS }),
    builtIn("apps", "StatefulSet", { ...WORKLOAD, short: "sts", columns: REPLICAS }),
    builtIn("apps", "DaemonSet", { ...WORKLOAD, short: "ds" }),
    builtIn("batch", "Job", WORKLOAD),
    builtIn("batch", "CronJob", { ...WORKLOAD, short: "cj" }),
    builtIn("coordination.k8s.io", "Lease", {
      traits: ["createOnUpdate"],
      columns: ["Holder=.spec.holderIdentity"],
      schema: object({
        spec: object({
          holderIdentity: TEXT,
          leaseDurationSeconds: { type: "integer" },
          leaseTransitions: { type: "integer" },
          acquireTime: MICRO_TIME,
          renewTime: MICRO_TIME,
        }),
      }),
    }),
    builtIn("apiextensions.k8s.io", "CustomResourceDefinition", {
      scope: "Cluster",
      short: "crd",
      status: true,
      traits: ["generation"],
    }),
  ];
}

function builtIn(
  group: string,
  kind: string,
  { short, scope = "Namespaced", status, columns = [], select = [], ...of }: BuiltIn,
): Resource {
  const printed = columns.map((column) => {
    const [name, jsonPath] = column.split("=");
    return { name, jsonPath, type: name === "Last Seen" ? "date" : "string" };
  });
  const version = {
    name: "v1",
    served: true,
    subresources: status ? { status: {} } : {},
    additionalPrinterColumns: [...printed, AGE],
    selectableFields: select.map((field) => ({ jsonPath: `.${field}` })),
    ...(of.schema ? { schema: { openAPIV3Schema: of.schema } } : {}),
  };
  const names = { kind, plural: `${kind.toLowerCase()}s`, shortNames: short ? [short] : [] };
  const definition = { spec: { group, scope, names, versions: [version] } };
  return definedResource(JSON.stringify(definition), {
    custom: false,
    traits: of.traits ?? ["unconditional"],
  });
}

function object(properties: JsonObject): JsonObject {
  return { type: "object", properties };
}
