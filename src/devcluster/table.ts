import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import type { Column, Version } from "./resources.ts";

const NAME: Column = { name: "Name", type: "string", jsonPath: ".metadata.name" };

/** Renders objects as a `meta.k8s.io/v1 Table`, the form kubectl prints from. */
export function table(
  objects: readonly JsonObject[],
  { version, metadata, include = "Metadata", header = true }: {
    version: Version;
    metadata: Json;
    include?: string | undefined;
    header?: boolean;
  },
): JsonObject {
  const columns = [NAME, ...version.columns];
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: header ? columns.map(columnDefinition) : null,
    rows: objects.map((object) => ({
      cells: columns.map((column) => cell(object, column)),
      ...(include === "None" ? {} : { object: include === "Object" ? object : partial(object) }),
    })),
  };
}

function columnDefinition({ name, type, jsonPath, priority = 0 }: Column): JsonObject {
  const format = name === "Name" ? "name" : "";
  return { name, type, format, description: `Column (in JSONPath format): ${jsonPath}`, priority };
}

function partial({ metadata }: JsonObject): JsonObject {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: metadata ?? {} };
}

function cell(object: JsonObject, { type, jsonPath, counts }: Column): Json {
  const [value] = select(object, jsonPath);
  if (counts) return isObject(value) ? Object.keys(value).length : 0;
  if (value === undefined || value === null) return type === "date" ? "<unknown>" : null;
  if (type === "date") return age(Date.parse(String(value)));
  if (type === "string") return typeof value === "string" ? value : JSON.stringify(value);
  return value;
}

const STEP = /\.([\w-]+)|\['([^']+)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]/y;

/** The values at a JSONPath of the kind printer columns use: keys, indices, `[*]`, `[?(@.key=="value")]`. */
export function select(object: Json, path: string): Json[] {
  let found: Json[] = [object];
  STEP.lastIndex = 0;
  for (let step = STEP.exec(path); step; step = STEP.exec(path)) {
    const [, dotted, quoted, index, filterKey, filterValue] = step;
    const key = dotted ?? quoted?.replaceAll("\\.", ".");
    found = found.flatMap((value): Json[] => {
      if (key !== undefined) return isObject(value) && value[key] !== undefined ? [value[key]] : [];
      if (!Array.isArray(value)) return [];
      if (index === "*") return value;
      if (index !== undefined) return value.slice(Number(index), Number(index) + 1);
      return value.filter((item) => select(item, `.${filterKey}`)[0] === filterValue);
    });
  }
  return found;
}

function age(from: number): string {
  const seconds = Math.max(0, Math.floor((Date.now() - from) / 1000));
  const [minutes, hours, days] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit)) as [
    number,
    number,
    number,
  ];
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return seconds % 60 ? `${minutes}m${seconds % 60}s` : `${minutes}m`;
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return minutes % 60 ? `${hours}h${minutes % 60}m` : `${hours}h`;
  if (hours < 48) return `${hours}h`;
  if (days < 8) return hours % 24 ? `${days}d${hours % 24}h` : `${days}d`;
  return days < 730 ? `${days}d` : `${Math.floor(days / 365)}y`;
}
