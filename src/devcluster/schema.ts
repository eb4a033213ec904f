import { RE2JS } from "re2js";
import { at, isObject, type Json, type JsonObject } from "../model/json.ts";
import { type Cause, cause, refused } from "./errors.ts";

const patterns = new Map<string, RE2JS>();
const FORMATS = new Map([
  ["date-time", /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/i],
  ["micro-time", /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})$/],
]);
/** Says of an object that it keeps what its schema does not know. */
export const KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields";

/**
 * Makes a value follow its structural schema in place: unknown fields and stray nulls go, defaults come. Returns what
 * the schema refuses.
 */
export function conform(value: Json | undefined, schema: JsonObject, path = ""): Cause[] {
  if (value === undefined || (value === null && schema.nullable === true)) return [];
  const causes: Cause[] = [];
  const kind = Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value;
  const actual = value === null ? "null" : kind;
  const isIntOrString = schema["x-kubernetes-int-or-string"] === true;
  const types = isIntOrString ? ["integer", "string"] : [schema.type ?? actual];
  const add = (reason: string, message: string) => causes.push(cause(reason, path, message));
  const say = (what: string, shown: Json = value, reason = "Invalid") =>
    add(reason, refused(path, shown, `${path} in body ${what}`).message);
  if (Array.isArray(schema.enum) && !schema.enum.some((each) => each === value)) {
    const supported = schema.enum.map((each) => JSON.stringify(each)).join(", ");
    add("NotSupported", `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`);
  }
  const bound = (name: string, otherwise = Infinity) => Number(schema[name] ?? otherwise);
  if (!types.includes(actual) && !(types[0] === "number" && actual === "integer")) {
    say(`must be of type ${types.join(",")}: "${actual}"`, actual, "TypeInvalid");
  } else if (typeof value === "string") {
    const length = [...value].length;
    if (length > bound("maxLength")) {
      add("TooLong", `Too long: may not be more than ${schema.maxLength} bytes`);
    }
    if (length < bound("minLength", 0)) say(`should be at least ${schema.minLength} chars long`);
    if (typeof schema.pattern === "string") {
      const pattern = patterns.getOrInsertComputed(schema.pattern, RE2JS.compile);
      if (!pattern.matcher(value).find()) say(`should match '${schema.pattern}'`);
    }
    const form = FORMATS.get(String(schema.format));
    if (form && !(form.test(value) && Date.parse(value))) {
      say(`must be of type ${schema.format}: ${JSON.stringify(value)}`, value, "TypeInvalid");
    }
  } else if (typeof value === "number") {
    if (value < bound("minimum", value)) say(`should be greater than or equal to ${schema.minimum}`);
    if (value > bound("maximum", value)) say(`should be less than or equal to ${schema.maximum}`);
  } else if (Array.isArray(value)) {
    if (value.length > bound("maxItems")) {
      add("TooMany", `Too many: ${value.length}: must have at most ${schema.maxItems} items`);
    }
    if (value.length < bound("minItems", 0)) {
      say(`should have at least ${schema.minItems} items`, value.length);
    }
    const items = isObject(schema.items) ? schema.items : {};
    value.forEach((item, index) => causes.push(...conform(item, items, `${path}[${index}]`)));
  } else if (isObject(value)) causes.push(...conformFields(value, schema, path === "" ? "" : `${path}.`));
  return causes;
}

function conformFields(value: JsonObject, schema: JsonObject, prefix: string): Cause[] {
  const { properties, required: needed, additionalProperties: others } = schema;
  const known = isObject(properties) ? properties : {};
  for (const [key, property] of Object.entries(known)) {
    if (value[key] === null && at(property, "nullable") !== true) delete value[key];
    const preset = at(property, "default");
    if (preset !== undefined && !Object.hasOwn(value, key)) value[key] = structuredClone(preset);
  }
  const missing = Array.isArray(needed) ? needed.map(String).filter((key) => !Object.hasOwn(value, key)) : [];
  const causes = missing.map((key) => cause("Required", prefix + key, "Required value"));
  for (const [key, child] of Object.entries(value)) {
    const own = Object.hasOwn(known, key) ? known[key] : others;
    if (isObject(own) && (child !== null || own.nullable === true)) {
      causes.push(...conform(child, own, prefix + key));
    } else if (isObject(own) || (schema[KEEPS_UNKNOWN] !== true && others !== true)) delete value[key];
  }
  return causes;
}
