import type { Json, JsonObject } from "../core/json.ts";
import { isObject } from "../core/json.ts";
import { badRequest, StatusError } from "./errors.ts";

/** RFC 7386, on a copy. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__") continue;
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: "name",
  initContainers: "name",
  env: "name",
  volumes: "name",
  imagePullSecrets: "name",
  secrets: "name",
  volumeMounts: "mountPath",
  ports: "containerPort",
  conditions: "type",
  ownerReferences: "uid",
};

/** What kubectl's strategic merge patches of built-in kinds need: lists of known fields merge by key, directives go. */
export function strategicMergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(target) && patch.$patch !== "replace" ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    const now = merged[key];
    if (key === "__proto__" || key.startsWith("$")) continue;
    if (value === null) delete merged[key];
    else if (Array.isArray(value)) merged[key] = mergeList(now, value, MERGE_KEYS[key]);
    else merged[key] = strategicMergePatch(now, value);
  }
  return merged;
}

function mergeList(target: Json | undefined, patch: Json[], key: string | undefined): Json[] {
  if (key === undefined || !Array.isArray(target)) return patch;
  const merged = [...target];
  for (const item of patch) {
    if (!isObject(item)) return patch;
    const index = merged.findIndex((each) => isObject(each) && each[key] === item[key]);
    if (item.$patch === "delete") { if (index >= 0) merged.splice(index, 1); }
    else if (index >= 0) merged[index] = strategicMergePatch(merged[index], item);
    else merged.push(strategicMergePatch(undefined, item));
  }
  return merged;
}

/** RFC 6902, on a copy; 422 where an operation does not apply, as on the real server. */
export function jsonPatch(target: JsonObject, patch: Json): Json {
  if (!Array.isArray(patch)) throw badRequest("error decoding patch: expected an array of operations");
  let root: Json = structuredClone(target);
  for (const operation of patch) {
    if (!isObject(operation)) throw badRequest("error decoding patch: expected an object as operation");
    root = applyOperation(root, operation);
  }
  return root;
}

function applyOperation(root: Json, { op, path, from, value }: JsonObject): Json {
  switch (op) {
    case "add":
      return write(root, pointer(path), { value: required(value), insert: true });
    case "replace":
      read(root, pointer(path));
      return write(root, pointer(path), { value: required(value), insert: false });
    case "remove":
      return remove(root, pointer(path));
    case "move": {
      const moved = read(root, pointer(from));
      return write(remove(root, pointer(from)), pointer(path), { value: moved, insert: true });
    }
    case "copy":
      return write(root, pointer(path), { value: structuredClone(read(root, pointer(from))), insert: true });
    case "test":
      if (!sameJson(read(root, pointer(path)), value ?? null)) throw rejected();
      return root;
    default:
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

function required(value: Json | undefined): Json {
  if (value === undefined) throw rejected();
  return value;
}

function pointer(path: Json | undefined): string[] {
  if (path === "") return [];
  if (typeof path !== "string" || !path.startsWith("/")) throw rejected();
  const keys = path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (keys.includes("__proto__")) throw rejected();
  return keys;
}

function read(root: Json, path: readonly string[]): Json {
  let value: Json | undefined = root;
  for (const key of path) {
    if (Array.isArray(value)) value = value[index(key, value.length - 1)];
    else value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
    if (value === undefined) throw rejected();
  }
  return value;
}

function write(
  root: Json,
  path: readonly string[],
  { value, insert }: { value: Json; insert: boolean },
): Json {
  const key = path.at(-1);
  if (key === undefined) return value;
  const parent = read(root, path.slice(0, -1));
  if (Array.isArray(parent)) {
    const at = key === "-" ? parent.length : index(key, insert ? parent.length : parent.length - 1);
    parent.splice(at, insert ? 0 : 1, value);
  } else if (isObject(parent)) parent[key] = value;
  else throw rejected();
  return root;
}

function remove(root: Json, path: readonly string[]): Json {
  read(root, path);
  const key = path.at(-1);
  if (key === undefined) return null;
  const parent = read(root, path.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(index(key, parent.length - 1), 1);
  else if (isObject(parent)) delete parent[key];
  return root;
}

function index(key: string, last: number): number {
  const at = /^(0|[1-9]\d*)$/.test(key) ? Number(key) : -1;
  if (at < 0 || at > last) throw rejected();
  return at;
}

/** True where two JSON values are equal, whatever the order of their keys. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, at) => sameJson(item, b[at]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]));
}
