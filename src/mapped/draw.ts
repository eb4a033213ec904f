/** The mapper of every Ingester: a compiled mapping as a pure generator. */
import type { Drawn, DrawnEvent, DrawnNote, Payload } from "../model/event.ts";
import { type Field, type Json, type JsonObject, shapeOf, text, withoutEmpty } from "../model/json.ts";
import { CATEGORIES, type Category, type Resource } from "../model/observation.ts";
import type { Expression } from "../filters/expression.ts";
import { MAX_PAYLOAD_STEPS, type StepBudget } from "../filters/steps.ts";
import { formatReceived } from "../text/problem.ts";
import { errorMessage } from "../model/error_message.ts";
import { isClusterScoped } from "../model/identity.ts";
import { kindInAnyCase, pathStep } from "../sources/objects.ts";
import { unread } from "../sources/source.ts";
import { type Each, type ForEach, type Level, NO_ITEM, rootLevel, rootOf, type Value } from "./path.ts";

/** A mapping ready to run. */
export interface CompiledMapping {
  /** Undefined: the payload itself is the one item. */
  readonly forEach: ForEach | undefined;
  readonly when: Expression | undefined;
  /** Evaluated over the payload: false if the payload holds only a part of the findings. */
  readonly completeWhen: Expression | undefined;
  readonly resolvedWhen: Expression | undefined;
  readonly severity: Value;
  readonly category: Value;
  /** Every category that its events can have: all categories if `category` is a path. */
  readonly categories: readonly Category[];
  readonly eventType: Value;
  readonly message: Value;
  readonly rule: Value;
  readonly detectedAt: Value;
  readonly resolvedAt: Value;
  readonly count: Value;
  readonly resource: Readonly<Record<keyof Resource, Value>>;
  readonly details: readonly (readonly [name: string, value: Value])[];
  /** `message` and details that are not masked: what the mapping says is prose, and its own literals. */
  readonly prose: readonly string[];
  /** Undefined: event type, resource, message and, in a map, the key. */
  readonly identity: readonly (readonly [text: string, value: Value])[] | undefined;
}

/** Above this a number is a Unix time in milliseconds, below it in seconds: the year 5138 and March 1973. */
const FIRST_MILLISECONDS = 1e11;

/** Most items of one payload, including those that `when` leaves out: a body of zeros can hold eight million. */
export const MAX_ITEMS = 200_000;

/** Draws the events of a payload. A document that is a list of payloads is read one by one. */
export function* drawMapped(
  mapping: CompiledMapping,
  sent: Payload,
): Iterable<Drawn | DrawnNote> {
  const { origin } = sent;
  const budget: StepBudget = { left: MAX_PAYLOAD_STEPS };
  let items = 0;
  for (const payload of payloadsOf(sent, mapping.forEach?.beginsAtList ?? false)) {
    if (mapping.completeWhen) yield* drawCompleteness(mapping.completeWhen, { payload, budget });
    for (const each of itemsOf(mapping, payload)) {
      if (++items > MAX_ITEMS) {
        return yield unread("too_many_events", "", `more than ${MAX_ITEMS} items, the rest is not taken`);
      }
      if (each === NO_ITEM) yield SKIPPED;
      else if ("found" in each) {
        yield unread("wrong_shape", each.path, `expected a list or a map, received ${shapeOf(each.found)}`);
      } else yield drawItem(mapping, { item: each.item, origin, budget });
    }
  }
}

const SKIPPED: DrawnNote = { note: "skipped" };

/** Evaluates completeWhen. If it fails, this yields an error, and a view with an error is not complete. */
function* drawCompleteness(
  completeWhen: Expression,
  { payload, budget }: { readonly payload: Level; readonly budget: StepBudget },
): Iterable<Drawn | DrawnNote> {
  try {
    if (!completeWhen.evaluate({ root: payload.value }, budget)) yield { note: "partial" };
  } catch (error) {
    yield unread("mapping", payload.path, `completeWhen: ${errorMessage(error)}`);
  }
}

function* itemsOf({ forEach }: CompiledMapping, payload: Level): Iterable<Each> {
  if (forEach) yield* forEach.items(payload);
  else yield { item: payload };
}

/** Splits a body that is an array, since many tools send several documents as one array. Elements are not split again. */
function* payloadsOf({ body, path }: Payload, isOne: boolean): Iterable<Level> {
  if (isOne || path !== undefined || !Array.isArray(body)) yield rootLevel(body);
  else for (const [index, document] of body.entries()) yield rootLevel(document, `[${index}]`);
}

interface Place {
  readonly item: Level;
  readonly origin: Payload["origin"];
  readonly budget: StepBudget;
}

