/** The ObservationFilters: each one's last good spec is in force until it is deleted. */
import type { Clock } from "../model/clock.ts";
import { GROUP } from "../model/observation.ts";
import type { KubeObject, ResourceType } from "../kube/api.ts";
import type { Conditions, ReadyCondition } from "../kube/conditions.ts";
import type { WatchEvent } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { FilterDocument } from "./filter.ts";
import type { LiveFilters } from "./live.ts";
import { formatPath, formatProblem } from "./problem.ts";

/** The resource as it is served. */
export const OBSERVATION_FILTERS: ResourceType = {
  group: GROUP,
  version: "v1alpha1",
  plural: "observationfilters",
  kind: "ObservationFilter",
  namespaced: true,
};

/** Most ObservationFilters kept; further ones are refused. */
export const MAX_FILTERS = 1000;

/** How they stand, for `/tools/status`. */
export interface ObservationFiltersReport {
  /** Worst of the watched namespaces. */
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
}

/** Loaded with the first filter, as the ConfigMap's. */
type Reader = typeof import("./document.ts");
type State = ObservationFiltersReport["state"];

interface Entry {
  /** The object as it was read last. */
  readonly object: KubeObject;
  /** Its last good document. */
  readonly document: FilterDocument | undefined;
  readonly condition: ReadyCondition;
}

interface Place {
  entries: Map<string, Entry>;
  /** Between `init` and `synced`: what the list holds so far. */
  listing: Map<string, Entry> | undefined;
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

  /** Takes what the watch of `namespace` ("": all) tells. */
  async take(namespace: string, event: WatchEvent<KubeObject>): Promise<void> {
    const place = this.#place(namespace);
    switch (event.type) {
      case "init":
        place.listing = new Map();
        return;
      case "apply":
        return this.#apply(place, event.object, await import("./document.ts"));
      case "delete":
        this.#options.conditions.forget(OBSERVATION_FILTERS, event.object);
        if (place.entries.delete(keyOf(event.object))) this.#putInForce();
        return;
      case "synced":
        if (place.listing) place.entries = place.listing;
        place.listing = undefined;
        place.state = "synced";
        this.#putInForce();
        return place.decided.resolve();
      case "error":
        // A list that broke off says nothing of what it did not come to: what was known stays.
        place.listing = undefined;
        if (event.state === "failing") return;
        if (place.state !== event.state) {
          log.warn("ObservationFilters cannot be read", {
            namespace,
            state: event.state,
            error: event.error,
          });
        }
        place.state = event.state;
        return place.decided.resolve();
    }
  }

  /** The watch of `namespace` goes on: what was read before the error still stands. */
  resumed(namespace: string): void {
    const place = this.#place(namespace);
    if (!place.listing && place.state !== "unread") place.state = "synced";
  }

  /** Writes every condition that differs. */
  publishConditions(): void {
    for (const { object, condition } of this.#entries()) this.#say(object, condition);
  }

  report(): ObservationFiltersReport {
    const entries = [...this.#entries()];
    const states = new Set([...this.#places.values()].map((place) => place.state));
    return {
      state: STATE_ORDER.find((state) => states.has(state)) ?? "unread",
      inForce: entries.filter((entry) => entry.document).length,
      rejected: entries.filter((entry) => entry.condition.status === "False").length,
      ...(this.#lastRejection && { lastRejection: this.#lastRejection }),
    };
  }

  #apply(place: Place, object: KubeObject, reader: Reader): void {
    const key = keyOf(object);
    const entries = place.listing ?? place.entries;
    const before = place.entries.get(key);
    if (before && isSameSpec(before.object, object)) {
      entries.set(key, { ...before, object });
      return;
    }
    if (!before && !entries.has(key) && this.#isFull()) return this.#refuse(object);
    const entry = this.#read(object, { before, reader });
    entries.set(key, entry);
    this.#say(object, entry.condition);
    if (!place.listing && entry.document !== before?.document) this.#putInForce();
  }

  #read(
    object: KubeObject,
    { before, reader: { readFilterSpec } }: { readonly before: Entry | undefined; readonly reader: Reader },
  ): Entry {
    const { namespace = "", generation } = object.metadata;
    const name = `ObservationFilter ${keyOf(object)}`;
    const isTenant = namespace !== this.#options.ownNamespace;
    const read = readFilterSpec(object.spec, { name, ...(isTenant && { tenantNamespace: namespace }) });
    const observedGeneration = generation ?? 0;
    if (read.ok) {
      this.#options.metrics.filterReload.inc({ result: "loaded" });
      log.info("Filters loaded", { observationFilter: keyOf(object), generation });
      const message = read.value.block.mode === "Shadow" ? "Counts and drops nothing" : "In force";
      return {
        object,
        document: read.value,
        condition: { status: "True", reason: "Loaded", message, observedGeneration },
      };
    }
    const messages = read.problems.map(({ path, message }) =>
      formatProblem(`load filters "${keyOf(object)}"`, { path: formatPath(path), message })
    );
    this.#reject(keyOf(object), messages, read.problems.map((problem) => formatPath(problem.path)));
    const kept = before?.document ? "; its last good spec stays in force" : "";
    return {
      object,
      document: before?.document,
      condition: {
        status: "False",
        reason: "Invalid",
        message: `${messages.join("; ")}${kept}`.slice(0, 1024),
        observedGeneration,
      },
    };
  }

  #reject(key: string, messages: readonly string[], paths: readonly string[]): void {
    this.#options.metrics.filterReload.inc({ result: "rejected" });
    const at = new Date(this.#options.clock.now()).toISOString();
    this.#lastRejection = { name: key, at, problem: messages[0] ?? "" };
    for (const [index, error] of messages.entries()) {
      log.error("Filters rejected", { observationFilter: key, error, path: paths[index] });
    }
  }

  #say(object: KubeObject, condition: ReadyCondition): void {
    this.#options.conditions.set(OBSERVATION_FILTERS, object, condition);
  }

  #putInForce(): void {
    const documents = [...this.#entries()].flatMap(({ document }) => document ?? []);
    this.#options.filters.replace("observationFilters", documents);
  }

  #isFull(): boolean {
    let count = 0;
    for (const place of this.#places.values()) count += (place.listing ?? place.entries).size;
    return count >= MAX_FILTERS;
  }

  /** Not kept, so that a flood of them costs no memory; a later list takes it once there is room. */
  #refuse(object: KubeObject): void {
    const message = formatProblem(`load filters "${keyOf(object)}"`, {
      path: "",
      message: `there are ${MAX_FILTERS} ObservationFilters already`,
    });
    this.#reject(keyOf(object), [message], [""]);
    const observedGeneration = object.metadata.generation ?? 0;
    this.#say(object, {
      status: "False",
      reason: "LimitExceeded",
      message,
      observedGeneration,
    });
  }

  *#entries(): Generator<Entry> {
    for (const place of this.#places.values()) yield* place.entries.values();
  }

  #place(namespace: string): Place {
    let place = this.#places.get(namespace);
    if (!place) {
      place = {
        entries: new Map(),
        listing: undefined,
        state: "unread",
        decided: Promise.withResolvers<void>(),
      };
      this.#places.set(namespace, place);
    }
    return place;
  }
}

/** `namespace/name`. */
function keyOf({ metadata: { namespace = "", name = "" } }: KubeObject): string {
  return `${namespace}/${name}`;
}

/** Our own status writes come back through the watch; the spec then is the same. */
function isSameSpec(a: KubeObject, b: KubeObject): boolean {
  return a.metadata.uid === b.metadata.uid && JSON.stringify(a.spec) === JSON.stringify(b.spec);
}
