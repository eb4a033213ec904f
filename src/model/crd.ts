/** Turns a zod schema into a CustomResourceDefinition: a structural schema, from the one place where fields are declared. */
import * as z from "zod";
import { isObject, type Json, type JsonObject } from "./json.ts";
import { GROUP, PLURAL, VERSION_NAME } from "./observation.ts";
import { specSchema, statusSchema } from "./observation_schema.ts";

/** A column of `kubectl get`; `wide` ones only with `-o wide`. */
export interface PrinterColumn {
  readonly name: string;
  readonly path: string;
  readonly type: "string" | "integer" | "date" | "boolean";
  readonly wide?: true;
  readonly description?: string;
}

/** The path of a field of the condition Ready, for a column. */
export function readyPath(field: "status" | "reason" | "message"): string {
  return `.status.conditions[?(@.type=="Ready")].${field}`;
}

/** What a CRD is made of. All kinds are namespaced and have a status subresource. */
export interface CrdOptions {
  readonly kind: string;
  readonly plural: string;
  readonly version: string;
  readonly description: string;
  readonly schema: { readonly spec: z.ZodType; readonly status: z.ZodType };
  /** Where the status is filled by defaults: `{}` makes a fresh object read as its schema's defaults say. */
  readonly statusDefaults?: true;
  readonly shortNames?: readonly string[];
  readonly columns: readonly PrinterColumn[];
  readonly selectableFields?: readonly string[];
  /** Fields of spec that never change: setting, changing and removing are all refused. */
  readonly immutable?: readonly string[];
}

/** Keywords a structural schema may have; any other in a zod schema is an error here, not at the API server. */
const KEYWORDS = new Set([
  ...["type", "description", "default", "enum", "format", "pattern", "nullable", "title"],
  ...["minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  ...["minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "required"],
]);

/** The CustomResourceDefinition. Throws, naming the path, where the schema has no structural form. */
export function crdFor(options: CrdOptions): JsonObject {
  const { kind, plural, version, columns, selectableFields } = options;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        categories: ["zen"],
        ...(options.shortNames && { shortNames: [...options.shortNames] }),
      },
      scope: "Namespaced",
      versions: [{
        name: version,
        served: true,
        storage: true,
        schema: { openAPIV3Schema: rootSchema(options) },
        subresources: { status: {} },
        additionalPrinterColumns: columns.map(printerColumn),
        ...(selectableFields && { selectableFields: selectableFields.map((path) => ({ jsonPath: path })) }),
      }],
    },
  };
}

/** The structural schema of one zod schema. */
export function structuralSchema(schema: z.ZodType, path: string): JsonObject {
  const json: unknown = z.toJSONSchema(schema, {
    io: "input",
    target: "openapi-3.0",
    unrepresentable: "any",
    reused: "inline",
  });
  return structural(json, path);
}

/** The Observation's own CRD. */
export function observationCrd(): JsonObject {
  return crdFor({
    kind: "Observation",
    plural: PLURAL,
    version: VERSION_NAME,
    description: "One finding or occurrence that a security, compliance or infrastructure tool reported",
    schema: { spec: specSchema, status: statusSchema },
    statusDefaults: true,
    shortNames: ["obs", "zenevents"],
    // kubectl pads every column but the last to its longest value: short ones come first, and rules, which are the longest,
    // last, so that nine rows of ten fit 160 characters.
    columns: [
      { name: "Severity", path: ".spec.severity", type: "string" },
      { name: "Phase", path: ".status.phase", type: "string" },
      { name: "Age", path: ".metadata.creationTimestamp", type: "date" },
      { name: "Resource", path: ".spec.resource.name", type: "string", description: "Name of the resource" },
      { name: "Rule", path: ".spec.rule", type: "string", description: "The source's id of what was found" },
      {
        name: "Kind",
        path: ".spec.resource.kind",
        type: "string",
        wide: true,
        description: "Kind of the resource",
      },
      { name: "Count", path: ".status.occurrences", type: "integer", wide: true },
      { name: "Source", path: ".spec.source", type: "string", wide: true },
      { name: "Type", path: ".spec.eventType", type: "string", wide: true },
      { name: "Category", path: ".spec.category", type: "string", wide: true },
      { name: "Resolved", path: ".status.resolvedAt", type: "date", wide: true },
      {
        name: "Why",
        path: ".status.resolvedReason",
        type: "string",
        wide: true,
        description: "Why it is Resolved",
      },
      { name: "Message", path: ".spec.message", type: "string", wide: true },
    ],
    selectableFields: [
      ".spec.source",
      ".spec.severity",
      ".spec.category",
      ".spec.eventType",
      ".spec.resource.kind",
      ".spec.resource.name",
      ".spec.resource.namespace",
      ".status.phase",
    ],
    immutable: ["source", "category", "severity", "eventType", "rule", "resource", "detectedAt"],
  });
}