function drawItem(mapping: CompiledMapping, place: Place): Drawn | DrawnNote {
  const { item, budget } = place;
  let resolved = false;
  try {
    if (mapping.when && !mapping.when.evaluate(variablesOf(item), budget)) return SKIPPED;
    resolved = mapping.resolvedWhen?.evaluate(variablesOf(item), budget) ?? false;
  } catch (error) {
    return unread("mapping", item.path, errorMessage(error));
  }
  const category = categoryOf(text(mapping.category(item)));
  if (category === undefined) {
    const said = formatReceived(text(mapping.category(item)));
    return unread(
      "invalid_value",
      item.path,
      `expected a category of ${CATEGORIES.join("|")}, received ${said}`,
    );
  }
  const event = toEvent(mapping, { ...place, category });
  if (event === undefined) {
    return unread("missing_field", item.path, "none of the identity's values is there");
  }
  if (!resolved) return { event };
  const resolvedAt = timeOf(mapping.resolvedAt(item));
  return { event: { ...event, resolved, ...(resolvedAt === undefined ? {} : { resolvedAt }) } };
}

function variablesOf(item: Level): Readonly<Record<string, unknown>> {
  return { item: item.value, root: rootOf(item).value, key: item.key };
}

/** The category of a word in any case. */
export function categoryOf(word: string): Category | undefined {
  return CATEGORIES.find((category) => category === word.toLowerCase());
}

function toEvent(
  mapping: CompiledMapping,
  { item, origin, category }: Omit<Place, "budget"> & { category: Category },
): DrawnEvent | undefined {
  const resource = resourceOf(mapping, item);
  const detectedAt = timeOf(mapping.detectedAt(item));
  const count = mapping.count(item);
  const eventType = text(mapping.eventType(item));
  const message = text(mapping.message(item));
  const rule = text(mapping.rule(item));
  const identity = mapping.identity
    ? chosenIdentity(mapping.identity, item)
    : defaultIdentity({ item, origin, eventType, message, resource });
  if (identity === undefined) return undefined;
  return {
    category,
    severity: text(mapping.severity(item)) || null,
    eventType,
    message,
    rules: rule === "" ? [] : [rule],
    ...(resource ? { resource } : {}),
    details: withoutEmpty(Object.fromEntries(mapping.details.map(([name, value]) => [name, value(item)]))),
    prose: mapping.prose,
    ...(detectedAt === undefined ? {} : { detectedAt }),
    ...(typeof count === "number" ? { count } : {}),
    identity,
  };
}

function resourceOf({ resource }: CompiledMapping, item: Level): Resource | undefined {
  const read = (value: Value) => text(value(item));
  const known = kindInAnyCase(read(resource.kind));
  const apiVersion = read(resource.apiVersion) || known.apiVersion;
  const name = read(resource.name);
  // A cluster-scoped resource has no namespace: a `namespace` label is then that of the exporter.
  const namespace = hasNoNamespace(known) ? "" : read(resource.namespace);
  if (known.kind === "" && name === "" && namespace === "") return undefined;
  return {
    ...(apiVersion === "" ? {} : { apiVersion }),
    ...(known.kind === "" ? {} : { kind: known.kind }),
    ...(name === "" ? {} : { name }),
    ...(namespace === "" ? {} : { namespace }),
  };
}

/** True for the cluster-scoped kinds of Kubernetes. Custom kinds may have the same name: Cluster API has its own Node. */
function hasNoNamespace({ kind, apiVersion }: ReturnType<typeof kindInAnyCase>): boolean {
  return apiVersion !== "" && kind !== "Namespace" && isClusterScoped(kind);
}

/** An index in a list is not part of the identity: the next report may list the finding elsewhere. */
function defaultIdentity(
  { item, origin, eventType, message, resource }: {
    item: Level;
    origin: Payload["origin"];
    eventType: string;
    message: string;
    resource: Resource | undefined;
  },
): JsonObject {
  const inMap = item.parent !== undefined && item.path.endsWith(`.${pathStep(item.key)}`);
  return withoutEmpty({
    eventType,
    message,
    key: inMap ? item.key : "",
    resource: resource ? withoutEmpty(resource) : null,
    object: resource?.name ? "" : [origin.namespace, origin.name].filter((part) => part).join("/"),
  });
}

/** Names each value by its position and its text, so that swapped values make another identity. */
function chosenIdentity(
  values: NonNullable<CompiledMapping["identity"]>,
  item: Level,
): JsonObject | undefined {
  const found = values.map(([name, value]): [string, Json] => [name, value(item) ?? null]);
  return found.every(([, part]) => part === null) ? undefined : Object.fromEntries(found);
}

function timeOf(value: Field): string | number | undefined {
  if (typeof value === "string") return value;
  if (typeof value !== "number" || !Number.isFinite(value)) return undefined;
  return Math.abs(value) < FIRST_MILLISECONDS ? value * 1_000 : value;
}
