import { RE2JS } from "re2js";
import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import type { Cause } from "./errors.ts";

const patterns = new Map<string, RE2JS>();
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
const MICRO_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})$/;

/** Makes an object follow its structural schema in place: unknown fields and stray nulls go, defaults come. */
export function normalize(value: Json | undefined, schema: JsonObject): void {
  if (Array.isArray(value)) {
    if (isObject(schema.items)) { for (const item of value) normalize(item, schema.items); }
  } else if (isObject(value)) {
    const properties = isObject(schema.properties) ? schema.properties : {};
    const others = schema.additionalProperties;
    const keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"] === true || others === true;
    for (const [key, child] of Object.entries(value)) {
      const own = Object.hasOwn(properties, key) ? properties[key] : others;
      if (isObject(own) ? child === null && own.nullable !== true : !keepsUnknown) delete value[key];
    }
    for (const [key, property] of Object.entries(properties)) {
      if (!isObject(property) || property.default === undefined || Object.hasOwn(value, key)) continue;
      value[key] = structuredClone(property.default);
    }
    for (const [key, child] of Object.entries(value)) {
      const own = Object.hasOwn(properties, key) ? properties[key] : others;
      if (isObject(own)) normalize(child, own);
    }
  }
}

/** Normalises a whole object, whose apiVersion, kind and metadata are not the schema's business. */
export function normalizeObject(object: JsonObject, schema: JsonObject): void {
  const properties = isObject(schema.properties) ? { ...schema.properties } : {};
  const kept = { "x-kubernetes-preserve-unknown-fields": true };
  for (const key of ["apiVersion", "kind", "metadata"]) properties[key] = kept;
  normalize(object, { ...schema, properties });
}

