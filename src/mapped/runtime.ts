/** Keeps the sources of Ingesters and ObservationMappings in force, live, and says on each object how it stands. */
import type { Clock } from "../model/clock.ts";
import { isObject } from "../model/json.ts";
import type { KubeApi, KubeObject, ResourceType } from "../kube/api.ts";
import type { Discovery, GroupVersion } from "../kube/discovery.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import { watch, type WatchEvent, type WatchTuning } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { feedId, type Source } from "../sources/source.ts";
import type { SourceState } from "../sources/status.ts";
import type { TrustContext } from "./trust.ts";
import type { Good } from "./activate.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "./kinds.ts";
import type { Plan, ReadObject } from "./plan.ts";
import { type SecretRef, WebhookSecrets } from "./secrets.ts";
import { DISCOVERING, type InformerInput, NOT_SERVED, servedState } from "./served.ts";
import { StatusWriter } from "./status_writer.ts";
import { idOf, type Verdict } from "./verdict.ts";

export interface MappedOptions {
  readonly api: KubeApi;
  readonly discovery: Pick<Discovery, "served" | "subscribe" | "refresh">;
  readonly builtins: ReadonlyMap<string, Source>;
  readonly trust: TrustContext;
  /** Told of the whole set whenever it changes. Webhooks run on every replica, the others on the leader. */
  readonly onSources: (sources: readonly Source[]) => void;
  /** The state of the one feed of a source in force. */
  readonly stateOf: (source: Source) => SourceState;
  /** Conditions are written by the leader alone. */
  readonly isLeader: () => boolean;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** How often Secrets are looked up; 30 s. */
  readonly lookUpMs?: number;
  /** Least time between two writes of an object's counters; 30 s. */
  readonly countersMs?: number;
  readonly sleep?: Sleep;
  readonly watchTuning?: WatchTuning;
}

const log = logger("ingesters");
/** `open`: an object may read the source again, or they are not known yet. `absent`: what they name is not served. */
export type Claim = "open" | "absent" | "disabled" | "none";

const NO_PLAN: Plan = { active: new Map(), verdicts: new Map(), good: new Map(), read: new Map() };
/** Of several objects the first of these counts. */
const CLAIMS: readonly Claim[] = ["open", "absent", "disabled"];
const KINDS = [INGESTERS, OBSERVATION_MAPPINGS];
/** How often states and counters are looked at: no request is made where nothing changed. */
const TICK_MS = 2_000;

/** The sources of a process that come from configuration. */
export class MappedSources {
  readonly #options: MappedOptions;
  readonly #secrets: WebhookSecrets;
  /** By kind; undefined until its first list, or the news that it cannot be had, is in. */
  readonly #objects = new Map<ResourceType, Map<string, KubeObject>>();
  /** Kinds whose objects are known: read once, or not served. */
  readonly #read = new Set<ResourceType>();
  readonly #writer: StatusWriter;
  #lastGood: ReadonlyMap<string, Good> = new Map();
  #lastRead: ReadonlyMap<string, ReadObject> = new Map();
  #plan: Plan = NO_PLAN;
  #told = "";
  #lookedUpAt = -Infinity;
  #isDirty = true;
  #wake: () => void = () => {};
  readonly #settled = Promise.withResolvers<void>();

  constructor(options: MappedOptions) {
    this.#options = options;
    this.#secrets = new WebhookSecrets(options.api);
    this.#writer = new StatusWriter(options, { written: (object, as) => this.#written(object, as) });
  }

  /** Resolves once the first plan is made: until then no mapped webhook answers. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** The sources in force now. */
  get active(): readonly Source[] {
    return [...this.#plan.active.values()];
  }

  /** The groups and versions that informers name. */
  get groupVersions(): readonly GroupVersion[] {
    return this.#informers(this.#plan);
  }

  /** How a source stands that may be named without being in force: what others say of it is no complete view. */
  claims(source: string): Claim {
    if (this.#read.size < KINDS.length) return "open";
    const found = new Set<Claim>();
    for (const object of this.#all()) {
      const { spec } = object;
      if (!isObject(spec) || (spec.source !== source && spec.sourceName !== source)) continue;
      const isAbsent = this.#plan.verdicts.get(idOf(object))?.reason === NOT_SERVED;
      found.add(spec.enabled === false ? "disabled" : isAbsent ? "absent" : "open");
    }
    return CLAIMS.find((claim) => found.has(claim)) ?? "none";
  }

  /** A source in force brought events. */
  noteEvents(id: string, count: number): void {
    if (this.#plan.good.has(id)) this.#writer.noteEvents(id, count);
  }

  /** Watches, decides and reports until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    using _subscription = this.#options.discovery.subscribe(() => this.#decide());
    const watches = KINDS.map((type) => this.#watch(type, signal));
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    await Promise.all([...watches, this.#decideAlways(signal), this.#tickAlways(signal)]);
  }

  async #watch(type: ResourceType, signal: AbortSignal): Promise<void> {
    let listing = new Map<string, KubeObject>();
    let isListing = false;
    const { api, clock, metrics, watchTuning } = this.#options;
    for await (const event of watch(api, type, { ...watchTuning, signal, clock, metrics })) {
      if (event.type === "init") {
        listing = new Map();
        isListing = true;
      } else if (event.type === "synced") {
        isListing = false;
        this.#read.add(type);
        this.#replace(type, listing);
      } else if (event.type === "error") {
        if (event.state === "absent") this.#read.add(type);
        // Without its CRD there are no objects of a kind; other faults leave in force what is.
        if (event.state === "absent" || !this.#objects.has(type)) this.#replace(type, new Map());
      } else this.#change(isListing ? listing : this.#objects.get(type) ?? listing, { type, event });
    }
  }

  #replace(type: ResourceType, objects: Map<string, KubeObject>): void {
    for (const [id, object] of objects) this.#writer.sawVersion(object, this.#objects.get(type)?.get(id));
    this.#objects.set(type, objects);
    this.#decide();
  }

  #change(
    objects: Map<string, KubeObject>,
    { type, event }: { type: ResourceType; event: Extract<WatchEvent, { type: "apply" | "delete" }> },
  ): void {
    // Items of a list carry no kind.
    const object = { ...event.object, kind: type.kind };
    const id = idOf(object);
    if (event.type === "delete") {
      objects.delete(id);
      this.#writer.forget(id);
    } else {
      this.#writer.sawVersion(object, objects.get(id));
      objects.set(id, object);
    }
    if (objects === this.#objects.get(type)) this.#decide();
  }

  /** The watch tells it too, but later: until then the same would be written again. */
  #written(object: KubeObject, as: KubeObject): void {
    const type = object.kind === OBSERVATION_MAPPINGS.kind ? OBSERVATION_MAPPINGS : INGESTERS;
    const known = this.#objects.get(type);
    if (known?.get(idOf(object)) === object) known.set(idOf(object), { ...as, kind: type.kind });
  }

  #decide(): void {
    this.#isDirty = true;
    this.#wake();
  }

  async #decideAlways(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!this.#isDirty || this.#objects.size < KINDS.length) {
        await new Promise<void>((resolve) => this.#wake = resolve);
        continue;
      }
      this.#isDirty = false;
      await this.#replan(signal);
      if (!this.#isDirty) this.#settled.resolve();
    }
  }

