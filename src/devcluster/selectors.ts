import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { badRequest } from "./errors.ts";

/** True for the objects a request is about. */
export type Matches = (object: JsonObject) => boolean;

const LABEL_REQUIREMENT =
  /^\s*(?:(!?)\s*([\w./-]+)|([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)|([\w./-]+)\s+(in|notin)\s*\(([^)]*)\))\s*$/;

/** Parses `a=b,c!=d,e in (f,g),h,!i`; undefined where it selects everything. */
export function labelSelector(text: string | null): Matches | undefined {
  if (!text?.trim()) return undefined;
  const requirements = text.split(/,(?![^(]*\))/).map(labelRequirement);
  return (object) => {
    const labels = isObject(object.metadata) ? object.metadata.labels : undefined;
    const of = isObject(labels) ? labels : {};
    return requirements.every((requirement) => requirement(of));
  };
}

function labelRequirement(text: string): Matches {
  const match = LABEL_REQUIREMENT.exec(text);
  if (!match) {
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is no label requirement`);
  }
  const [, not, existing, key, operator, value, setKey, setOperator, set] = match;
  if (existing !== undefined) return (labels) => Object.hasOwn(labels, existing) !== (not === "!");
  if (key !== undefined) return (labels) => (own(labels, key) === value) !== (operator === "!=");
  const values = set!.split(",").map((each) => each.trim());
  return (labels) => {
    const label = own(labels, setKey!);
    return (typeof label === "string" && values.includes(label)) !== (setOperator === "notin");
  };
}

/** Parses `a=b,c!=d` over the fields a resource knows; `unknown` makes the error for another one. */
export function fieldSelector(
  text: string | null,
  { known, unknown }: { known: readonly string[]; unknown: (field: string) => Error },
): Matches | undefined {
  if (!text?.trim()) return undefined;
  const terms = text.match(/(?:\\.|[^\\,])+/g) ?? [];
  const requirements = terms.map((term) => {
    const match = /^((?:\\.|[^\\=!])+)(==|=|!=)((?:\\.|[^\\=])*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const field = match[1]!.trim();
    if (!known.includes(field)) throw unknown(field);
    const wanted = match[3]!.replace(/\\(.)/g, "$1");
    const path = field.split(".");
    return (object: JsonObject) => (scalar(at(object, path)) === wanted) !== (match[2] === "!=");
  });
  return (object) => requirements.every((requirement) => requirement(object));
}

/** The value at a path of keys, if there is one. */
export function at(value: Json | undefined, path: readonly string[]): Json | undefined {
  let found = value;
  for (const key of path) found = isObject(found) ? own(found, key) : undefined;
  return found;
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function scalar(value: Json | undefined): string {
  return value === undefined || value === null || typeof value === "object" ? "" : String(value);
}
