import type { Json, JsonObject } from "../core/json.ts";
import { badRequest } from "./errors.ts";
import { at } from "./json.ts";

/** True for the objects a request is about. */
export type Matches = (object: JsonObject) => boolean;

const LABEL_REQUIREMENT =
  /^\s*(?:(!?)\s*([\w./-]+)|([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)|([\w./-]+)\s+(in|notin)\s*\(([^)]*)\))\s*$/;

/** Parses `a=b,c!=d,e in (f,g),h,!i`. */
export function labelSelector(text: string): Matches {
  const requirements = text.split(/,(?![^(]*\))/).map(labelRequirement);
  return (object) => requirements.every((holds) => holds(at(object, "metadata", "labels")));
}

function labelRequirement(text: string): (labels: Json | undefined) => boolean {
  const match = LABEL_REQUIREMENT.exec(text);
  if (!match) {
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is no label requirement`);
  }
  const [, not, existing, key, operator, value, setKey, setOperator, set] = match;
  if (existing !== undefined) return (labels) => (at(labels, existing) !== undefined) !== (not === "!");
  if (key !== undefined) return (labels) => (at(labels, key) === value) !== (operator === "!=");
  const values = set!.split(",").map((each): Json | undefined => each.trim());
  return (labels) => values.includes(at(labels, setKey!)) !== (setOperator === "notin");
}

/** Parses `a=b,c!=d` over fields of which `check` throws for those that are not selectable. */
export function fieldSelector(text: string, check: (field: string) => void): Matches {
  const requirements = (text.match(/(?:\\.|[^\\,])+/g) ?? []).map((term): Matches => {
    const match = /^([^=!]+)(==|=|!=)((?:\\.|[^\\=])*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const field = match[1]!.trim();
    check(field);
    const wanted = match[3]!.replace(/\\(.)/g, "$1");
    return (object) => (String(at(object, ...field.split(".")) ?? "") === wanted) !== (match[2] === "!=");
  });
  return (object) => requirements.every((holds) => holds(object));
}