  async #tickAlways(signal: AbortSignal): Promise<void> {
    const { sleep } = this.#options;
    while (await elapsed(TICK_MS, { signal, sleep })) await this.#tick(signal);
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { clock, lookUpMs = 30_000 } = this.#options;
    if (clock.monotonic() - this.#lookedUpAt >= lookUpMs && this.#needsLook()) this.#decide();
    else await this.#writer.writeConditions(this.#all(), { plan: this.#plan, signal });
    await this.#writer.writeCounters(this.#all(), signal);
  }

  #all(): KubeObject[] {
    return [...this.#objects.values()].flatMap((objects) => [...objects.values()]);
  }

  /** Decides with what is known; where that is not enough, looks it up and decides again. */
  async #replan(signal: AbortSignal): Promise<void> {
    let plan = await this.#makePlan();
    const isDue = this.#options.clock.monotonic() - this.#lookedUpAt >= (this.#options.lookUpMs ?? 30_000);
    if (isDue || this.#lacksAnswer(plan)) {
      await this.#lookUp(plan, signal);
      if (signal.aborted) return;
      plan = await this.#makePlan();
    }
    this.#apply(plan);
    const { discovery } = this.#options;
    if (this.#informers(plan).some((input) => discovery.served(input).state === "pending")) {
      discovery.refresh();
    }
    await this.#writer.writeConditions(this.#all(), { plan: this.#plan, signal });
  }

  async #makePlan(): Promise<Plan> {
    if (this.#all().length === 0) return NO_PLAN;
    // What reads them (zod, CEL, their schemas) is loaded with the first object.
    const { makePlan } = await import("./plan.ts");
    const { builtins, trust, discovery } = this.#options;
    const plan = makePlan(this.#all(), {
      builtins,
      trust,
      served: (input) => servedState(input, discovery.served(input)),
      secret: (namespace, name) => this.#secrets.state(namespace, name),
      lastGood: this.#lastGood,
      lastRead: this.#lastRead,
    });
    this.#lastRead = plan.read;
    return plan;
  }

  #apply(plan: Plan): void {
    const { onSources, metrics } = this.#options;
    this.#logChanges(plan.verdicts);
    this.#plan = plan;
    this.#lastGood = plan.good;
    metrics.ingestersActive.set(plan.active.size);
    const told = this.active.flatMap(({ feeds }) => feeds.map(feedId)).join("\n");
    if (told === this.#told) return;
    this.#told = told;
    onSources(this.active);
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
          error: `Cannot load ${quoted(id)}: ${message}`,
        });
      }
    }
  }

  #informers(plan: Plan): InformerInput[] {
    return [...plan.good.values()].flatMap(({ compiled: { input } }) =>
      input.type === "informer" ? [input] : []
    );
  }

  #secretRefs(plan: Plan): SecretRef[] {
    return [...plan.good].flatMap(([id, { compiled: { input } }]) => {
      if (input.type !== "webhook" || !("secretName" in input.auth)) return [];
      const [namespace = ""] = id.slice(id.indexOf(" ") + 1).split("/");
      return [{ namespace, name: input.auth.secretName }];
    });
  }

  #lacksAnswer(plan: Plan): boolean {
    return this.#secrets.lacks(this.#secretRefs(plan));
  }

  /** True where another look may tell more: a Secret may change. */
  #needsLook(): boolean {
    return this.#secretRefs(this.#plan).length > 0;
  }

  async #lookUp(plan: Plan, signal: AbortSignal): Promise<void> {
    await this.#secrets.read(this.#secretRefs(plan), signal);
    this.#lookedUpAt = this.#options.clock.monotonic();
  }
}

/** `Ingester zen-system/x` → `ingester "zen-system/x"`. */
function quoted(id: string): string {
  const space = id.indexOf(" ");
  return `${id.slice(0, space).toLowerCase()} "${id.slice(space + 1)}"`;
}
