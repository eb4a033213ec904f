/** The ObservationFilters. The last valid spec of each is active until the object is deleted. */
import { hasWarning, messageWith } from "./filter_status.ts";
import type { Clock } from "../model/time.ts";
import { GROUP } from "../model/observation.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import { ageKey, type KubeObject, namespacedName, type ResourceType } from "../kube/api.ts";
import { type Conditions, type ReadyCondition, readyOf } from "../kube/conditions.ts";
import { statusTarget } from "../kube/status_writer.ts";
import type { WatchEvent } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import { cut } from "../text/clean.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { FilterDocument, LiveFilters } from "./filter.ts";
import { formatPath, formatProblem } from "../text/problem.ts";
import { type KnownSource, warningsOf } from "./warnings.ts";

/** The resource as it is served. */
export const OBSERVATION_FILTERS: ResourceType = {
  group: GROUP,
  version: "v1alpha1",
  plural: "observationfilters",
  kind: "ObservationFilter",
  namespaced: true,
};

/** Most ObservationFilters of the controller's namespace; the oldest are active. */
export const MAX_FILTERS = 1_000;
/** Most ObservationFilters of any other namespace; the oldest are active. */
export const MAX_TENANT_FILTERS = 20;
/** Longest spec of an ObservationFilter, in characters of JSON. */
export const MAX_SPEC_LENGTH = 262_144;
/** Most filters over the limit that are kept by name. Further ones get their condition once and are then forgotten. */
const MAX_SURPLUS = 10_000;
/** Longest message of a condition. */
const MAX_MESSAGE = 1_024;
/** Most specs of a list that are read in one turn of the event loop. */
const READ_AT_ONCE = 20;

/** The state of the ObservationFilters, for `/tools/status`. */
export interface ObservationFiltersReport {
  /** The worst state among the watched namespaces. */
  readonly state: "unread" | "synced" | "absent" | "forbidden";
  readonly inForce: number;
  readonly rejected: number;
  readonly lastRejection?: { readonly name: string; readonly at: string; readonly problem: string };
}

export interface ObservationFiltersOptions {
  readonly filters: LiveFilters;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, "filterReload">;
  readonly ownNamespace: string;
  readonly conditions: Pick<Conditions, "set" | "forget">;
  /** The known sources; undefined until they have been read. */
  readonly knownSources: () => readonly KnownSource[] | undefined;
}

/** The module that reads documents. It is loaded when the first filter is read. */
type Reader = typeof import("./document.ts");
type State = ObservationFiltersReport["state"];

interface Entry {
  /** The newest version of the object. */
  readonly object: KubeObject;
  /** Its last good document, and the spec it was read from. */
  readonly good: Good | undefined;
  readonly condition: ReadyCondition;
}

interface Good {
  readonly document: FilterDocument;
  readonly generation: number;
  readonly spec: JsonObject;
}

/** An ObservationFilter over the limit of its namespace: only what its condition needs is kept. */
interface Surplus {
  readonly object: Pick<KubeObject, "apiVersion" | "kind" | "metadata">;
  readonly condition: ReadyCondition;
}

interface Place {
  entries: Map<string, Entry>;
  surplus: Map<string, Surplus>;
  /** Between `init` and `synced`: what the list holds so far, by namespace and key; read once it is complete. */
  listing: Map<string, Map<string, KubeObject>> | undefined;
  /** Those of `listing` over the limit. */
  listedSurplus: Map<string, Surplus>;
  state: State;
  readonly decided: PromiseWithResolvers<void>;
}

const STATE_ORDER: readonly State[] = ["forbidden", "absent", "unread", "synced"];

const log = logger("filter");

/** Follows the ObservationFilters of some namespaces. */
export class ObservationFilters {
  readonly #options: ObservationFiltersOptions;
  readonly #places = new Map<string, Place>();
  #lastRejection: ObservationFiltersReport["lastRejection"];

  constructor(options: ObservationFiltersOptions) {
    this.#options = options;
  }

  /** Resolves once the first read of this namespace is decided. */
  firstReadOf(namespace: string): Promise<void> {
    return this.#place(namespace).decided.promise;
  }

