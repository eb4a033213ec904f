/** The filters of the ConfigMap. The last valid text is active. */
import { errorMessage } from "../model/error_message.ts";
import type { Clock } from "../model/time.ts";
import type { KubeObject } from "../kube/api.ts";
import type { WatchEvent } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { FilterDocument, LiveFilters } from "./filter.ts";
import { type FilterStatus, messageWith } from "./filter_status.ts";
import { LastGood } from "./last_good.ts";
import { formatProblem, type Problem } from "../text/problem.ts";
import { type KnownSource, warningsOf } from "./warnings.ts";

/** The results of reading a filter document: values of the label `result` of `filter_reload_total`. */
export const RELOAD_RESULTS = ["loaded", "rejected", "key_missing", "missing", "unreadable"] as const;

/** The state of the ConfigMap's filters, for `/tools/status`. */
export interface ConfigMapFiltersReport {
  readonly name: string;
  /** `loaded`: the stored text is active. Else the last valid one is, if there was one. */
  readonly state: "unread" | typeof RELOAD_RESULTS[number];
  /** False if every event passes because no valid text was read yet. */
  readonly hasLastGood: boolean;
  /** resourceVersion and time of the active text. */
  readonly resourceVersion?: string;
  readonly loadedAt?: string;
  readonly lastRejection?: {
    readonly at: string;
    readonly resourceVersion?: string;
    readonly problems: readonly string[];
  };
  /** Settings of the active filters that are valid but probably mistakes. */
  readonly warnings: readonly string[];
}

/** A Kubernetes Event and the object it is about. */
export interface FilterEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: "FiltersRejected" | "FiltersLoaded" | "FiltersMissing" | "FiltersWarning";
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
  readonly status: Pick<FilterStatus, "say">;
  /** The known sources; undefined until they have been read. */
  readonly knownSources: () => readonly KnownSource[] | undefined;
}

type Bad = Exclude<ConfigMapFiltersReport["state"], "unread" | "loaded">;

/** Reasons in the status of the filters. */
const REASONS: Readonly<Record<Bad | "loaded", string>> = {
  loaded: "Loaded",
  rejected: "Invalid",
  key_missing: "KeyMissing",
  missing: "Missing",
  unreadable: "Unreadable",
};

