/** The program's own pipeline on a fake API server and virtual time, for the tests beside src/pipeline and src/store. */
import type { Clock } from "../../src/model/time.ts";
import type { Drawn, DrawnEvent, EventFeed, EventSource, Payload } from "../../src/model/event.ts";
import type { Outcome, PayloadError } from "../../src/model/outcome.ts";
import type { KubeApi } from "../../src/kube/api.ts";
import type { EventDraft } from "../../src/kube/events.ts";
import type { WatchEvent } from "../../src/kube/watch.ts";
import { createPipeline, type Pipeline, type PipelineOptions } from "../../src/app/pipeline.ts";
import type { Dedup } from "../../src/pipeline/dedup.ts";
import type { IntakeResult, Steps } from "../../src/pipeline/intake.ts";
import {
  createWriteSlots,
  NO_LIMITS,
  type RateLimiter,
  WRITE_SLOTS,
  type WriteSlots,
} from "../../src/pipeline/limits.ts";
import { readSettings, type Settings } from "../../src/settings.ts";
import {
  type ObservationIndex,
  type Store,
  type StoredObservation,
  type StoreOptions,
} from "../../src/store/mod.ts";
import type { Transitions } from "../../src/store/transitions.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import type { FakeKube } from "./fake_kube.ts";
import { DRAW_CONTEXT } from "./source_runtime.ts";
import type { VirtualTime } from "./virtual_time.ts";

export interface ReplicaOptions {
  readonly time: VirtualTime;
  /** This machine's clock; by default the right time. */
  readonly clock?: Clock;
  readonly maxSize?: number;
  /** Settings, beside those that have options of their own. */
  readonly env?: Readonly<Record<string, string>>;
  readonly steps?: Partial<Pick<Steps, "filter" | "inScope" | "admits">>;
  /** Unlimited by default. */
  readonly rate?: RateLimiter;
  /** Where the index starts without its list. */
  readonly unlisted?: boolean;
  readonly api?: KubeApi;
  readonly covers?: (belongsTo: string) => boolean;
  /** DEDUP_ENABLE_AGGREGATION; by default true. */
  readonly countRepeats?: boolean;
  readonly acceptanceOf?: StoreOptions["acceptanceOf"];
  /** INSTANCE; by default `default`. */
  readonly instance?: string;
  /** The sources that configuration knows; by default every source is one of them. */
  readonly sources?: ReadonlySet<string>;
  readonly onBudget?: PipelineOptions["onBudget"];
}

/** Every event's outcomes: the books must show exactly one each. */
export interface Settled {
  readonly source: string;
  readonly outcomes: Outcome[];
}

/** A replica. */
export class Replica {
  readonly index: ObservationIndex;
  readonly dedup: Dedup;
  readonly store: Store;
  readonly pipeline: Pipeline;
  readonly settings: Settings;
  readonly slots: WriteSlots = createWriteSlots(WRITE_SLOTS);
  readonly books: Settled[] = [];
  readonly payloadErrors: PayloadError[] = [];
  readonly metrics = createMetrics();
  readonly logged: { readonly level: string; readonly message: string }[] = [];
  readonly events: EventDraft[] = [];
  readonly transitions: Transitions;
  /** While true, what the watch brings waits. */
  lagging = false;
  readonly #clock: Clock;
  readonly #late: WatchEvent<StoredObservation>[] = [];
  readonly #abort = new AbortController();
  readonly #kube: FakeKube;
  readonly #running: Promise<void>;
  #unfeed: () => void = () => {};

