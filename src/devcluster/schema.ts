import { RE2JS } from "re2js";
import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { type Cause, refused } from "./errors.ts";

const patterns = new Map<string, RE2JS>();
const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/i;
const MICRO_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})$/;
const KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields";

/** Makes a value follow its structural schema in place: unknown fields and stray nulls go, defaults come. */
export function normalize(value: Json | undefined, schema: JsonObject): void {
  const { items, additionalProperties: others } = schema;
  if (Array.isArray(value) && isObject(items)) { for (const item of value) normalize(item, items); }
  if (!isObject(value)) return;
  const properties = isObject(schema.properties) ? schema.properties : {};
  for (const [key, property] of Object.entries(properties)) {
    if (!isObject(property)) continue;
    if (value[key] === null && property.nullable !== true) delete value[key];
    if (property.default === undefined || Object.hasOwn(value, key)) continue;
    value[key] = structuredClone(property.default);
  }
  for (const [key, child] of Object.entries(value)) {
    const own = Object.hasOwn(properties, key) ? properties[key] : others;
    if (isObject(own) && (child !== null || own.nullable === true)) normalize(child, own);
    else if (isObject(own) || (schema[KEEPS_UNKNOWN] !== true && others !== true)) delete value[key];
  }
}

/** Normalises a whole object, whose metadata is not the schema's business. */
export function normalizeObject(object: JsonObject, schema: JsonObject): void {
  const kept = { [KEEPS_UNKNOWN]: true };
  const properties = isObject(schema.properties) ? schema.properties : {};
  normalize(object, { ...schema, properties: { ...properties, metadata: kept } });
}

/** Everything in `value` that its schema refuses. */
export function violations(value: Json | undefined, schema: JsonObject, path = ""): Cause[] {
  if (value === undefined || (value === null && schema.nullable === true)) return [];
  const causes: Cause[] = [];
  const kind = Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value;
  const actual = value === null ? "null" : kind;
  const isIntOrString = schema["x-kubernetes-int-or-string"] === true;
  const types = isIntOrString ? ["integer", "string"] : [schema.type ?? actual];
  const typed = types.includes(actual) || (types[0] === "number" && actual === "integer");
  const say = (what: string, shown: Json = value, reason = "FieldValueInvalid") =>
    causes.push({ ...refused(path, shown, `${path} in body ${what}`), reason });
  if (!typed) say(`must be of type ${types.join(",")}: "${actual}"`, actual, "FieldValueTypeInvalid");
  if (Array.isArray(schema.enum) && !schema.enum.some((each) => each === value)) {
    const supported = schema.enum.map((each) => JSON.stringify(each)).join(", ");
    const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`;
    causes.push({ reason: "FieldValueNotSupported", message, field: path });
  }
  if (!typed) return causes;
  const bound = (name: string) => typeof schema[name] === "number" ? schema[name] : undefined;
  if (typeof value === "string") {
    const { pattern, format } = schema;
    const length = [...value].length;
    if (length > (bound("maxLength") ?? Infinity)) causes.push(tooLong(path, bound("maxLength")!));
    if (length < (bound("minLength") ?? 0)) say(`should be at least ${schema.minLength} chars long`);
    const isMatch = typeof pattern !== "string" || compiled(pattern).matcher(value).find();
    if (!isMatch) say(`should match '${pattern}'`);
    const form = format === "date-time" ? DATE_TIME : format === "micro-time" ? MICRO_TIME : undefined;
    if (form && !(form.test(value) && Date.parse(value))) {
      say(`must be of type ${format}: ${JSON.stringify(value)}`, value, "FieldValueTypeInvalid");
    }
  } else if (typeof value === "number") {
    if (value < (bound("minimum") ?? value)) say(`should be greater than or equal to ${schema.minimum}`);
    if (value > (bound("maximum") ?? value)) say(`should be less than or equal to ${schema.maximum}`);
  } else if (Array.isArray(value)) {
    const max = bound("maxItems");
    if (value.length > (max ?? Infinity)) {
      const message = `Too many: ${value.length}: must have at most ${max} items`;
      causes.push({ reason: "FieldValueTooMany", message, field: path });
    }
    const min = bound("minItems") ?? 0;
    if (value.length < min) say(`should have at least ${min} items`, value.length);
    const items = isObject(schema.items) ? schema.items : {};
    value.forEach((item, index) => causes.push(...violations(item, items, `${path}[${index}]`)));
  } else if (isObject(value)) {
    const join = (key: string) => path === "" ? key : `${path}.${key}`;
    const properties = isObject(schema.properties) ? schema.properties : {};
    for (const key of Array.isArray(schema.required) ? schema.required.map(String) : []) {
      if (Object.hasOwn(value, key)) continue;
      causes.push({ reason: "FieldValueRequired", message: "Required value", field: join(key) });
    }
    for (const [key, child] of Object.entries(value)) {
      const own = Object.hasOwn(properties, key) ? properties[key] : schema.additionalProperties;
      if (isObject(own)) causes.push(...violations(child, own, join(key)));
    }
  }
  return causes;
}

function compiled(pattern: string): RE2JS {
  const known = patterns.get(pattern) ?? RE2JS.compile(pattern);
  patterns.set(pattern, known);
  return known;
}

/** The cause of a text that is too long. */
export function tooLong(path: string, max: number): Cause {
  return { reason: "FieldValueTooLong", message: `Too long: may not be more than ${max} bytes`, field: path };
}