/** Most problems in one Event or log line; of the rest only the number is given. */
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
  /** The state before the ConfigMap became unreadable, and why it was bad. */
  #before: Pick<ConfigMapFiltersReport, "state" | "lastRejection"> = { state: "unread" };
  /** Seen since the last `init`. */
  #present = false;
  /** The text in force. */
  #text: string | undefined;
  /** The last good text of an earlier run. */
  #restored: Promise<string | undefined> | undefined;
  #warnings: readonly string[] = [];

  constructor(options: ConfigMapFiltersOptions) {
    this.#options = options;
    this.#name = `${options.configMap.namespace}/${options.configMap.name}`;
  }

  /** Resolves once the first read is decided. */
  get firstRead(): Promise<void> {
    return this.#decided.promise;
  }

  /** Sets the last valid text of an earlier run. It becomes active if the first read finds no valid text. */
  restoreFrom(text: Promise<string | undefined>): void {
    this.#restored = text;
  }

  /** Call when the known sources changed: warnings may have appeared or disappeared. */
  sourcesChanged(): void {
    const known = this.#options.knownSources();
    if (!known) return;
    const told = this.#warnings.join("; ");
    this.#warnings = (this.#lastGood.value ?? []).flatMap((document) => {
      const warnings = warningsOf(document, { known, definedBy: "an Ingester" });
      return warnings.map((warning) => `at sources.${document.source}: ${warning}`);
    });
    const message = this.#warnings.join("; ");
    if (message === told) return;
    this.#say();
    if (message === "") return;
    log.warn("Filters are valid but look like a mistake", { configMap: this.#name, message });
    this.#emit({ type: "Warning", reason: "FiltersWarning", message }, {
      uid: undefined,
      resourceVersion: this.#loaded?.resourceVersion,
    });
  }

  async take(event: WatchEvent<KubeObject>): Promise<void> {
    switch (event.type) {
      case "init":
        this.#present = false;
        return;
      case "apply":
        this.#present = true;
        // The modules that read filters (zod, CEL, YAML) are loaded with the first filter: some clusters have none.
        await this.#apply(event.object, await import("./document.ts"));
        return this.#decided.resolve();
      case "delete":
        this.#present = false;
        return await this.#missing();
      case "synced":
        if (!this.#present) await this.#missing();
        return this.#decided.resolve();
      case "error":
        return await this.#failed(event);
    }
  }

  /** Call when the watch has recovered from an error without a new list: the objects read before are still current. */
  resumed(): void {
    if (this.#state !== "unreadable") return;
    this.#state = this.#before.state;
    this.#rejection = this.#before.lastRejection;
    log.info("Filters can be read again", { configMap: this.#name, state: this.#state });
    this.#say();
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
      warnings: this.#warnings,
    };
  }

  async #apply(
    object: KubeObject,
    { parseFilterDocuments }: typeof import("./document.ts"),
  ): Promise<void> {
    const text = textOf(object, this.#options.configMap.key);
    if (text === undefined) {
      const message = `expected the key "${this.#options.configMap.key}" in its data, received nothing`;
      return await this.#bad("key_missing", [{ path: "data", message }], object);
    }
    const applied = this.#lastGood.apply(text, () => parseFilterDocuments(text, `ConfigMap ${this.#name}`));
    if (applied.kind === "rejected") return await this.#bad("rejected", applied.problems, object);
    if (applied.kind === "loaded") this.#load(object, text);
  }

  #load({ metadata: { uid, resourceVersion } }: KubeObject, text: string): void {
    const recovered = this.#state !== "unread" && this.#state !== "loaded";
    this.#state = "loaded";
    this.#text = text;
    this.#loaded = { ...(resourceVersion !== undefined && { resourceVersion }), at: this.#now() };
    const documents = this.#lastGood.value ?? [];
    this.#options.filters.replace("configMap", documents);
    this.#options.metrics.filterReload.inc({ result: "loaded" });
    log.info("Filters loaded", { configMap: this.#name, documents: documents.length, resourceVersion });
    if (recovered) this.#tellRecovery(uid, resourceVersion);
    this.#warnings = [];
    this.sourcesChanged();
    this.#say();
  }

  /** Reports the state of the filters, with the active text, which the next run restores. */
  #say(): void {
    if (this.#state === "unread") return;
    const problems = this.#rejection?.problems.join("; ") ?? this.#absence();
    const isLoaded = this.#state === "loaded";
    this.#options.status.say({
      lastGood: this.#text,
      ready: isLoaded,
      reason: REASONS[this.#state],
      message: isLoaded ? messageWith(this.#warnings, "In force") : `${problems}; ${this.#consequence()}`,
    });
  }

  #absence(): string {
    return `The ConfigMap "${this.#name}" does not exist`;
  }

  #consequence(): string {
    return this.#lastGood.value
      ? "the last good filters stay in force"
      : "every event is allowed, as no good filters were read yet";
  }

  /** Activates the last valid filters of an earlier run if this run has none. */
  async #restoreLastGood(): Promise<void> {
    if (this.#lastGood.value) return;
    const text = await this.#restored;
    this.#restored = undefined;
    if (text === undefined) return;
    const { parseFilterDocuments } = await import("./document.ts");
    const read = parseFilterDocuments(text, `ConfigMap ${this.#name}`);
    if (!read.ok) {
      log.warn("The last good filters of an earlier run cannot be read", {
        configMap: this.#name,
        error: read.problems[0]?.message,
      });
      return;
    }
    this.#lastGood.restore(read.value);
    this.#text = text;
    this.#options.filters.replace("configMap", read.value);
    log.info("The last good filters are restored", { configMap: this.#name, documents: read.value.length });
  }

  #tellRecovery(uid: string | undefined, resourceVersion: string | undefined): void {
    const count = this.#lastGood.value?.length ?? 0;
    const message = `Loaded filters "${this.#name}": ${count} documents are in force`;
    this.#emit({ type: "Normal", reason: "FiltersLoaded", message }, { uid, resourceVersion });
  }

  async #missing(): Promise<void> {
    if (this.#state === "missing") return;
    await this.#restoreLastGood();
    if (this.#state === "unread" && !this.#lastGood.value) return this.#neverConfigured();
    await this.#bad("missing", [{ path: "", message: "the ConfigMap does not exist" }]);
  }

  /** Handles a missing ConfigMap in a cluster where no filter was ever configured: that is not an error. */
  #neverConfigured(): void {
    this.#state = "missing";
    this.#options.metrics.filterReload.inc({ result: "missing" });
    const message = `${this.#absence()}; ${this.#consequence()}`;
    this.#emit({ type: "Normal", reason: "FiltersMissing", message }, {
      uid: undefined,
      resourceVersion: undefined,
    });
    this.#say();
  }

  async #failed({ state, error }: Extract<WatchEvent, { type: "error" }>): Promise<void> {
    // An unreachable or starting API server decides nothing: the watch continues, and readiness waits for its first answer.
    if (state === "failing" || this.#state === "unreadable") return;
    const message = errorMessage(error);
    this.#before = { state: this.#state, ...(this.#rejection && { lastRejection: this.#rejection }) };
    await this.#bad("unreadable", [{ path: "", message }]);
    this.#decided.resolve();
  }

  /** Reports a bad text in the log, a metric, an Event and the status. The active filters stay. */
  async #bad(state: Bad, problems: readonly Problem[], object?: KubeObject): Promise<void> {
    await this.#restoreLastGood();
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
    const consequence = this.#consequence();
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
    this.#say();
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
