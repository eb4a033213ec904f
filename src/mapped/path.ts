/**
 * The mapping language: a value is a literal, or paths into the payload. `.a.b[0]` starts at the item, `$.a` at the
 * payload, `^.a` at the item's parent (`^^.a` at its grandparent), `@key` is the item's key or index. `p | q` takes the
 * first that has a value; `p ? "x"` is x where p has a value, `p ? q ? "x"` where both have one; `p + " in " + q` joins texts.
 * Compiled once, evaluated for every item.
 */
import { type Field, isObject, type Json, text as textOf } from "../model/json.ts";
import { LIMITS } from "../model/observation.ts";
import { joined, sharedText } from "../sources/objects.ts";
import { truncateObject } from "../text/clean.ts";
import { type Joins, parseSteps, PathError, type PathStep, split, unquoted } from "./path_syntax.ts";

export { PathError };

/** Longest value or forEach, in UTF-16 units. */
export const MAX_PATH_VALUE_LENGTH = 1_024;
const MAX_ALTERNATIVES = 32;
/** Longest part of joined texts, in UTF-16 units; most parts. */
const MAX_JOINED_LENGTH = 1_024, MAX_JOINED = 8;

/** An item with its key and the level above it; the payload is the outermost. */
export interface Level {
  readonly value: Json;
  /** Key or index in the level above; "" for the payload. */
  readonly key: string;
  /** From the payload, for messages: `Results[3].Results.hostIPC`. */
  readonly path: string;
  readonly parent: Level | undefined;
}

/** A compiled value. Undefined where the payload has none: absent, null or "". */
export type Value = (item: Level) => Field;

/** What a forEach yields: an item, why a value that should hold items does not, or nothing where there is none. */
export type Each =
  | { readonly item: Level }
  | { readonly path: string; readonly found: Json }
  | typeof NO_ITEM;

/** Yielded for a place without items, so that a walk over many such places can yield to other work. */
export const NO_ITEM = Symbol("no item");

/** A compiled forEach. */
export interface ForEach {
  /** True if it begins at a list. A payload that is a list is then read as one payload, else as a list of payloads. */
  readonly beginsAtList: boolean;
  items(payload: Level): Iterable<Each>;
}

/** A payload as a level; `path` is its position among several. */
export function rootLevel(body: Json, path = ""): Level {
  return { value: body, key: "", path, parent: undefined };
}

/** The payload an item comes from. */
export function rootOf(item: Level): Level {
  let level = item;
  while (level.parent) level = level.parent;
  return level;
}

