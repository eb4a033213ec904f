/** The filters of the ConfigMap: one text, of which the last good one is in force. */
import type { Clock } from "../model/clock.ts";
import type { KubeObject } from "../kube/api.ts";
import type { WatchEvent } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { FilterDocument } from "./filter.ts";
import type { LiveFilters } from "./live.ts";
import { LastGood } from "./last_good.ts";
import { formatProblem, type Problem } from "./problem.ts";

/** What may come of reading a filter document: values of `result` of `filter_reload_total`. */
export const RELOAD_RESULTS = ["loaded", "rejected", "key_missing", "missing", "unreadable"] as const;

/** How the ConfigMap stands, for `/tools/status`. */
export interface ConfigMapFiltersReport {
  readonly name: string;
  /** `loaded`: what is stored is in force. Else the last good one is, if there was one. */
  readonly state: "unread" | typeof RELOAD_RESULTS[number];
  /** False where all is allowed because nothing good was read yet. */
  readonly hasLastGood: boolean;
  /** resourceVersion and time of what is in force. */
  readonly resourceVersion?: string;
  readonly loadedAt?: string;
  readonly lastRejection?: {
    readonly at: string;
    readonly resourceVersion?: string;
    readonly problems: readonly string[];
  };
}

/** What a Kubernetes Event says, and of which object. */
export interface FilterEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: "FiltersRejected" | "FiltersLoaded" | "FiltersMissing";
  readonly message: string;
  readonly regarding: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
  };
}

export interface ConfigMapFiltersOptions {
  readonly filters: LiveFilters;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, "filterReload">;
  readonly configMap: { readonly namespace: string; readonly name: string; readonly key: string };
  /** Emits a Kubernetes Event; never throws. */
  readonly emit: (event: FilterEvent) => void;
}

type Bad = Exclude<ConfigMapFiltersReport["state"], "unread" | "loaded">;

/** Problems told in one Event or log line; the rest is counted. */
const MAX_PROBLEMS_TOLD = 10;

const log = logger("filter");

/** Follows the ConfigMap. */
export class ConfigMapFilters {
  readonly #options: ConfigMapFiltersOptions;
  readonly #name: string;
  readonly #lastGood = new LastGood<readonly FilterDocument[]>();
  readonly #decided = Promise.withResolvers<void>();
  #state: ConfigMapFiltersReport["state"] = "unread";
  #loaded: { resourceVersion?: string; at: string } | undefined;
  #rejection: ConfigMapFiltersReport["lastRejection"];
  /** What it was before it became unreadable. */
  #stateBefore: ConfigMapFiltersReport["state"] = "unread";
  /** Seen since the last `init`. */
  #present = false;

  constructor(options: ConfigMapFiltersOptions) {
    this.#options = options;
    this.#name = `${options.configMap.namespace}/${options.configMap.name}`;
  }

  /** Resolves once the first read is decided. */
  get firstRead(): Promise<void> {
    return this.#decided.promise;
  }

