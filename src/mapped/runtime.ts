/** Runs the sources of Ingesters and ObservationMappings: watches the objects, plans, applies the plan and writes conditions. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { ChangeSignal } from "../model/change_signal.ts";
import type { Clock } from "../model/time.ts";
import { isObject } from "../model/json.ts";
import type { KubeApi, KubeObject, ResourceType } from "../kube/api.ts";
import type { Conditions } from "../kube/conditions.ts";
import { Denial } from "../kube/denial.ts";
import type { Discovery, GroupVersion } from "../kube/discovery.ts";
import { elapsed, Pause, type Sleep } from "../kube/retry.ts";
import { runStepsInSlices } from "../model/turns.ts";
import { createTimeSlices, type TimeSlices } from "../pipeline/limits.ts";
import { statusTarget, StatusWriter } from "../kube/status_writer.ts";
import { watch, type WatchEvent, type WatchTuning } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { feedId, secretRefsOf, type Source } from "../sources/source.ts";
import type { SourceState } from "../sources/status.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "./kinds.ts";
import type { Plan } from "./plan.ts";
import { WebhookSecrets } from "./secrets.ts";
import { type InformerInput, NOT_SERVED, servedState } from "./served.ts";
import { addedEvents, conditionOf, countersText, type EventCount, mergeCounts } from "./status.ts";
import { isTrustedNamespace, type TrustContext } from "./trust.ts";
import { DISCOVERING, idOf, quotedId, type Verdict } from "./verdict.ts";

export interface MappedOptions {
  readonly api: KubeApi;
  readonly discovery: Pick<Discovery, "served" | "subscribe" | "refresh" | "want">;
  readonly conditions: Pick<Conditions, "set" | "forget">;
  readonly builtins: ReadonlyMap<string, Source>;
  readonly trust: TrustContext;
  /** The state of the one feed of an active source. */
  readonly stateOf: (source: Source) => SourceState;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly sleep?: Sleep;
  readonly watchTuning?: WatchTuning;
}

/**
 * What the configuration says of a source that is not active. `open`: an object may make it active again, or the objects are
 * not known yet; its findings are not resolved meanwhile. `absent`: its resources are not served. `disabled`: its objects
 * have `enabled: false`. `none`: no object names it.
 */
export type Claim = "open" | "absent" | "disabled" | "none";

const log = logger("ingesters");
const NO_PLAN: Plan = { active: new Map(), verdicts: new Map(), good: new Map(), read: new Map() };
/** In this order of precedence, if objects of one source have different claims. */
const CLAIMS: readonly Claim[] = ["open", "absent", "disabled"];
const KINDS = [INGESTERS, OBSERVATION_MAPPINGS];
/** How often the states of feeds are compared with the conditions. Without a change this sends no request. */
const STATES_MS = 2_000;
/** Longest time of a plan of MAX_MAPPED objects before the liveness check fails. */
const PLAN_TURN_MS = 60_000;
/** Changes that follow each other are decided together, at most this long after the first. */
const MIN_PLAN_INTERVAL_MS = 250;
/** Most refused objects of untrusted namespaces that are kept (metadata only), to write their conditions. */
const MAX_FOREIGN = 1_000;
/** An object's counters are written at most once in this time, and those of all objects at this rate. */
const COUNTS = { minIntervalMs: 30_000, perSecond: 2, flushMs: 1_000 };

type Objects = Map<string, KubeObject>;

/** The sources of a process that come from configuration. */
export class MappedSources {
  readonly #options: MappedOptions;
  /** Fires when the active sources change. */
  readonly changes = new ChangeSignal();
  readonly #secrets: WebhookSecrets;
  readonly #counts: StatusWriter<EventCount>;
  readonly #pause: Pause;
  /** A plan of hundreds of objects yields the event loop. */
  readonly #slices: TimeSlices;
  /** By kind; absent until its first list is complete or has failed. */
  readonly #objects = new Map<ResourceType, Objects>();
  /** Kinds whose objects are known: read once, or not served. */
  readonly #read = new Set<ResourceType>();
  readonly #settled = Promise.withResolvers<void>();
  #isSettled = false;
  /** The objects as they were when the plan was made. */
  #planned: readonly KubeObject[] = [];
  #plan: Plan = NO_PLAN;
  #plannedAt = -Infinity;
  /** By source; undefined until the next call of claims() builds it. */
  #claims: ReadonlyMap<string, Claim> | undefined;
  #told = "";
  #isDirty = true;

