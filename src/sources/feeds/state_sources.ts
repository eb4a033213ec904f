/** Reads every state source on the leader: one informer for each resource of theirs that is served. */
import type { Clock } from "../../model/clock.ts";
import type { PayloadError } from "../../model/outcome.ts";
import type { KubeApi, KubeObject, ResourceType } from "../../kube/api.ts";
import type { WatcherOptions } from "../../kube/watch.ts";
import type { Intake, SourceRuntime } from "../../pipeline/intake.ts";
import { logger } from "../../telemetry/logging.ts";
import type { Metrics } from "../../telemetry/metrics.ts";
import { objectPayload } from "../active.ts";
import type { ConfigMapInput, InformerInput } from "../source.ts";
import type { SourceStates } from "../status.ts";
import { configMapPayload, CONFIGMAPS } from "./configmap.ts";
import type { EvaluatorOptions, Views } from "./evaluation.ts";
import { type InformerOptions, resourceName, runInformer } from "./informer.ts";

/** A state source in force. */
export interface StateSource {
  /** Unique: two Ingesters may feed one source. */
  readonly id: string;
  /** Differs whenever anything else here does: the source is then started anew. */
  readonly revision: string;
  readonly runtime: SourceRuntime;
  readonly input: InformerInput | ConfigMapInput;
  /** Set where it is one more door to a built-in source, which has views of its own. */
  readonly door?: string;
  /** False for core Events and ConfigMaps, which may speak of any resource. */
  readonly confined: boolean;
  readonly scope: Pick<WatcherOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly onEvents?: (count: number) => void;
}

/** Which resources the API server serves now. */
export interface Discovery {
  /** False until the first look: nothing is absent yet. */
  readonly polled: boolean;
  /** Whether this very version is served; undefined where that could not be asked: it is not absent for that. */
  serves(type: ResourceType): boolean | undefined;
  /** Told after each change, and once after the first look. */
  subscribe(listener: () => void): Disposable;
}

export interface StateSourcesOptions {
  readonly api: KubeApi;
  readonly discovery: Discovery;
  readonly intake: Intake;
  readonly views: Views;
  readonly states: SourceStates;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  /** This shard's namespaces; empty: all. */
  readonly namespaces: readonly string[];
  /** Whether this shard reads cluster-scoped resources. */
  readonly clusterScoped: boolean;
  readonly resyncMs: number;
  readonly configMapPollMs: number;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly watcherOptions?: InformerOptions["watcherOptions"];
}

/** One list and watch of a source. */
interface Watched {
  readonly type: ResourceType;
  /** Undefined: all namespaces. */
  readonly namespace?: string;
}

/** Where a resource is read, or why not: it is not served, or nobody could say whether it is. */
type Place = Watched | "absent" | "unknown";

interface Running {
  readonly type: ResourceType;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/** A source being read. */
interface Reading {
  readonly source: string;
  readonly informers: Map<string, Running>;
  /** The resources whose state is told, absent ones too. */
  told: readonly string[];
}

const log = logger("sources");

/** The state sources of this process. */
export class StateSources {
  readonly #options: StateSourcesOptions;
  readonly #readings = new Map<string, Reading>();
  readonly #listeners = new Set<() => void>();
  #sources: readonly StateSource[] = [];
  #active = false;

  constructor(options: StateSourcesOptions) {
    this.#options = options;
  }