  /**
   * Handles an event of the watch of `namespace` ("": all). Resolves with "relist" if a filter that was over the limit may
   * become active, because its spec was not kept.
   */
  async take(namespace: string, event: WatchEvent<KubeObject>): Promise<"relist" | undefined> {
    const place = this.#place(namespace);
    switch (event.type) {
      case "init":
        place.listing = new Map();
        place.listedSurplus = new Map();
        return undefined;
      case "apply":
        if (place.listing) this.#list(place, event.object);
        else this.#apply(place, event.object, await import("./document.ts"));
        return undefined;
      case "delete":
        return this.#delete(place, event.object);
      case "synced":
        await this.#readListing(place);
        place.state = "synced";
        this.#putInForce();
        place.decided.resolve();
        return undefined;
      case "error":
        // The rest of a list that broke off is unknown, so the known objects stay.
        place.listing = undefined;
        if (event.state === "failing") return undefined;
        if (place.state !== event.state) {
          log.warn("ObservationFilters cannot be read", {
            namespace,
            state: event.state,
            error: event.error,
          });
        }
        place.state = event.state;
        // Without its CRD there is no ObservationFilter. Without the right to read them the known ones stay in force.
        if (event.state === "absent") this.#forgetAll(place);
        place.decided.resolve();
        return undefined;
    }
  }

  /** Call when the watch of `namespace` has recovered without a new list: the objects read before are still current. */
  resumed(namespace: string): void {
    const place = this.#place(namespace);
    if (!place.listing && place.state !== "unread") place.state = "synced";
  }

  /** Writes every condition that differs. */
  publishConditions(): void {
    for (const entry of this.#entries()) this.#sayEntry(entry);
    for (const place of this.#places.values()) {
      for (const { object, condition } of place.surplus.values()) this.#say(object, condition);
    }
  }

  /** Call when the known sources changed: warnings may have appeared or disappeared. */
  sourcesChanged(): void {
    for (const { entries } of this.#places.values()) {
      for (const [key, entry] of entries) {
        if (!entry.good || entry.condition.status === "False") continue;
        const condition = this.#readyOf(entry.good, entry.condition.observedGeneration);
        if (condition.message === entry.condition.message) continue;
        const next = { ...entry, condition };
        entries.set(key, next);
        logWarnings(key, condition);
        this.#sayEntry(next);
      }
    }
  }

  report(): ObservationFiltersReport {
    const entries = [...this.#entries()];
    const surplus = [...this.#places.values()].reduce((sum, place) => sum + place.surplus.size, 0);
    const states = new Set([...this.#places.values()].map((place) => place.state));
    return {
      state: STATE_ORDER.find((state) => states.has(state)) ?? "unread",
      inForce: entries.filter((entry) => entry.good).length,
      rejected: entries.filter((entry) => entry.condition.status === "False").length + surplus,
      ...(this.#lastRejection && { lastRejection: this.#lastRejection }),
    };
  }

  /** Keeps the oldest of each namespace. Specs are read after the list is complete, so that filters over the limit are not read. */
  #list(place: Place, object: KubeObject): void {
    const { namespace = "" } = object.metadata;
    const listed = place.listing?.get(namespace) ?? new Map<string, KubeObject>();
    place.listing?.set(namespace, listed);
    listed.set(namespacedName(object), object);
    if (listed.size <= this.#limitOf(namespace)) return;
    const youngest = youngestOf(listed.values());
    if (!youngest) return;
    listed.delete(namespacedName(youngest));
    const surplus = this.#surplusOf(youngest, place);
    if (place.listedSurplus.size < MAX_SURPLUS) place.listedSurplus.set(namespacedName(youngest), surplus);
  }

  async #readListing(place: Place): Promise<void> {
    const { listing, listedSurplus } = place;
    if (!listing) return;
    const reader = await import("./document.ts");
    const entries = new Map<string, Entry>();
    let count = 0;
    for (const listed of listing.values()) {
      for (const [key, object] of listed) {
        if (++count % READ_AT_ONCE === 0) await new Promise<void>((resolve) => setTimeout(resolve, 0));
        entries.set(key, this.#entryOf(object, { before: place.entries.get(key), reader }));
      }
    }
    place.listing = undefined;
    place.entries = entries;
    place.surplus = listedSurplus;
    for (const { object, condition } of listedSurplus.values()) this.#say(object, condition);
  }

  #entryOf(
    object: KubeObject,
    { before, reader }: { readonly before: Entry | undefined; readonly reader: Reader },
  ): Entry {
    // A status that brings the last good spec is news to a replica that has none.
    const isRestored = before && !before.good && storedGood(object.status) !== undefined;
    if (before && isSameSpec(before.object, object) && !isRestored) return { ...before, object };
    const entry = this.#read(object, { before, reader });
    this.#sayEntry(entry);
    return entry;
  }

  #apply(place: Place, object: KubeObject, reader: Reader): void {
    const key = namespacedName(object);
    const before = place.entries.get(key);
    const { namespace = "" } = object.metadata;
    if (!before && this.#countOf(place, namespace) >= this.#limitOf(namespace)) {
      const surplus = this.#surplusOf(object, place);
      if (place.surplus.size < MAX_SURPLUS) place.surplus.set(key, surplus);
      return this.#say(object, surplus.condition);
    }
    const entry = this.#entryOf(object, { before, reader });
    place.entries.set(key, entry);
    if (entry.good !== before?.good) this.#putInForce();
  }

  #delete(place: Place, object: KubeObject): "relist" | undefined {
    this.#options.conditions.forget(OBSERVATION_FILTERS, object);
    const key = namespacedName(object);
    place.surplus.delete(key);
    if (!place.entries.delete(key)) return undefined;
    this.#putInForce();
    const prefix = `${object.metadata.namespace ?? ""}/`;
    return [...place.surplus.keys()].some((waiting) => waiting.startsWith(prefix)) ? "relist" : undefined;
  }

  #forgetAll(place: Place): void {
    place.surplus.clear();
    if (place.entries.size === 0) return;
    for (const { object } of place.entries.values()) {
      this.#options.conditions.forget(OBSERVATION_FILTERS, object);
    }
    place.entries.clear();
    this.#putInForce();
  }

  #countOf(place: Place, namespace: string): number {
    let count = 0;
    for (const key of place.entries.keys()) if (key.startsWith(`${namespace}/`)) count++;
    return count;
  }

  #limitOf(namespace: string): number {
    return namespace === this.#options.ownNamespace ? MAX_FILTERS : MAX_TENANT_FILTERS;
  }

