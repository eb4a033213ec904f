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
  return (object) =>
    requirements.every((requirement) => requirement(at(object, ["metadata", "labels"]) ?? null));
}

function labelRequirement(text: string): (labels: Json) => boolean {
  const match = LABEL_REQUIREMENT.exec(text);
  if (!match) {
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is no label requirement`);
  }
  const [, not, existing, key, operator, value, setKey, setOperator, set] = match;
  if (existing !== undefined) return (labels) => (at(labels, [existing]) !== undefined) !== (not === "!");
  if (key !== undefined) return (labels) => (at(labels, [key]) === value) !== (operator === "!=");
  const values = set!.split(",").map((each): Json | undefined => each.trim());
  return (labels) => values.includes(at(labels, [setKey!])) !== (setOperator === "notin");
}

/** Parses `a=b,c!=d` over the fields a resource knows; `unknown` makes the message for another one. */
export function fieldSelector(
  text: string | null,
  { known, unknown }: { known: readonly string[]; unknown: (field: string) => string },
): Matches | undefined {
  if (!text?.trim()) return undefined;
  const requirements = (text.match(/(?:\\.|[^\\,])+/g) ?? []).map((term): Matches => {
    const match = /^([^=!]+)(==|=|!=)((?:\\.|[^\\=])*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const field = match[1]!.trim();
    if (!known.includes(field)) throw badRequest(unknown(field));
    const wanted = match[3]!.replace(/\\(.)/g, "$1");
    return (object) => (String(at(object, field.split(".")) ?? "") === wanted) !== (match[2] === "!=");
  });
  return (object) => requirements.every((requirement) => requirement(object));
}

/** The value at a path of keys, if there is one. */
export function at(value: Json | undefined, path: readonly string[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (found, key) => isObject(found) && Object.hasOwn(found, key) ? found[key] : undefined,
    value,
  );
}
