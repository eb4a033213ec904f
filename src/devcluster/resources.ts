import type { JsonObject } from "../core/json.ts";

/** A column of `kubectl get`: a path into the object, or, for a built-in, the number of keys at a path. */
export interface Column {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly priority?: number;
  readonly counts?: boolean;
}

/** One served version of a resource. */
export interface Version {
  readonly name: string;
  readonly schema?: JsonObject;
  readonly hasStatus: boolean;
  readonly columns: readonly Column[];
  readonly selectable: readonly string[];
}

/** A resource as the API server knows it. */
export interface Resource {
  readonly group: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly versions: readonly Version[];
  readonly custom: boolean;
  /** Objects count the changes of their spec in `metadata.generation`. */
  readonly hasGeneration: boolean;
  /** A PUT needs no resourceVersion. */
  readonly unconditionalUpdate: boolean;
  /** A PUT of what is not there creates it. */
  readonly createOnUpdate: boolean;
}

type Options = Partial<Resource> & {
  status?: boolean;
  schema?: JsonObject;
  columns?: Column[];
  select?: string[];
};

const AGE: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const STRING: JsonObject = { type: "string" };
const TEXTS: JsonObject = { type: "object", additionalProperties: STRING };
const ANY: JsonObject = { "x-kubernetes-preserve-unknown-fields": true };
const TIME: JsonObject = { type: "string", format: "date-time", nullable: true };
const MICRO: JsonObject = { type: "string", format: "micro-time", nullable: true };

/** `name` of a collection in the store. */
export function resourceName(of: { readonly group: string; readonly plural: string }): string {
  return `${of.group}/${of.plural}`;
}

/** `group/version`, or `v1` for the core group. */
export function apiVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The resources that are there without a CustomResourceDefinition. */
export function builtIns(): Resource[] {
  const workload = { status: true, hasGeneration: true, categories: ["all"] };
  const replicas = [count("Ready", ".status.readyReplicas"), count("Desired", ".spec.replicas")];
  return [
    builtIn("", "Namespace", {
      namespaced: false,
      shortNames: ["ns"],
      status: true,
      columns: [text("Status", ".status.phase")],
      select: ["status.phase"],
    }),
    builtIn("", "ConfigMap", {
      shortNames: ["cm"],
      columns: [{ ...count("Data", ".data"), counts: true }],
      schema: properties({ data: TEXTS, binaryData: TEXTS, immutable: { type: "boolean" } }),
    }),
    builtIn("", "Secret", {
      columns: [text("Type", ".type"), { ...count("Data", ".data"), counts: true }],
      select: ["type"],
      schema: properties({
        type: { ...STRING, default: "Opaque" },
        data: TEXTS,
        stringData: TEXTS,
        immutable: { type: "boolean" },
      }),
    }),
    builtIn("", "Event", {
      shortNames: ["ev"],
      createOnUpdate: true,
      columns: [
        { name: "Last Seen", type: "date", jsonPath: ".lastTimestamp" },
        text("Type", ".type"),
        text("Reason", ".reason"),
        text("Object", ".involvedObject.name"),
        text("Message", ".message"),
      ],
      select: [
        ...["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map((field) =>
          `involvedObject.${field}`
        ),
        ...["reason", "reportingComponent", "source", "type"],
      ],
      schema: { ...properties({ eventTime: MICRO, firstTimestamp: TIME, lastTimestamp: TIME }), ...ANY },
    }),
    builtIn("", "ServiceAccount", { shortNames: ["sa"] }),
    builtIn("", "Service", { shortNames: ["svc"], status: true, categories: ["all"] }),
    builtIn("", "Node", {
      namespaced: false,
      shortNames: ["no"],
      status: true,
      select: ["spec.unschedulable"],
    }),
    builtIn("", "Pod", {
      ...workload,
      hasGeneration: false,
      shortNames: ["po"],
      columns: [text("Status", ".status.phase"), { ...text("Node", ".spec.nodeName"), priority: 1 }],
      select: [
        "spec.nodeName",
        "status.phase",
        "status.podIP",
        "spec.restartPolicy",
        "spec.serviceAccountName",
      ],
    }),
    builtIn("apps", "Deployment", { ...workload, shortNames: ["deploy"], columns: replicas }),
    builtIn("apps", "ReplicaSet", { ...workload, shortNames: ["rs"], columns: replicas }),
    builtIn("apps", "StatefulSet", { ...workload, shortNames: ["sts"], columns: replicas }),
    builtIn("apps", "DaemonSet", { ...workload, shortNames: ["ds"] }),
    builtIn("batch", "Job", workload),
    builtIn("batch", "CronJob", { ...workload, shortNames: ["cj"] }),
    builtIn("coordination.k8s.io", "Lease", {
      unconditionalUpdate: false,
      createOnUpdate: true,
      columns: [text("Holder", ".spec.holderIdentity")],
      schema: properties({
        spec: properties({
          holderIdentity: STRING,
          leaseDurationSeconds: { type: "integer" },
          leaseTransitions: { type: "integer" },
          acquireTime: MICRO,
          renewTime: MICRO,
          preferredHolder: STRING,
          strategy: STRING,
        }),
      }),
    }),
    builtIn("apiextensions.k8s.io", "CustomResourceDefinition", {
      namespaced: false,
      shortNames: ["crd", "crds"],
      categories: ["api-extensions"],
      status: true,
      hasGeneration: true,
      unconditionalUpdate: false,
      columns: [{ name: "Created At", type: "string", jsonPath: ".metadata.creationTimestamp" }],
    }),
  ];
}