/** A path, or a quoted text that one is joined to: `"in " + .a`. */
const PATH = /^\s*(?:(?:"[^"]*"|'[^']*')\s*\+\s*)*[.$^@]/;

/** True where a value is a path, not a literal. */
export function isPath(text: string): boolean {
  return PATH.test(text);
}

/** Compiles a path or literal; throws `PathError`. */
export function compileValue(text: string): Value {
  if (text.length > MAX_PATH_VALUE_LENGTH) {
    throw new PathError(`expected at most ${MAX_PATH_VALUE_LENGTH} characters`);
  }
  if (!isPath(text)) return () => text === "" ? undefined : text;
  const alternatives = split(text, "|").map(compileAlternative);
  if (alternatives.length > MAX_ALTERNATIVES) {
    throw new PathError(`expected at most ${MAX_ALTERNATIVES} alternatives, received ${alternatives.length}`);
  }
  return (item) => {
    for (const alternative of alternatives) {
      const found = alternative(item);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** Compiles where items are: `.a.b[*]`, over arrays and maps, several levels; `p | q` takes both. */
export function compileForEach(text: string): ForEach {
  if (text.length > MAX_PATH_VALUE_LENGTH) {
    throw new PathError(`expected at most ${MAX_PATH_VALUE_LENGTH} characters`);
  }
  const places = split(text, "|").map(compilePlace);
  return {
    beginsAtList: places.some(([first]) => first?.kind !== "keys"),
    *items(payload) {
      for (const steps of places) yield* descend(payload, steps);
    },
  };
}

function compileAlternative(text: string): Value {
  const parts = split(text, "?").map(compileJoined);
  return (item) => {
    let value: Field;
    for (const part of parts) {
      value = part(item);
      if (value === undefined) return undefined;
    }
    return value;
  };
}

/** `.a + " in " + .b`: absent if a part is, or is no scalar. */
function compileJoined(text: string): Value {
  const parts = split(text, "+").map(compileOne);
  const [only] = parts;
  if (parts.length === 1 && only) return only;
  if (parts.length > MAX_JOINED) {
    throw new PathError(`expected at most ${MAX_JOINED} joined texts in ${JSON.stringify(text)}`);
  }
  return (item) => {
    const texts = parts.map((part) => textOf(part(item)).slice(0, MAX_JOINED_LENGTH));
    return texts.includes("") ? undefined : texts.join("");
  };
}

function compileOne(text: string): Value {
  const quoted = unquoted(text);
  if (quoted !== undefined) return () => quoted === "" ? undefined : quoted;
  if (text === "") throw new PathError("expected a path or a literal in quotes, received nothing");
  if (!isPath(text)) {
    throw new PathError(`expected a path or a literal in quotes, received ${JSON.stringify(text)}`);
  }
  let ups = 0;
  while (text.charAt(ups) === "^") ups++;
  const rest = text.slice(ups);
  if (rest === "@key") {
    return (item) => ups === 0 ? saying(item.key) : shared(saying(above(item, ups)?.key));
  }
  const fromRoot = ups === 0 && rest.startsWith("$");
  const steps = parseSteps(fromRoot ? rest.slice(1) : rest, text);
  if (steps.some((step) => step.kind === "each")) {
    throw new PathError(`expected [*] in forEach alone, received ${JSON.stringify(text)}`);
  }
  return (item) => {
    const start = fromRoot ? rootOf(item) : above(item, ups);
    if (start === undefined) return undefined;
    const found = saying(follow(start.value, steps));
    return start === item ? found : shared(found);
  };
}

/** Values above items, cut. */
const cutValues = new WeakMap<object, Field>();

/** A value that the items below it share: a text cut, an object as far as details have room for it. Each item costs its length. */
function shared(value: Field): Field {
  if (typeof value === "string") return sharedText(value);
  if (typeof value !== "object" || value === null) return value;
  if (!cutValues.has(value)) {
    cutValues.set(value, saying(truncateObject({ value }, LIMITS.detailsBytes).value["value"]));
  }
  return cutValues.get(value);
}

function above(item: Level, ups: number): Level | undefined {
  let level: Level | undefined = item;
  for (let count = 0; count < ups && level; count++) level = level.parent;
  return level;
}

/** null and "" count as absent. */
function saying(value: Field): Field {
  return value === null || value === "" ? undefined : value;
}

function compilePlace(text: string): readonly PathStep[] {
  const steps = parseSteps(text.startsWith("$") ? text.slice(1) : text, text);
  if (!steps.some((step) => step.kind === "each")) {
    throw new PathError(`expected a path with [*] such as .items[*], received ${JSON.stringify(text)}`);
  }
  return steps;
}

function follow(start: Json, steps: readonly PathStep[]): Field {
  let value: Field = start;
  for (const step of steps) {
    if (value === undefined) return undefined;
    if (step.kind === "index") value = Array.isArray(value) ? value[step.index] : undefined;
    else if (step.kind === "keys") value = followKeys(value, step.joins)?.value;
  }
  return value;
}

/** The longest literal key that is there wins at each position: `.k8s.pod.name` finds `"k8s.pod.name"` first. */
function followKeys(
  start: Json,
  joins: readonly Joins[],
): { readonly value: Json; readonly path: string } | undefined {
  let value: Json = start;
  let path = "";
  let position = 0;
  while (position < joins.length) {
    if (!isObject(value)) return undefined;
    const holder = value;
    const found = joins[position]?.find(({ key }) => Object.hasOwn(holder, key));
    const next = found && holder[found.key];
    if (found === undefined || next === undefined) return undefined;
    value = next;
    path += `.${found.key}`;
    position = found.next;
  }
  return { value, path };
}

/** Walks to every item; each `[*]` opens a level. A place that is absent or null holds no items. */
function* descend(level: Level, steps: readonly PathStep[]): Iterable<Each> {
  let value: Json = level.value;
  let path = level.path;
  for (const [index, step] of steps.entries()) {
    if (step.kind === "each") {
      yield* members({ value, path, parent: level }, steps.slice(index + 1));
      return;
    }
    if (step.kind === "keys") {
      const found = followKeys(value, step.joins);
      if (found === undefined) return yield NO_ITEM;
      value = found.value;
      path += found.path;
    } else {
      const member: Field = Array.isArray(value) ? value[step.index] : undefined;
      if (member === undefined) return yield NO_ITEM;
      value = member;
      path += `[${step.index}]`;
    }
  }
  yield { item: value === level.value ? level : { value, key: level.key, path, parent: level.parent } };
}

interface Holder {
  readonly value: Json;
  readonly path: string;
  readonly parent: Level;
}

function* members({ value, path, parent }: Holder, rest: readonly PathStep[]): Iterable<Each> {
  if (value === null) return yield NO_ITEM;
  const place = path.startsWith(".") ? path.slice(1) : path;
  if (Array.isArray(value)) {
    for (const [index, member] of value.entries()) {
      yield* descend({ value: member, key: String(index), path: `${place}[${index}]`, parent }, rest);
    }
  } else if (isObject(value)) {
    // Keys alone: entries of a large map would be as many lists.
    for (const key of Object.keys(value)) {
      const member = value[key] ?? null;
      yield* descend({ value: member, key, path: joined(place, key), parent }, rest);
    }
  } else yield { path: place, found: value };
}
