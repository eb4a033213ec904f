import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { badRequest, StatusError } from "./errors.ts";

const MERGE_KEYS = ["name", "mountPath", "containerPort", "type", "uid"];

/** RFC 7386, on a copy; `strategic` merges lists of named things by name and leaves directives out, as kubectl needs. */
export function mergePatch(target: Json | undefined, patch: Json, strategic = false): Json {
  if (strategic && Array.isArray(patch) && Array.isArray(target)) return mergeList(target, patch);
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__" || (strategic && key.startsWith("$"))) continue;
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value, strategic);
  }
  return merged;
}

function mergeList(target: Json[], patch: Json[]): Json[] {
  const key = MERGE_KEYS.find((each) =>
    [...target, ...patch].every((item) => isObject(item) && each in item)
  );
  if (key === undefined) return patch;
  const merged = target.filter(isObject);
  for (const item of patch.filter(isObject)) {
    const found = merged.findIndex((each) => each[key] === item[key]);
    const index = found < 0 ? merged.length : found;
    if (item.$patch === "delete") merged.splice(index, 1);
    else merged.splice(index, 1, mergePatch(merged[index], item, true) as JsonObject);
  }
  return merged;
}

/** RFC 6902, on a copy; 422 where an operation does not apply, as on the real server. */
export function jsonPatch(target: JsonObject, patch: Json): Json {
  if (!Array.isArray(patch)) throw badRequest("error decoding patch: expected an array of operations");
  // The document hangs in an object of one key, so that replacing all of it is no special case.
  const root: JsonObject = { "": structuredClone(target) };
  for (const operation of patch) apply(root, isObject(operation) ? operation : {});
  return root[""]!;
}

function apply(root: JsonObject, { op, path, from, value }: JsonObject): void {
  if (op === "remove") take(root, path);
  else if (op === "move") put(root, path, take(root, from));
  else if (op === "copy") put(root, path, structuredClone(read(root, pointer(from))));
  else if (op === "test" && sameJson(read(root, pointer(path)), value)) return;
  else if ((op !== "add" && op !== "replace") || value === undefined) throw rejected();
  else {
    if (op === "replace") take(root, path);
    put(root, path, value);
  }
}

function rejected(): StatusError {
  return new StatusError(
    422,
    "Invalid",
    "the server rejected our request due to an error in our request",
    {},
  );
}

function pointer(path: Json | undefined): string[] {
  const keys = String(path ?? "?").split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (keys[0] !== "" || keys.includes("__proto__")) throw rejected();
  return keys;
}

function read(root: Json, keys: readonly string[]): Json {
  return keys.reduce((value, key) => {
    const child = Array.isArray(value)
      ? value[index(key, value.length - 1)]
      : isObject(value) && Object.hasOwn(value, key)
      ? value[key]
      : undefined;
    if (child === undefined) throw rejected();
    return child;
  }, root);
}

function put(root: Json, path: Json | undefined, value: Json): void {
  const keys = pointer(path);
  const key = keys.pop()!;
  const parent = read(root, keys);
  if (Array.isArray(parent)) parent.splice(key === "-" ? parent.length : index(key, parent.length), 0, value);
  else if (isObject(parent)) parent[key] = value;
  else throw rejected();
}

function take(root: Json, path: Json | undefined): Json {
  const keys = pointer(path);
  const taken = read(root, keys);
  const key = keys.pop()!;
  const parent = read(root, keys);
  if (Array.isArray(parent)) parent.splice(Number(key), 1);
  else if (isObject(parent)) delete parent[key];
  return taken;
}

function index(key: string, last: number): number {
  if (!/^(0|[1-9]\d*)$/.test(key) || Number(key) > last) throw rejected();
  return Number(key);
}

/** True where two JSON values are equal, whatever the order of their keys. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (
    typeof a !== "object" || typeof b !== "object" || a === null || b === null ||
    Array.isArray(a) !== Array.isArray(b)
  ) return false;
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return left.size === right.size &&
    [...left].every(([key, value]) => right.has(key) && sameJson(value, right.get(key)));
}