  #read(
    object: KubeObject,
    { before, reader }: { readonly before: Entry | undefined; readonly reader: Reader },
  ): Entry {
    const { generation = 0 } = object.metadata;
    const read = this.#readSpec(object, object.spec, reader);
    if (read.ok) {
      this.#options.metrics.filterReload.inc({ result: "loaded" });
      log.info("Filters loaded", { observationFilter: namespacedName(object), generation });
      const good = { document: read.value, generation, spec: isObject(object.spec) ? object.spec : {} };
      const condition = this.#readyOf(good, generation);
      logWarnings(namespacedName(object), condition);
      return { object, good, condition };
    }
    const messages = read.problems.map(({ path, message }) =>
      formatProblem(`load filters "${namespacedName(object)}"`, { path: formatPath(path), message })
    );
    this.#reject(namespacedName(object), messages, read.problems.map((problem) => formatPath(problem.path)));
    const isSameObject = before?.object.metadata.uid === object.metadata.uid;
    const good = (isSameObject ? before?.good : undefined) ?? this.#restore(object, reader);
    const kept = good ? "; its last good spec stays in force" : "; nothing of it is in force";
    const told = messages.join("; ");
    return {
      object,
      good,
      condition: {
        status: "False",
        reason: "Invalid",
        message: cut(told, MAX_MESSAGE - kept.length) + kept,
        observedGeneration: generation,
      },
    };
  }

  #readSpec(
    object: KubeObject,
    spec: unknown,
    { readFilterSpec }: Reader,
  ): ReturnType<Reader["readFilterSpec"]> {
    if (isTooLong(spec)) {
      const message = `expected at most ${MAX_SPEC_LENGTH} characters`;
      return { ok: false, problems: [{ path: ["spec"], message }] };
    }
    const { namespace = "" } = object.metadata;
    const isTenant = namespace !== this.#options.ownNamespace;
    const read = readFilterSpec(spec, {
      name: `ObservationFilter ${namespacedName(object)}`,
      ...(isTenant && { tenantNamespace: namespace }),
    });
    const owner = statusTarget(OBSERVATION_FILTERS, object);
    return read.ok ? { ok: true, value: { ...read.value, owner } } : read;
  }

  /** The spec that was active before this process started, from the object's status. */
  #restore(object: KubeObject, reader: Reader): Good | undefined {
    const stored = storedGood(object.status);
    if (!stored) return undefined;
    const read = this.#readSpec(object, stored.spec, reader);
    if (!read.ok) return undefined;
    const { generation } = stored;
    log.info("The last good filters are restored", { observationFilter: namespacedName(object), generation });
    return { ...stored, document: read.value };
  }

  /** The condition of an active spec, with its warnings. */
  #readyOf({ document }: Good, observedGeneration: number): ReadyCondition {
    const known = this.#options.knownSources();
    const warnings = known ? warningsOf(document, { known, definedBy: "an Ingester" }) : [];
    const state = document.block.mode === "Shadow" ? "Counts and drops nothing" : "In force";
    const message = messageWith(warnings, state);
    return { status: "True", reason: "Loaded", message: cut(message, MAX_MESSAGE), observedGeneration };
  }

  #reject(key: string, messages: readonly string[], paths: readonly string[]): void {
    this.#options.metrics.filterReload.inc({ result: "rejected" });
    const at = new Date(this.#options.clock.now()).toISOString();
    this.#lastRejection = { name: key, at, problem: messages[0] ?? "" };
    for (const [index, error] of messages.entries()) {
      log.error("Filters rejected", { observationFilter: key, error, path: paths[index] });
    }
  }

  /**
   * Sets an object's condition. While its spec is invalid, the status also holds the active spec. A replica that knows no
   * valid spec does not touch that field, because another replica may just have written it.
   */
  #sayEntry({ object, good, condition }: Entry): void {
    const isBroken = condition.status === "False";
    const kept = good && { inForce: { generation: good.generation, spec: good.spec } };
    const fields = isBroken ? kept ?? {} : { inForce: null };
    this.#options.conditions.set(OBSERVATION_FILTERS, object, condition, fields);
  }

  #say(object: KubeObject, condition: ReadyCondition): void {
    this.#options.conditions.set(OBSERVATION_FILTERS, object, condition);
  }

  #putInForce(): void {
    const documents = [...this.#entries()].flatMap(({ good }) => good?.document ?? []);
    this.#options.filters.replace("observationFilters", documents);
  }

  #surplusOf({ apiVersion, kind, metadata }: KubeObject, place: Place): Surplus {
    const { namespace = "", name = "", uid, generation = 0, resourceVersion, creationTimestamp } = metadata;
    const key = `${namespace}/${name}`;
    const message = formatProblem(`load filters "${key}"`, {
      path: "",
      message: `there are ${this.#limitOf(namespace)} older ObservationFilters in ${namespace}`,
    });
    if (!place.surplus.has(key)) this.#reject(key, [message], [""]);
    return {
      object: {
        ...(apiVersion === undefined ? {} : { apiVersion }),
        ...(kind === undefined ? {} : { kind }),
        metadata: {
          namespace,
          name,
          generation,
          ...(uid === undefined ? {} : { uid }),
          ...(resourceVersion === undefined ? {} : { resourceVersion }),
          ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
        },
      },
      condition: { status: "False", reason: "LimitExceeded", message, observedGeneration: generation },
    };
  }

  *#entries(): Generator<Entry> {
    for (const place of this.#places.values()) yield* place.entries.values();
  }

  #place(namespace: string): Place {
    let place = this.#places.get(namespace);
    if (!place) {
      place = {
        entries: new Map(),
        surplus: new Map(),
        listing: undefined,
        listedSurplus: new Map(),
        state: "unread",
        decided: Promise.withResolvers<void>(),
      };
      this.#places.set(namespace, place);
    }
    return place;
  }
}

