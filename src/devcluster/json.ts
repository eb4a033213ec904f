import jsonpatch, { type Operation } from "fast-json-patch";
import { isObject, type Json, type JsonObject } from "../model/json.ts";
import { badRequest, StatusError } from "./errors.ts";

/** Parses JSON, or answers 400 with `problem` before the reason. */
export function parse(text: string, problem: string): Json {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(problem + (error as Error).message);
  }
}

/** RFC 7386, on a copy. `strategic`: directives go; no kind served here has lists that merge by a key. */
export function mergePatch(target: Json | undefined, patch: Json, strategic = false): Json {
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__" || (strategic && key.startsWith("$"))) continue;
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value, strategic);
  }
  return merged;
}

/** RFC 6902, on a copy; 422 where an operation does not apply, as on the real server. */
export function jsonPatch(target: JsonObject, patch: Json): Json {
  if (!Array.isArray(patch)) throw badRequest("error decoding patch: expected an array of operations");
  const operations = patch as unknown as Operation[];
  const [validate, mutate] = [true, false];
  try {
    return jsonpatch.applyPatch(target, operations, validate, mutate).newDocument;
  } catch {
    const message = "the server rejected our request due to an error in our request";
    throw new StatusError(422, "Invalid", message, {});
  }
}