  constructor(options: MappedOptions) {
    const { api, clock, sleep } = options;
    this.#options = options;
    options.discovery.want(() => this.groupVersions);
    options.metrics.watcherErrors.inc({ watcher: "ingesters", error_type: "refused" }, 0);
    this.#pause = new Pause(sleep);
    this.#slices = createTimeSlices(clock);
    this.#secrets = new WebhookSecrets({ api, clock, sleep, onChange: () => this.#decide() });
    this.#counts = new StatusWriter({
      api,
      clock,
      ...COUNTS,
      merge: mergeCounts,
      statusOf: addedEvents,
      ...(sleep && { sleep }),
    });
  }

  /** Resolves once the first plan is made: until then no mapped webhook answers. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** True once `settled` is resolved. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The active sources. */
  get active(): readonly Source[] {
    return [...this.#plan.active.values()];
  }

  /** The groups and versions that informers name. */
  get groupVersions(): readonly GroupVersion[] {
    return this.#informers();
  }

  /** The objects' claim to a source that is not active. While one is `open`, no view of the source counts as complete. */
  claims(source: string): Claim {
    if (this.#read.size < KINDS.length) return "open";
    this.#claims ??= this.#readClaims();
    return this.#claims.get(source) ?? "none";
  }

  /** The sources that objects name, active or not. */
  get named(): readonly string[] {
    this.#claims ??= this.#readClaims();
    return [...this.#claims.keys()];
  }

  /** Counts events of an active source. */
  noteEvents(id: string, count: number): void {
    const object = this.#plan.good.has(id) ? this.#find(id) : undefined;
    if (!object || count === 0) return;
    this.#counts.add(statusTarget(typeOf(object), object), { count, lastAt: this.#options.clock.now() });
  }

  /** Watches, plans and writes conditions until `signal` aborts. */
  async run(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<void> {
    using _subscription = this.#options.discovery.subscribe(() => this.#decide());
    await Promise.all([
      ...KINDS.map((type) => this.#watch(type, { signal, beat: beat.of(type.kind) })),
      this.#decideAlways(signal, beat.of("plan")),
      this.#secrets.run(signal, beat.of("Secrets")),
      this.#counts.run(signal, beat.of("counts")),
    ]);
  }

  async #watch(
    type: ResourceType,
    { signal, beat }: { readonly signal: AbortSignal; readonly beat: Beat },
  ): Promise<void> {
    const { api, clock, metrics, watchTuning } = this.#options;
    const denial = new Denial(clock);
    let listing: Map<string, KubeObject> | undefined;
    for await (const heard of watch(api, type, { ...watchTuning, signal, clock, metrics, beat })) {
      const event = denial.judge(heard);
      switch (event.type) {
        case "init":
          listing = new Map();
          break;
        case "synced":
          this.#read.add(type);
          this.#replace(type, listing ?? new Map());
          listing = undefined;
          break;
        case "error":
          this.#failed(type, event.state);
          break;
        default:
          if (listing) this.#put(listing, event);
          else this.#change(type, event);
      }
    }
  }

  /** Handles a failed watch. Without the CRD, or at the start without permission to read, a kind has no objects. Other errors change nothing. */
  #failed(type: ResourceType, state: Extract<WatchEvent, { type: "error" }>["state"]): void {
    if (state === "absent") this.#read.add(type);
    if (state === "absent" || (state === "forbidden" && !this.#objects.has(type))) {
      this.#replace(type, new Map());
    }
  }

  #put(
    objects: Map<string, KubeObject>,
    { type, object }: Extract<WatchEvent, { type: "apply" | "delete" }>,
  ): void {
    const id = idOf(object);
    if (type === "delete") objects.delete(id);
    else if (isTrustedNamespace(object.metadata.namespace ?? "", this.#options.trust)) {
      objects.set(id, object);
    } else if (objects.has(id) || objects.size < MAX_FOREIGN) objects.set(id, headOf(object));
  }

  #replace(type: ResourceType, objects: Objects): void {
    const before = this.#objects.get(type);
    this.#objects.set(type, objects);
    let isNews = objects.size !== before?.size;
    for (const [id, object] of before ?? []) {
      if (this.#needsPlan(type, { before: object, now: objects.get(id) })) isNews = true;
    }
    if (isNews) this.#decide();
  }

  /** Takes one object that changed. */
  #change(type: ResourceType, event: Extract<WatchEvent, { type: "apply" | "delete" }>): void {
    const objects = this.#objects.get(type) ?? new Map<string, KubeObject>();
    this.#objects.set(type, objects);
    const id = idOf(event.object);
    const before = objects.get(id);
    this.#put(objects, event);
    const now = objects.get(id);
    if (before ? this.#needsPlan(type, { before, now }) : now) this.#decide();
  }

  /** True where a new plan is needed. Forgets what is known of an object that is gone. */
  #needsPlan(
    type: ResourceType,
    { before, now }: { readonly before: KubeObject; readonly now: KubeObject | undefined },
  ): boolean {
    const target = statusTarget(type, before);
    if (now?.metadata.uid !== target.uid) {
      this.#options.conditions.forget(type, before);
      this.#counts.forget(target);
      return true;
    }
    if (countersText(now) !== countersText(before)) this.#counts.sawWrite(target);
    // Status writes of this process come back through the watch: they do not need a new plan.
    return now.metadata.generation !== before.metadata.generation;
  }

  #decide(): void {
    this.#isDirty = true;
    this.#claims = undefined;
    this.#pause.wake();
  }

  #readClaims(): ReadonlyMap<string, Claim> {
    const claims = new Map<string, Claim>();
    for (const object of this.#all()) {
      const { spec } = object;
      const source = isObject(spec) ? spec.source ?? spec.sourceName : undefined;
      if (!isObject(spec) || typeof source !== "string") continue;
      const isAbsent = this.#plan.verdicts.get(idOf(object))?.reason === NOT_SERVED;
      const claim = spec.enabled === false ? "disabled" : isAbsent ? "absent" : "open";
      const other = claims.get(source) ?? "none";
      claims.set(source, CLAIMS.find((each) => each === claim || each === other) ?? claim);
    }
    return claims;
  }

  /** The one loop that plans and writes conditions. */
  async #decideAlways(signal: AbortSignal, beat: Beat): Promise<void> {
    const { clock, sleep } = this.#options;
    do {
      beat.within(PLAN_TURN_MS);
      if (this.#isDirty && this.#objects.size === KINDS.length) {
        const leftMs = this.#plannedAt + MIN_PLAN_INTERVAL_MS - clock.monotonic();
        if (leftMs > 0 && !await elapsed(leftMs, { signal, sleep })) return;
        this.#isDirty = false;
        await this.#replan();
        this.#isSettled = true;
        this.#settled.resolve();
      }
      this.#sayConditions();
    } while (await this.#pause.wait(STATES_MS, signal));
  }

  async #replan(): Promise<void> {
    this.#planned = this.#all();
    this.#plannedAt = this.#options.clock.monotonic();
    const plan = await this.#makePlan(this.#planned);
    this.#logChanges(plan.verdicts);
    this.#plan = plan;
    this.#claims = undefined;
    this.#secrets.want(this.active.flatMap(secretRefsOf));
    const { discovery, metrics } = this.#options;
    if (this.#informers().some((input) => discovery.served(input).state === "pending")) discovery.refresh();
    metrics.ingestersActive.set(plan.active.size);
    const told = this.active.flatMap(({ feeds }) => feeds.map(feedId)).join("\n");
    if (told === this.#told) return;
    this.#told = told;
    this.changes.raise();
  }

  async #makePlan(objects: readonly KubeObject[]): Promise<Plan> {
    if (objects.length === 0) return NO_PLAN;
    // The modules that compile objects (zod, CEL, schemas) are loaded when there is a first object.
    const { planSteps } = await import("./plan.ts");
    const { builtins, trust, discovery } = this.#options;
    const steps = planSteps(objects, {
      builtins,
      trust,
      served: (input) => servedState(input, discovery.served(input)),
      secret: (ref) => this.#secrets.state(ref),
      lastGood: this.#plan.good,
      lastRead: this.#plan.read,
    });
    return await runStepsInSlices(steps, this.#slices);
  }

  /** Passes the conditions to their writer: the verdict on the planned generation, and the state of its feed. */
  #sayConditions(): void {
    const { conditions, stateOf } = this.#options;
    for (const planned of this.#planned) {
      const id = idOf(planned);
      const verdict = this.#plan.verdicts.get(id);
      const object = this.#find(id);
      if (!object || object.metadata.uid !== planned.metadata.uid) continue;
      if (!verdict || verdict.reason === DISCOVERING) continue;
      const source = this.#plan.active.get(id);
      const said = conditionOf(verdict, source && { source, state: stateOf(source) });
      conditions.set(typeOf(object), object, {
        ...said,
        observedGeneration: planned.metadata.generation ?? 0,
      });
    }
  }

  #logChanges(verdicts: ReadonlyMap<string, Verdict>): void {
    for (const [id, verdict] of verdicts) {
      const before = this.#plan.verdicts.get(id);
      if (before?.reason === verdict.reason && before.message === verdict.message) continue;
      const { reason, message } = verdict;
      if (verdict.ready) log.info("Source by configuration in force", { ingester: id, message });
      else if (reason === "Disabled" || reason === DISCOVERING) {
        log.info("Source by configuration waits", { ingester: id, reason });
      } else {
        this.#options.metrics.watcherErrors.inc({ watcher: "ingesters", error_type: "refused" });
        log.error("Source by configuration refused", {
          ingester: id,
          reason,
          error: `Cannot load ${quotedId(id)}: ${message}`,
        });
      }
    }
  }

  #all(): KubeObject[] {
    return [...this.#objects.values()].flatMap((objects) => [...objects.values()]);
  }

  #find(id: string): KubeObject | undefined {
    for (const objects of this.#objects.values()) {
      const object = objects.get(id);
      if (object) return object;
    }
  }

  #informers(): InformerInput[] {
    return [...this.#plan.good.values()].flatMap(({ compiled: { input } }) =>
      input.type === "informer" ? [input] : []
    );
  }
}

/** The part of an object that identifies it and holds its conditions. */
function headOf({ kind, metadata, status }: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion, generation, creationTimestamp } = metadata;
  const head = { name, namespace, uid, resourceVersion, generation, creationTimestamp };
  const conditions = isObject(status) ? status.conditions : undefined;
  return {
    ...(kind === undefined ? {} : { kind }),
    metadata: JSON.parse(JSON.stringify(head)),
    ...(conditions === undefined ? {} : { status: { conditions } }),
  };
}

function typeOf({ kind }: KubeObject): ResourceType {
  return kind === OBSERVATION_MAPPINGS.kind ? OBSERVATION_MAPPINGS : INGESTERS;
}