/** Everything in `value` that its schema refuses. */
export function violations(value: Json | undefined, schema: JsonObject, path = ""): Cause[] {
  if (value === undefined || (value === null && schema.nullable === true)) return [];
  const wrongType = typeViolation(value, schema, path);
  const causes = wrongType ? [wrongType] : [];
  if (
    Array.isArray(schema.enum) && !schema.enum.some((each) => JSON.stringify(each) === JSON.stringify(value))
  ) {
    const supported = schema.enum.map((each) => JSON.stringify(each)).join(", ");
    causes.push({
      reason: "FieldValueNotSupported",
      message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`,
      field: path,
    });
  }
  if (wrongType) return causes;
  if (typeof value === "string") causes.push(...stringViolations(value, schema, path));
  if (typeof value === "number") causes.push(...numberViolations(value, schema, path));
  if (Array.isArray(value)) causes.push(...arrayViolations(value, schema, path));
  else if (isObject(value)) causes.push(...objectViolations(value, schema, path));
  return [...causes, ...combinationViolations(value, schema, path)];
}

function typeViolation(value: Json, schema: JsonObject, path: string): Cause | undefined {
  const types = schema["x-kubernetes-int-or-string"] === true ? ["integer", "string"] : [schema.type];
  const actual = typeOf(value);
  if (types[0] === undefined || types.includes(actual)) return undefined;
  if (types[0] === "number" && actual === "integer") return undefined;
  return wrong(path, `must be of type ${types.join(",")}: "${actual}"`, {
    value: JSON.stringify(actual),
    reason: "FieldValueTypeInvalid",
  });
}

function typeOf(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "number" ? Number.isInteger(value) ? "integer" : "number" : typeof value;
}

function stringViolations(value: string, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const length = value.length > (schema.maxLength as number) || schema.minLength ? [...value].length : 0;
  if (length > (schema.maxLength as number)) causes.push(tooLong(path, schema.maxLength as number));
  if (schema.minLength && length < (schema.minLength as number)) {
    const bound = `should be at least ${schema.minLength} chars long`;
    causes.push(wrong(path, bound, { value: JSON.stringify(value) }));
  }
  if (typeof schema.pattern === "string" && !pattern(schema.pattern).matcher(value).find()) {
    causes.push(wrong(path, `should match '${schema.pattern}'`, { value: JSON.stringify(value) }));
  }
  if (typeof schema.format === "string" && !hasFormat(value, schema.format)) {
    const message = `must be of type ${schema.format}: ${JSON.stringify(value)}`;
    causes.push(wrong(path, message, { value: JSON.stringify(value), reason: "FieldValueTypeInvalid" }));
  }
  return causes;
}

function pattern(source: string): RE2JS {
  let compiled = patterns.get(source);
  if (!compiled) patterns.set(source, compiled = RE2JS.compile(source));
  return compiled;
}

function hasFormat(value: string, format: string): boolean {
  if (format === "date-time") {
    const match = DATE_TIME.exec(value);
    return match !== null && !Number.isNaN(Date.parse(value.toUpperCase()));
  }
  return format === "micro-time" ? MICRO_TIME.test(value) : true;
}

function numberViolations(value: number, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
  const at = { value: String(value) };
  if (minimum !== undefined) {
    const exclusive = schema.exclusiveMinimum === true;
    if (exclusive ? value <= minimum : value < minimum) {
      causes.push(wrong(path, `should be greater than ${exclusive ? "" : "or equal to "}${minimum}`, at));
    }
  }
  if (maximum !== undefined) {
    const exclusive = schema.exclusiveMaximum === true;
    if (exclusive ? value >= maximum : value > maximum) {
      causes.push(wrong(path, `should be less than ${exclusive ? "" : "or equal to "}${maximum}`, at));
    }
  }
  return causes;
}

function arrayViolations(value: Json[], schema: JsonObject, path: string): Cause[] {
  const causes = countViolations(
    value.length,
    { min: schema.minItems, max: schema.maxItems, of: "items" },
    path,
  );
  const items = schema.items;
  if (isObject(items)) {
    value.forEach((item, index) => causes.push(...violations(item, items, `${path}[${index}]`)));
  }
  return causes;
}

function objectViolations(value: JsonObject, schema: JsonObject, path: string): Cause[] {
  const bounds = { min: schema.minProperties, max: schema.maxProperties, of: "properties" };
  const causes = countViolations(Object.keys(value).length, bounds, path);
  const properties = isObject(schema.properties) ? schema.properties : {};
  for (const key of Array.isArray(schema.required) ? schema.required as string[] : []) {
    if (Object.hasOwn(value, key)) continue;
    causes.push({ reason: "FieldValueRequired", message: "Required value", field: join(path, key) });
  }
  for (const [key, child] of Object.entries(value)) {
    const own = Object.hasOwn(properties, key) ? properties[key] : schema.additionalProperties;
    if (isObject(own)) causes.push(...violations(child, own, join(path, key)));
  }
  return causes;
}

function countViolations(
  count: number,
  { min, max, of }: { min: Json | undefined; max: Json | undefined; of: string },
  path: string,
): Cause[] {
  if (typeof max === "number" && count > max) {
    const message = `Too many: ${count}: must have at most ${max} items`;
    return [{ reason: "FieldValueTooMany", message, field: path }];
  }
  if (typeof min !== "number" || count >= min) return [];
  return [wrong(path, `should have at least ${min} ${of}`, { value: String(count) })];
}

function combinationViolations(value: Json, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  for (const each of schemas(schema.allOf)) causes.push(...violations(value, each, path));
  const passing = (list: JsonObject[]) => list.filter((each) => violations(value, each, path).length === 0);
  const any = schemas(schema.anyOf);
  const one = schemas(schema.oneOf);
  const at = { value: JSON.stringify(value) };
  if (any.length > 0 && passing(any).length === 0) {
    causes.push(wrong(path, "must validate at least one schema (anyOf)", at));
  }
  if (one.length > 0 && passing(one).length !== 1) {
    causes.push(wrong(path, "must validate one and only one schema (oneOf)", at));
  }
  if (isObject(schema.not) && violations(value, schema.not, path).length === 0) {
    causes.push(wrong(path, "must not validate the schema (not)", at));
  }
  return causes;
}

function schemas(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

/** The cause of a text that is too long. */
export function tooLong(path: string, max: number): Cause {
  return { reason: "FieldValueTooLong", message: `Too long: may not be more than ${max} bytes`, field: path };
}

function wrong(path: string, what: string, { value, reason = "FieldValueInvalid" }: {
  value: string;
  reason?: string;
}): Cause {
  const place = path === "" ? "" : `${path} `;
  return { reason, message: `Invalid value: ${value}: ${place}in body ${what}`, field: path };
}