/** The custom resource a stored CustomResourceDefinition defines. */
export function definedResource(crd: JsonObject): Resource {
  const { spec } = crd as unknown as CustomResourceDefinition;
  const { names } = spec;
  return {
    group: spec.group,
    plural: names.plural,
    singular: names.singular ?? names.kind.toLowerCase(),
    kind: names.kind,
    listKind: names.listKind ?? `${names.kind}List`,
    namespaced: spec.scope === "Namespaced",
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    custom: true,
    hasGeneration: true,
    unconditionalUpdate: false,
    createOnUpdate: false,
    versions: spec.versions.filter((version) => version.served).map((version) => ({
      name: version.name,
      schema: version.schema.openAPIV3Schema,
      hasStatus: version.subresources?.status !== undefined,
      columns: version.additionalPrinterColumns ?? [AGE],
      selectable: (version.selectableFields ?? []).map((field) => field.jsonPath.slice(1)),
    })),
  };
}

interface CustomResourceDefinition {
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: {
      readonly plural: string;
      readonly kind: string;
      readonly singular?: string;
      readonly listKind?: string;
      readonly shortNames?: string[];
      readonly categories?: string[];
    };
    readonly versions: {
      readonly name: string;
      readonly served: boolean;
      readonly schema: { readonly openAPIV3Schema: JsonObject };
      readonly subresources?: { readonly status?: JsonObject };
      readonly additionalPrinterColumns?: Column[];
      readonly selectableFields?: { readonly jsonPath: string }[];
    }[];
  };
}

function builtIn(group: string, kind: string, options: Options): Resource {
  const singular = kind.toLowerCase();
  const { status = false, schema, columns = [], select = [], ...rest } = options;
  const version: Version = {
    name: "v1",
    hasStatus: status,
    columns: [...columns, AGE],
    selectable: select,
    ...(schema ? { schema } : {}),
  };
  return {
    group,
    plural: `${singular}s`,
    singular,
    kind,
    listKind: `${kind}List`,
    namespaced: true,
    shortNames: [],
    categories: [],
    custom: false,
    hasGeneration: false,
    unconditionalUpdate: true,
    createOnUpdate: false,
    ...rest,
    versions: [version],
  };
}

function properties(of: JsonObject): JsonObject {
  return { type: "object", properties: of };
}

function text(name: string, jsonPath: string): Column {
  return { name, type: "string", jsonPath };
}

function count(name: string, jsonPath: string): Column {
  return { name, type: "integer", jsonPath };
}