function logWarnings(key: string, { message }: ReadyCondition): void {
  if (hasWarning(message)) {
    log.warn("Filters are valid but look like a mistake", { observationFilter: key, message });
  }
}

/** The last good spec in the status of an object; undefined if there is none. */
export function storedGood(status: unknown): Pick<Good, "generation" | "spec"> | undefined {
  const inForce = isObject(status) ? status.inForce : undefined;
  if (!isObject(inForce) || !isObject(inForce.spec)) return undefined;
  const { generation, spec } = inForce;
  return { generation: typeof generation === "number" ? generation : 0, spec };
}

/** The spec that is in force by the object's status; undefined where none is. */
export function specInForce(object: KubeObject): unknown {
  const ready = readyOf(object);
  if (ready?.status === "True") return object.spec;
  // Over the limit of its namespace nothing is in force, whatever its status kept before.
  return ready?.reason === "Invalid" ? storedGood(object.status)?.spec : undefined;
}

/** True if only the status differs: status writes of this process come back through the watch. */
function isSameSpec(a: KubeObject, b: KubeObject): boolean {
  return a.metadata.uid === b.metadata.uid && JSON.stringify(a.spec) === JSON.stringify(b.spec);
}

function isTooLong(spec: unknown): boolean {
  return JSON.stringify(spec ?? null).length > MAX_SPEC_LENGTH;
}

/** The youngest object; of two of the same age, the one with the later name. */
function youngestOf(objects: Iterable<KubeObject>): KubeObject | undefined {
  let youngest: KubeObject | undefined;
  for (const object of objects) if (!youngest || ageKey(object) > ageKey(youngest)) youngest = object;
  return youngest;
}