function rootSchema({ schema, description, immutable, statusDefaults }: CrdOptions): JsonObject {
  const spec = structuralSchema(schema.spec, "spec");
  const status = structuralSchema(schema.status, "status");
  const required = Array.isArray(spec.required) ? spec.required : [];
  if (immutable) {
    spec["x-kubernetes-validations"] = immutable.map((field) =>
      immutability(field, required.includes(field))
    );
  }
  if (statusDefaults) status.default = {};
  return {
    type: "object",
    description,
    required: ["spec"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec,
      status,
    },
  };
}

function immutability(field: string, required: boolean): JsonObject {
  const same = `self.${field} == oldSelf.${field}`;
  const presence = `has(self.${field}) == has(oldSelf.${field})`;
  return {
    rule: required ? same : `${presence} && (!has(self.${field}) || ${same})`,
    message: `${field} never changes`,
    fieldPath: `.${field}`,
  };
}

function printerColumn({ name, path, type, wide, description }: PrinterColumn): JsonObject {
  return { name, jsonPath: path, type, ...(description && { description }), ...(wide && { priority: 1 }) };
}

function structural(node: unknown, path: string): JsonObject {
  if (!isObject(node)) throw unfit(path, "it is not a schema");
  const result: JsonObject = {};
  const opaque = node["x-kubernetes-preserve-unknown-fields"] === true ||
    node["x-kubernetes-int-or-string"] === true;
  for (const [keyword, value] of Object.entries(node)) {
    if (KEYWORDS.has(keyword) || keyword.startsWith("x-kubernetes-")) {
      if (!isSafeIntegerBound(keyword, value)) result[keyword] = value;
    } else if (keyword === "properties" && isObject(value)) {
      result.properties = structuralMembers(value, path);
    } else if (keyword === "items") {
      result.items = structural(value, `${path}[*]`);
    } else if (keyword === "additionalProperties") {
      addAdditional(result, value, path);
    } else if (keyword === "const") {
      result.enum = [value];
    } else if (!opaque && !["$schema", "propertyNames", "id"].includes(keyword)) {
      throw unfit(path, `"${keyword}" has no structural form`);
    }
  }
  if (result.type === undefined && !opaque) throw unfit(path, "it has no type");
  if (opaque && result.type === undefined && node["x-kubernetes-int-or-string"] !== true) {
    delete result.enum; // alternatives of several types cannot be listed
  }
  return result;
}

function structuralMembers(members: JsonObject, path: string): JsonObject {
  const result: JsonObject = {};
  for (const [name, member] of Object.entries(members)) result[name] = structural(member, `${path}.${name}`);
  return result;
}

/** Objects that are closed in zod are pruned by the API server anyhow; open ones keep what they are given. */
function addAdditional(result: JsonObject, value: Json, path: string): void {
  if (value === false) return;
  const isAny = value === true || (isObject(value) && Object.keys(value).length === 0);
  if (isAny) result["x-kubernetes-preserve-unknown-fields"] = true;
  else result.additionalProperties = structural(value, `${path}.*`);
}

/** zod bounds every integer by what a double holds exactly; that is no rule of ours. */
function isSafeIntegerBound(keyword: string, value: Json): boolean {
  return (keyword === "maximum" && value === Number.MAX_SAFE_INTEGER) ||
    (keyword === "minimum" && value === Number.MIN_SAFE_INTEGER);
}

function unfit(path: string, why: string): Error {
  return new Error(`Cannot make a structural schema of "${path}": ${why}`);
}
