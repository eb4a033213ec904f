/** Reads every state source on the leader: one informer for each resource of theirs that is served. */
import type { Clock } from "../../model/clock.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { viewId, type ViewKey, viewName, type Views } from "../../model/view.ts";
import type { KubeApi, KubeObject, ResourceType } from "../../kube/api.ts";
import type { Discovery, Served } from "../../kube/discovery.ts";
import type { WatchOptions } from "../../kube/watch.ts";
import type { Intake, SourceRuntime } from "../../pipeline/intake.ts";
import { logger } from "../../telemetry/logging.ts";
import type { Metrics } from "../../telemetry/metrics.ts";
import { objectPayload } from "../active.ts";
import type { ConfigMapInput, InformerInput } from "../source.ts";
import type { SourceStates } from "../status.ts";
import { configMapPayload, CONFIGMAPS } from "./configmap.ts";
import type { EvaluatorOptions } from "./evaluation.ts";
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
  readonly scope: Pick<WatchOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly onEvents?: (count: number) => void;
}

export interface StateSourcesOptions {
  readonly api: KubeApi;
  readonly discovery: Pick<Discovery, "served" | "subscribe">;
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

/** A view, and the served type it is read as, or why it is not: not served, or discovery could not tell (yet). */
interface Place {
  readonly view: ViewKey;
  readonly type: ResourceType | Exclude<Served["state"], "served">;
}

interface Running {
  readonly type: ResourceType;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/** A source being read. */
interface Reading {
  /** By the ids of their views. */
  readonly informers: Map<string, Running>;
  /** The views whose state is told, absent ones too. */
  told: readonly ViewKey[];
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
    this.#reconcile();
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#active = false;
    const ending = [...this.#readings.keys()].map((id) => this.#stop(id));
    await Promise.all(ending);
  }

  #reconcile(): void {
    if (!this.#active) return;
    const wanted = new Map(this.#sources.map((source) => [`${source.id} ${source.revision}`, source]));
    const before = [...this.#readings.values()];
    for (const id of this.#readings.keys()) if (!wanted.has(id)) void this.#stop(id);
    for (const [id, source] of wanted) this.#reconcileSource(id, source);
    this.#closeViews(before);
  }

  /** Views that configuration removed report nothing any more; the end of their findings was not observed. */
  #closeViews(before: readonly Reading[]): void {
    const readings = [...this.#readings.values()];
    const kept = new Set(readings.flatMap(({ told }) => told.map(viewId)));
    for (const { told } of before.filter((reading) => !readings.includes(reading))) {
      for (const view of told) {
        if (!kept.has(viewId(view))) this.#options.views.lost(view, "absent");
      }
    }
  }

  #reconcileSource(id: string, source: StateSource): void {
    const reading = this.#readings.get(id) ??
      { informers: new Map<string, Running>(), told: [] };
    this.#readings.set(id, reading);
    const { informers } = reading;
    const places = this.#places(source).filter(({ type }) => type !== "pending");
    reading.told = places.map(({ view }) => view);
    const { states, views } = this.#options;
    for (const { view, type } of places) {
      const id = viewId(view);
      const present = informers.get(id);
      const served = typeof type === "string" ? undefined : type;
      if (served && present?.type.version === served.version) continue;
      if (present) void this.#end(informers, id);
      if (served) informers.set(id, this.#start(source, { view, type: served }));
      else {
        states.set(view, type === "absent" ? "absent" : "failing");
        views.lost(view, type === "absent" ? "absent" : "unreadable");
      }
    }
  }

  /** What to watch: the first served version of each resource, once or per namespace. */
  #places({ input, runtime, scope, door }: StateSource): readonly Place[] {
    // A list is a complete view of its key: an Ingester's list must not stand for that of the source itself.
    const ingester = door === undefined ? {} : { ingester: door };
    if (input.type === "configmap") {
      return [{ view: { source: runtime.name, resource: CONFIGMAPS.plural, ...ingester }, type: CONFIGMAPS }];
    }
    const { namespaces, clusterScoped, discovery } = this.#options;
    const places = new Map<string, Place>();
    const place = (type: ResourceType, namespace?: string) => {
      const view: ViewKey = {
        source: runtime.name,
        resource: resourceName(type),
        ...(namespace === undefined ? {} : { namespace }),
        ...ingester,
      };
      const before = places.get(viewId(view))?.type ?? "absent";
      if (typeof before !== "string") return;
      const now = servedState(discovery, type);
      places.set(viewId(view), { view, type: now === "served" ? type : now === "absent" ? before : now });
    };
    for (const type of input.resources) {
      if (!type.namespaced || namespaces.length === 0 || scope.namespace) {
        if (type.namespaced || clusterScoped) place(type);
        continue;
      }
      for (const namespace of namespaces) place(type, namespace);
    }
    return [...places.values()];
  }

  #start(
    source: StateSource,
    { view, type }: { readonly view: ViewKey; readonly type: ResourceType },
  ): Running {
    const { states, configMapPollMs, resyncMs } = this.#options;
    const abort = new AbortController();
    const { input, runtime } = source;
    states.set(view, "listing");
    const scope = input.type === "configmap"
      ? { labelSelector: input.labelSelector, namespace: input.namespace }
      : { ...source.scope, ...(view.namespace === undefined ? {} : { namespace: view.namespace }) };
    const options: InformerOptions = {
      ...this.#options,
      source: runtime,
      type,
      view,
      scope,
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
      log.crit("Reading a source ended", { source: runtime.name, resource: viewName(view), error });
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
    const { informers, told } = reading;
    // At once, not when the informers have ended: by then their successors may have set states.
    for (const view of told) this.#options.states.forget(view);
    await Promise.all([...informers.keys()].map((id) => this.#end(informers, id)));
  }

  async #end(informers: Map<string, Running>, view: string): Promise<void> {
    const informer = informers.get(view);
    informers.delete(view);
    informer?.abort.abort();
    await informer?.done;
  }
}

/** Whether this very version of a resource is served. The core group always is. */
function servedState(discovery: Pick<Discovery, "served">, type: ResourceType): Served["state"] {
  if (type.group === "") return "served";
  const served = discovery.served(type);
  if (served.state !== "served") return served.state;
  return served.resources.some(({ plural }) => plural === type.plural) ? "served" : "absent";
}

function correlationOf({ metadata }: KubeObject): string {
  return `configmaps/${metadata.namespace ?? ""}/${metadata.name ?? ""}@${metadata.resourceVersion ?? ""}`;
}
