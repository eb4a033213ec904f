import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { meta } from "./objects.ts";
import { AGE, type Column, type Version } from "./resources.ts";

const STEP = /\.([\w-]+)|\['([^']+)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]/y;

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
  const [value = null] = select(object, jsonPath);
  if (type === "date") return value === null ? "<unknown>" : age(Date.parse(String(value)));
  return type === "string" && value !== null && typeof value !== "string" ? JSON.stringify(value) : value;
}

/** The values at a JSONPath of the kind printer columns use: keys, indices, `[*]`, `[?(@.key=="value")]`. */
function select(object: Json, path: string): Json[] {
  let found: Json[] = [object];
  for (const [, dotted, quoted, index, filterKey, filterValue] of path.matchAll(new RegExp(STEP, "gy"))) {
    const key = dotted ?? quoted?.replaceAll("\\.", ".");
    found = found.flatMap((value): Json[] => {
      if (key !== undefined) return isObject(value) && value[key] !== undefined ? [value[key]] : [];
      if (!Array.isArray(value)) return [];
      if (index === undefined) {
        return value.filter((item) => select(item, `.${filterKey}`)[0] === filterValue);
      }
      return index === "*" ? value : value.slice(Number(index), Number(index) + 1);
    });
  }
  return found;
}

function age(from: number): string {
  const seconds = Math.max(0, Math.floor((Date.now() - from) / 1000));
  const [minutes = 0, hours = 0, days = 0] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10 && seconds % 60 > 0) return `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8 && minutes % 60 > 0) return `${hours}h${minutes % 60}m`;
  return hours < 48 ? `${hours}h` : `${days}d`;
}
