import { isDeepStrictEqual } from "node:util";
import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { badRequest, StatusError } from "./errors.ts";

/** Parses JSON, or answers 400 with `problem` before the reason. */
export function parse(text: string, problem: string): Json {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(problem + (error as Error).message);
  }
}

/** The value at a path of keys, if there is one. */
export function at(value: Json | undefined, ...path: string[]): Json | undefined {
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

/** RFC 7386, on a copy. `strategic`: lists of named things merge by name and directives go, as kubectl needs. */
export function mergePatch(target: Json | undefined, patch: Json, strategic = false): Json {
  if (strategic && Array.isArray(patch) && Array.isArray(target)) return mergeByName(target, patch);
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__" || (strategic && key.startsWith("$"))) continue;
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value, strategic);
  }
  return merged;
}

function mergeByName(target: Json[], patch: Json[]): Json[] {
  if (![...target, ...patch].every((item) => at(item, "name"))) return patch;
  const merged = new Map(target.map((item) => [at(item, "name"), item]));
  for (const item of patch) {
    const name = at(item, "name");
    if (at(item, "$patch") === "delete") merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), item, true));
  }
  return [...merged.values()];
}

/** RFC 6902, on a copy; 422 where an operation does not apply, as on the real server. */
export function jsonPatch(target: JsonObject, patch: Json): Json {
  if (!Array.isArray(patch)) throw badRequest("error decoding patch: expected an array of operations");
  // The document hangs in an object of one key, so that replacing all of it is no special case.
  const root: JsonObject = { "": structuredClone(target) };
  for (const operation of patch) apply(root, isObject(operation) ? operation : {});
  return root[""] ?? null;
}

function apply(root: JsonObject, { op, path, from, value }: JsonObject): void {
  if (op === "remove" || op === "replace") take(root, path);
  if (op === "add" || op === "replace") put(root, path, value);
  else if (op === "copy") put(root, path, structuredClone(read(root, keysOf(from))));
  else if (op === "move") put(root, path, take(root, from));
  else if (op !== "remove" && !(op === "test" && isDeepStrictEqual(read(root, keysOf(path)), value))) {
    throw rejected();
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

function keysOf(path: Json | undefined): string[] {
  const keys = String(path ?? "?").split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (keys[0] !== "" || keys.includes("__proto__")) throw rejected();
  return keys;
}

function read(root: Json, keys: readonly string[]): Json {
  return keys.reduce((value, key) => {
    const child = Array.isArray(value) ? value[index(key, value.length - 1)] : at(value, key);
    if (child === undefined) throw rejected();
    return child;
  }, root);
}

function put(root: Json, path: Json | undefined, value: Json | undefined): void {
  const keys = keysOf(path);
  const key = keys.pop()!;
  const parent = read(root, keys);
  if (value === undefined) throw rejected();
  if (Array.isArray(parent)) parent.splice(key === "-" ? parent.length : index(key, parent.length), 0, value);
  else if (isObject(parent)) parent[key] = value;
  else throw rejected();
}

function take(root: Json, path: Json | undefined): Json {
  const keys = keysOf(path);
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
