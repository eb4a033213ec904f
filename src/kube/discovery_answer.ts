/** What discovery tells, and how its answers are read. */
import { isObject, type JsonObject } from "../model/json.ts";
import type { ResourceType } from "./api.ts";

/** A type as discovery describes it. */
export interface ServedType extends ResourceType {
  readonly singular: string;
  readonly verbs: readonly string[];
  /** True in the version its group prefers. */
  readonly preferred: boolean;
}

/** What is served of the groups asked for. A group that is not there is no failure. */
export interface ServedTypes {
  readonly types: readonly ServedType[];
  /** What could not be read, by group or `group/version`: an aggregated API that is down says nothing about others. */
  readonly failures: ReadonlyMap<string, unknown>;
}

/** The objects of a list; none of what is no list. */
export function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** A text; "" of what is none. */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