  async take(event: WatchEvent<KubeObject>): Promise<void> {
    switch (event.type) {
      case "init":
        this.#present = false;
        return;
      case "apply":
        this.#present = true;
        // What reads filters (zod, CEL, YAML) is loaded with the first: there are clusters without any.
        this.#apply(event.object, await import("./document.ts"));
        return this.#decided.resolve();
      case "delete":
        this.#present = false;
        return this.#missing();
      case "synced":
        if (!this.#present) this.#missing();
        return this.#decided.resolve();
      case "error":
        return this.#failed(event);
    }
  }

  /** The watch goes on: what was read before the error still stands. */
  resumed(): void {
    if (this.#state !== "unreadable") return;
    this.#state = this.#stateBefore;
    log.info("Filters can be read again", { configMap: this.#name, state: this.#state });
    if (this.#state === "loaded") this.#tellRecovery(undefined, this.#loaded?.resourceVersion);
  }

  report(): ConfigMapFiltersReport {
    return {
      name: this.#name,
      state: this.#state,
      hasLastGood: this.#lastGood.value !== undefined,
      ...(this.#loaded?.resourceVersion !== undefined && { resourceVersion: this.#loaded.resourceVersion }),
      ...(this.#loaded && { loadedAt: this.#loaded.at }),
      ...(this.#rejection && { lastRejection: this.#rejection }),
    };
  }

  #apply(object: KubeObject, { parseFilterDocuments }: typeof import("./document.ts")): void {
    const text = textOf(object, this.#options.configMap.key);
    if (text === undefined) {
      const message = `expected the key "${this.#options.configMap.key}" in its data, received nothing`;
      return this.#bad("key_missing", [{ path: "data", message }], object);
    }
    const applied = this.#lastGood.apply(text, () => parseFilterDocuments(text, `ConfigMap ${this.#name}`));
    if (applied.kind === "rejected") return this.#bad("rejected", applied.problems, object);
    if (applied.kind === "loaded") this.#load(object);
  }

  #load({ metadata: { uid, resourceVersion } }: KubeObject): void {
    const recovered = this.#state !== "unread" && this.#state !== "loaded";
    this.#state = "loaded";
    this.#loaded = { ...(resourceVersion !== undefined && { resourceVersion }), at: this.#now() };
    const documents = this.#lastGood.value ?? [];
    this.#options.filters.replace("configMap", documents);
    this.#options.metrics.filterReload.inc({ result: "loaded" });
    log.info("Filters loaded", { configMap: this.#name, documents: documents.length, resourceVersion });
    if (recovered) this.#tellRecovery(uid, resourceVersion);
  }

  #tellRecovery(uid: string | undefined, resourceVersion: string | undefined): void {
    const count = this.#lastGood.value?.length ?? 0;
    const message = `Loaded filters "${this.#name}": ${count} documents are in force`;
    this.#emit({ type: "Normal", reason: "FiltersLoaded", message }, { uid, resourceVersion });
  }

  #missing(): void {
    if (this.#state === "missing") return;
    this.#bad("missing", [{ path: "", message: "the ConfigMap does not exist" }]);
  }

  #failed({ state, error }: Extract<WatchEvent, { type: "error" }>): void {
    // An API server that is away or starts decides nothing: the watch goes on, and readiness waits for its first answer.
    if (state === "failing" || this.#state === "unreadable") return;
    const message = error instanceof Error ? error.message : String(error);
    this.#stateBefore = this.#state;
    this.#bad("unreadable", [{ path: "", message }]);
    this.#decided.resolve();
  }

  /** Nothing changes but what is said: in the log, a metric, an Event and the status. */
  #bad(state: Bad, problems: readonly Problem[], object?: KubeObject): void {
    this.#state = state;
    if (state === "missing" || state === "key_missing") this.#lastGood.missing();
    const told = problems.slice(0, MAX_PROBLEMS_TOLD);
    const messages = told.map((problem) => formatProblem(`load filters "${this.#name}"`, problem));
    const resourceVersion = object?.metadata.resourceVersion;
    this.#rejection = {
      at: this.#now(),
      problems: messages,
      ...(resourceVersion !== undefined && { resourceVersion }),
    };
    this.#options.metrics.filterReload.inc({ result: state });
    const consequence = this.#lastGood.value
      ? "the last good filters stay in force"
      : "every event is allowed, as no good filters were read yet";
    for (const [index, { path, position }] of told.entries()) {
      log.error("Filters rejected", {
        error: messages[index],
        path,
        ...position,
        consequence,
        resourceVersion,
      });
    }
    const more = problems.length > told.length ? ` (and ${problems.length - told.length} more mistakes)` : "";
    const reason = state === "missing" ? "FiltersMissing" : "FiltersRejected";
    const message = `${messages.join("; ")}${more}; ${consequence}`;
    this.#emit({ type: "Warning", reason, message }, { uid: object?.metadata.uid, resourceVersion });
  }

  #emit(
    event: Pick<FilterEvent, "type" | "reason" | "message">,
    { uid, resourceVersion }: { uid: string | undefined; resourceVersion: string | undefined },
  ): void {
    const { namespace, name } = this.#options.configMap;
    this.#options.emit({
      ...event,
      regarding: {
        apiVersion: "v1",
        kind: "ConfigMap",
        namespace,
        name,
        ...(uid !== undefined && { uid }),
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
    });
  }

  #now(): string {
    return new Date(this.#options.clock.now()).toISOString();
  }
}

function textOf(object: KubeObject, key: string): string | undefined {
  const data = object.data;
  if (typeof data !== "object" || data === null || !Object.hasOwn(data, key)) return undefined;
  const text = (data as Readonly<Record<string, unknown>>)[key];
  return typeof text === "string" ? text : undefined;
}
