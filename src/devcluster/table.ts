import { at, type Json, type JsonObject } from "../model/json.ts";
import { meta } from "./objects.ts";
import { AGE, type Column, type Version } from "./resources.ts";

const STEP = /\.([\w-]+)|\['([^']+)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]/gy;

/** How a table is made: `whole` objects or their metadata in the rows; `headless` without the columns. */
type Form = { version: Version; whole: boolean; metadata?: Json | undefined; headless?: boolean };

/** Renders objects as a `meta.k8s.io/v1 Table`, the form kubectl prints from. */
export function table(objects: readonly JsonObject[], { version, whole, metadata, headless }: Form): string {
  const columns: Column[] = [{ name: "Name", type: "string", jsonPath: ".metadata.name" }];
  columns.push(...version.additionalPrinterColumns ?? [AGE]);
  const columnDefinitions = columns.map(({ name, type, jsonPath, priority = 0 }) => {
    return { name, type, format: name === "Name" ? "name" : "", description: `At ${jsonPath}`, priority };
  });
  const rows = objects.map((object) => {
    const partial = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: meta(object) };
    return { cells: columns.map((column) => cell(object, column)), object: whole ? object : partial };
  });
  const { resourceVersion = "" } = objects[0] ? meta(objects[0]) : {};
  const head = { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: metadata ?? { resourceVersion } };
  return JSON.stringify({ ...head, columnDefinitions: headless ? null : columnDefinitions, rows });
}

function cell(object: JsonObject, { type, jsonPath }: Column): Json {
  const value = first(object, jsonPath) ?? null;
  if (type === "date") return value === null ? "<unknown>" : age(Date.parse(String(value)));
  return type === "string" && value !== null && typeof value !== "string" ? JSON.stringify(value) : value;
}

/** The first value at a JSONPath of the kind printer columns use: keys, indices, `[*]`, `[?(@.key=="value")]`. */
function first(value: Json | undefined, path: string): Json | undefined {
  for (const [, dotted, quoted, index, field = "", wanted] of path.matchAll(STEP)) {
    const key = dotted ?? quoted?.replaceAll("\\.", ".");
    if (key !== undefined) value = at(value, key);
    else if (!Array.isArray(value)) return undefined;
    else if (index !== undefined) value = value[index === "*" ? 0 : Number(index)];
    else value = value.find((item) => at(item, ...field.split(".")) === wanted);
  }
  return value;
}

function age(from: number): string {
  const seconds = Math.max(0, Math.floor((Date.now() - from) / 1000));
  const [minutes = 0, hours = 0, days = 0] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 180) return minutes < 10 && seconds % 60 > 0 ? `${minutes}m${seconds % 60}s` : `${minutes}m`;
  if (hours < 48) return hours < 8 && minutes % 60 > 0 ? `${hours}h${minutes % 60}m` : `${hours}h`;
  return `${days}d`;
}