  constructor(kube: FakeKube, options: ReplicaOptions) {
    const { time, clock = time } = options;
    this.#kube = kube;
    this.#clock = clock;
    const { filter, inScope, admits } = options.steps ?? {};
    const env: Readonly<Record<string, string>> = {
      INSTANCE: options.instance ?? "default",
      DEDUP_MAX_SIZE: String(options.maxSize ?? 10_000),
      DEDUP_ENABLE_AGGREGATION: String(options.countRepeats ?? true),
      ...options.env,
    };
    this.settings = readSettings((name) => env[name]);
    this.pipeline = createPipeline({
      api: options.api ?? kube,
      settings: this.settings,
      metrics: this.metrics,
      books: this.#recorder(),
      clock,
      filter: filter ?? (() => undefined),
      covers: options.covers ?? (() => true),
      acceptanceOf: options.acceptanceOf ?? (() => ""),
      drawContext: () => DRAW_CONTEXT,
      sources: {
        has: (source) => options.sources?.has(source) ?? true,
        size: options.sources?.size ?? 1,
        reported: [],
        named: () => undefined,
      },
      record: (event) => void this.events.push(event),
      onBudget: options.onBudget ?? (() => {}),
      onBudgetDrop() {},
      onIndexState() {},
      onIndexHealed() {},
      injected: {
        sleep: time.sleep,
        random: () => 0.5,
        log: this.#log(),
        // No slice ever ends: transitions of the real event loop are not part of virtual time.
        limits: { ...NO_LIMITS, slots: this.slots, ...(options.rate && { rate: options.rate }) },
        ...(admits && { admits }),
        ...(inScope && { inScope }),
      },
    });
    this.store = this.pipeline.store;
    this.index = this.store.index;
    this.dedup = this.pipeline.dedup;
    this.transitions = this.pipeline.transitions;
    this.#running = this.store.repeats.run(this.#abort.signal);
    if (!options.unlisted) this.list();
  }

  /** The index lists and watches. */
  list(): void {
    this.#unfeed = this.#kube.feed((event) => {
      if (this.lagging) this.#late.push(event);
      else this.index.take(event);
    });
  }

  /** The watch catches up. */
  catchUp(): void {
    this.lagging = false;
    for (const event of this.#late.splice(0)) this.index.take(event);
  }

  /** Takes events in as one payload. */
  take(events: readonly Partial<DrawnEvent>[], options: TakeOptions = {}): Promise<IntakeResult> {
    const { signal = new AbortController().signal, origin = "report", kind = "occurrence", pushed = true } =
      options;
    const payload: Payload = {
      body: null,
      origin: { confined: false },
      receivedAt: this.#clock.now(),
    };
    const { name = "falco", windowMs, ttlSeconds, door } = options.source ?? {};
    const own = windowMs === undefined ? {} : { windowMs };
    const source: EventSource = {
      name,
      kind,
      draw: function* (): Generator<Drawn> {
        for (const event of events) yield { event: { ...DRAWN, ...own, ...event } };
      },
    };
    const ingester = {
      id: door ?? "Ingester zen-system/test",
      ...(door === undefined ? {} : { isDoor: true as const }),
      ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
    };
    const feed: EventFeed = { type: pushed ? "post" : "watch", ingester };
    return this.pipeline.intake.take(source, payload, { feed, signal, correlationId: "test", origin });
  }

  /** Ends like a process that gets SIGTERM. */
  async stop(): Promise<void> {
    await this.store.repeats.flush(new AbortController().signal);
    await this.kill();
  }

  /** Ends like a process that is killed. */
  async kill(): Promise<void> {
    this.#unfeed();
    this.#abort.abort();
    await this.#running;
  }

  #recorder(): PipelineOptions["books"] {
    return {
      sourceLabel: (source) => source,
      open: ({ source }) => {
        const settled: Settled = { source, outcomes: [] };
        this.books.push(settled);
        return { settle: (outcome) => void settled.outcomes.push(outcome) };
      },
      payloadError: (_source, error) => void this.payloadErrors.push(error),
    };
  }

  #log() {
    const at = (level: string) => (message: string) => void this.logged.push({ level, message });
    return { debug: at("DEBUG"), info: at("INFO"), warn: at("WARN"), error: at("ERROR"), fatal: at("CRIT") };
  }
}

export interface TakeOptions {
  readonly signal?: AbortSignal;
  readonly origin?: string;
  readonly kind?: "finding" | "occurrence";
  readonly pushed?: boolean;
  readonly source?: {
    readonly name?: string;
    /** Window of each event. */
    readonly windowMs?: number;
    readonly ttlSeconds?: number;
    /** The Ingester that adds a feed to the built-in source. */
    readonly door?: string;
  };
}

const DRAWN: DrawnEvent = {
  category: "security",
  severity: "critical",
  eventType: "runtime-threat",
  message: "A shell was spawned",
  rules: [],
  details: {},
  identity: { rule: "Terminal shell in container" },
};