  /** Replaces the set of sources; those that stay go on undisturbed. */
  set(sources: readonly StateSource[]): void {
    this.#sources = sources;
    if (this.#active) this.#reconcile();
  }

  /** Evaluates every state source in full again. */
  reevaluate(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Reads until `signal` aborts: the leader's part. */
  async run(signal: AbortSignal): Promise<void> {
    this.#active = true;
    using _subscription = this.#options.discovery.subscribe(() => this.#reconcile());
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#active = false;
    const ending = [...this.#readings.keys()].map((id) => this.#stop(id));
    await Promise.all(ending);
  }

  #reconcile(): void {
    if (!this.#active || !this.#options.discovery.polled) return;
    const wanted = new Map(this.#sources.map((source) => [`${source.id} ${source.revision}`, source]));
    const before = [...this.#readings.values()];
    for (const id of this.#readings.keys()) if (!wanted.has(id)) void this.#stop(id);
    for (const [id, source] of wanted) this.#reconcileSource(id, source);
    this.#closeViews(before);
  }

  /** What configuration no longer reads reports nothing any more, and nobody saw its findings end. */
  #closeViews(before: readonly Reading[]): void {
    const readings = [...this.#readings.values()];
    for (const { source, told } of before.filter((reading) => !readings.includes(reading))) {
      const kept = readings.filter((reading) => reading.source === source).flatMap((reading) => reading.told);
      for (const resource of told) {
        if (!kept.includes(resource)) this.#options.views.lost(source, resource, "absent");
      }
    }
  }

  #reconcileSource(id: string, source: StateSource): void {
    const reading = this.#readings.get(id) ??
      { source: source.runtime.name, informers: new Map<string, Running>(), told: [] };
    this.#readings.set(id, reading);
    const { informers } = reading;
    const served = this.#served(source);
    reading.told = [...served.keys()];
    const { states, views } = this.#options;
    for (const [resource, place] of served) {
      const watched = typeof place === "string" ? undefined : place;
      const present = informers.get(resource);
      if (watched && present?.type.version === watched.type.version) continue;
      if (present) void this.#end(informers, resource);
      if (watched) informers.set(resource, this.#start(source, { resource, ...watched }));
      else {
        states.set(source.runtime.name, resource, place === "absent" ? "absent" : "failing");
        views.lost(source.runtime.name, resource, place === "absent" ? "absent" : "unreadable");
      }
    }
  }

  /** What to watch, by a name of its own: the first served version of each resource, once or per namespace. */
  #served({ input, scope, door }: StateSource): ReadonlyMap<string, Place> {
    // A list is a complete view of what it is called: what the source itself reads must not be taken for a door's.
    const through = door === undefined ? "" : ` (${door})`;
    if (input.type === "configmap") {
      return new Map([[`${CONFIGMAPS.plural}${through}`, { type: CONFIGMAPS, namespace: input.namespace }]]);
    }
    const { namespaces, clusterScoped, discovery } = this.#options;
    const served = new Map<string, Place>();
    const place = (resource: string, watched: Watched) => {
      const before = served.get(resource) ?? "absent";
      if (typeof before !== "string") return;
      const isServed = watched.type.group === "" || discovery.serves(watched.type);
      served.set(resource, isServed ? watched : isServed === undefined ? "unknown" : before);
    };
    for (const type of input.resources) {
      const resource = `${resourceName(type)}${through}`;
      if (!type.namespaced || namespaces.length === 0 || scope.namespace) {
        if (type.namespaced || clusterScoped) place(resource, { type });
        continue;
      }
      for (const namespace of namespaces) {
        place(`${resourceName(type)}/${namespace}${through}`, { type, namespace });
      }
    }
    return served;
  }

  #start(
    source: StateSource,
    { resource, type, namespace }: Watched & { readonly resource: string },
  ): Running {
    const { states, configMapPollMs, resyncMs } = this.#options;
    const abort = new AbortController();
    const { input, runtime } = source;
    states.set(runtime.name, resource, "listing");
    const scope = input.type === "configmap" ? { labelSelector: input.labelSelector } : source.scope;
    const options: InformerOptions = {
      ...this.#options,
      source: runtime,
      type,
      resource,
      scope: namespace === undefined ? scope : { ...scope, namespace },
      resyncMs: input.type === "configmap" ? Math.min(configMapPollMs, resyncMs) : resyncMs,
      payloadOf: this.#payloadOf(source),
      onTaken: (result, payload) => {
        if (result.received === 0) return;
        states.sawEvents(runtime.name, payload.receivedAt);
        source.onEvents?.(result.received);
      },
      onReevaluate: (listener) => {
        this.#listeners.add(listener);
        return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
      },
    };
    const done = runInformer(options, abort.signal).catch((error) => {
      states.failed(runtime.name, "internal");
      log.crit("Reading a source ended", { source: runtime.name, resource, error });
    });
    return { type, abort, done };
  }

  #payloadOf({ input, runtime, confined }: StateSource): EvaluatorOptions["payloadOf"] {
    const { clock, payloadError } = this.#options;
    if (input.type === "informer") {
      return (object) => ({
        payload: objectPayload(object, { confined, receivedAt: clock.now() }),
        readable: true,
      });
    }
    return configMapPayload({
      key: input.key,
      now: () => clock.now(),
      onError: (error, object) => payloadError(runtime.name, error, correlationOf(object)),
    });
  }

  async #stop(id: string): Promise<void> {
    const reading = this.#readings.get(id);
    if (!reading) return;
    this.#readings.delete(id);
    const { source, informers, told } = reading;
    // Now, not when the informers have ended: by then their successor may have said how it stands.
    for (const resource of told) this.#options.states.forget(source, resource);
    await Promise.all([...informers.keys()].map((resource) => this.#end(informers, resource)));
  }

  async #end(informers: Map<string, Running>, resource: string): Promise<void> {
    const informer = informers.get(resource);
    informers.delete(resource);
    informer?.abort.abort();
    await informer?.done;
  }
}

function correlationOf({ metadata }: KubeObject): string {
  return `configmaps/${metadata.namespace ?? ""}/${metadata.name ?? ""}@${metadata.resourceVersion ?? ""}`;
}
