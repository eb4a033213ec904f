import { at, type Json, type JsonObject } from "../model/json.ts";
import { badRequest } from "./errors.ts";
import type { Target } from "./objects.ts";

/** True for the objects a request is about. */
export type Matches = (object: JsonObject) => boolean;

const LABEL_REQUIREMENT =
  /^\s*(!?)\s*([\w./-]+)(?:\s*(==|=|!=)\s*([\w.-]*)|\s+(in|notin)\s*\(([^)]*)\))?\s*$/;
const FIELD_REQUIREMENT = /^\s*([^=!\s]+)\s*(==|=|!=)((?:\\.|[^\\=])*)$/;

/** What a request selects by its label and field selectors; undefined for everything. */
export function selection(asked: { target: Target; query: URLSearchParams }): Matches | undefined {
  const labels = asked.query.get("labelSelector");
  const fields = asked.query.get("fieldSelector")?.match(/(?:\\.|[^\\,])+/g) ?? [];
  const requirements = fields.map((text) => fieldRequirement(text, asked.target));
  if (labels) requirements.push(...labels.split(/,(?![^(]*\))/).map(labelRequirement));
  if (requirements.length > 0) return (object) => requirements.every((holds) => holds(object));
}

/** `a=b`, `c!=d`, `e in (f,g)`, `h` or `!i`. */
function labelRequirement(text: string): Matches {
  const [, not, name, comparison, value, membership, set] = LABEL_REQUIREMENT.exec(text) ?? [];
  const operator = comparison ?? membership;
  if (!name || (not && operator)) {
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is no label requirement`);
  }
  const wanted = (set?.split(",") ?? [value]).map((each): Json | undefined => each?.trim());
  const isNegative = not === "!" || operator === "!=" || operator === "notin";
  return (object) => {
    const label = at(object, "metadata", "labels", name);
    return (operator ? wanted.includes(label) : label !== undefined) !== isNegative;
  };
}

/** `a=b` or `c!=d`, over fields that are selectable. */
function fieldRequirement(text: string, { resource, version }: Target): Matches {
  const [, field = "", operator, value = ""] = FIELD_REQUIREMENT.exec(text) ?? [];
  if (!operator) throw badRequest(`invalid selector: can't understand '${text}'`);
  const known = (version.selectableFields ?? []).map(({ jsonPath }) => jsonPath.slice(1));
  if (!["metadata.name", "metadata.namespace", ...known].includes(field)) {
    const builtIn =
      `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace", ${known}`;
    throw badRequest(resource.custom ? `field label not supported: ${field}` : builtIn);
  }
  const wanted = value.replace(/\\(.)/g, "$1");
  return (object) => (String(at(object, ...field.split(".")) ?? "") === wanted) !== (operator === "!=");
}
