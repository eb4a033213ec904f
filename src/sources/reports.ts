/** Finds report objects in a body: alone, in a list, or in the wrappings of kubectl and of tools. */
import type { Drawn, DrawnEvent } from "../model/event.ts";
import {
  at,
  type Field,
  isObject,
  type Json,
  type JsonObject,
  number,
  shapeOf,
  textAt,
} from "../model/json.ts";
import { unread } from "./source.ts";
import type { PayloadError } from "../model/outcome.ts";

/** A report and its path, or an error for a value that is not a report. */
export type FoundReport =
  | { readonly report: JsonObject; readonly kind: string; readonly path: string }
  | { readonly error: PayloadError };

interface Place {
  readonly path: string;
  /** Kind of a typed list's items, which have no `kind`. */
  readonly kind: string;
  readonly depth: number;
}

/** The deepest nesting of wrappings that is read; no tool nests deeper. */
const MAX_DEPTH = 4;

/**
 * Reports in a body: a bare object, a `List` or typed `…List`, an array, a map keyed by `<plural>.<group>`,
 * a watch frame, or the `{verb, operatorObject}` of Trivy Operator's webhook. A frame or verb that says the object was
 * deleted yields none.
 */
export function reportsIn(body: Json): Iterable<FoundReport> {
  return unwrap(body, { path: "", kind: "", depth: 0 });
}

function* unwrap(body: Field, place: Place): Generator<FoundReport> {
  const { path, depth } = place;
  if (depth > MAX_DEPTH || (!Array.isArray(body) && !isObject(body))) {
    yield unread("wrong_shape", path, `expected a report, received ${shapeOf(body)}`);
    return;
  }
  if (Array.isArray(body)) {
    for (const [index, item] of body.entries()) {
      yield* unwrap(item, { ...place, path: `${path}[${index}]`, depth: depth + 1 });
    }
    return;
  }
  const inner = (key: string) => ({ ...place, path: joined(path, key), depth: depth + 1 });
  const verb = textAt(body, "verb").toLowerCase() || textAt(body, "type").toLowerCase();
  if (isObject(at(body, "operatorObject"))) {
    if (verb !== "delete") yield* unwrap(body.operatorObject, inner("operatorObject"));
  } else if (isObject(at(body, "object")) && at(body, "report") === undefined) {
    if (verb !== "deleted" && verb !== "bookmark") yield* unwrap(body.object, inner("object"));
  } else if (Array.isArray(at(body, "items"))) {
    const kind = textAt(body, "kind");
    const itemKind = kind.endsWith("List") ? kind.slice(0, -"List".length) : "";
    yield* unwrap(body.items, { ...inner("items"), kind: itemKind });
  } else if (isListMap(body)) {
    for (const [key, value] of Object.entries(body)) yield* unwrap(value, inner(key));
  } else {
    yield { report: body, kind: textAt(body, "kind") || place.kind, path };
  }
}

/** `{"vulnerabilityreports.aquasecurity.github.io": […], …}` */
function isListMap(body: JsonObject): boolean {
  const entries = Object.entries(body);
  return entries.length > 0 &&
    entries.every(([key, value]) =>
      key.includes(".") && (Array.isArray(value) || isObject(at(value, "items")))
    );
}

/**
 * Gives events of one identity the content of the first. A tool may list a finding several times with different texts,
 * which would otherwise replace each other in the store at every evaluation.
 */
export function* alikeTwins(drawn: Iterable<Drawn>): Generator<Drawn> {
  const first = new Map<string, DrawnEvent>();
  for (const item of drawn) {
    if ("error" in item) {
      yield item;
      continue;
    }
    const { source = "", severity, identity } = item.event;
    const key = JSON.stringify([source, severity, identity]);
    const twin = first.get(key);
    if (!twin) first.set(key, item.event);
    yield twin ? { event: twin } : item;
  }
}

/**
 * The creation time of a report, if it is the time of its findings: only the first version of a report counts, because a
 * report that is changed in place keeps its creation time.
 */
export function creationOf(report: JsonObject): string {
  const generation = number(at(report, "metadata", "generation")) ?? 1;
  return generation === 1 ? textAt(report, "metadata", "creationTimestamp") : "";
}

/** `a` and `b` as `a.b`. */
export function joined(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
