/** The sources in force: built-in ones, and those Ingesters and ObservationMappings add, wired to their drivers. */
import type { NormalEvent } from "../model/event.ts";
import type { PayloadError } from "../model/outcome.ts";
import type { ViewKey } from "../model/view.ts";
import type { Answer, WebhookEndpoint } from "../http/webhooks.ts";
import type { Intake, IntakeResult, SourceRuntime } from "../pipeline/intake.ts";
import type { Rate } from "../pipeline/limits.ts";
import type { Settings } from "../settings.ts";
import { profileOf, runtimeOf } from "../sources/active.ts";
import type { StateSource } from "../sources/feeds/state_sources.ts";
import type { ActiveSource } from "../mapped/activate.ts";
import type { Claim } from "../mapped/runtime.ts";
import { SOURCES } from "../sources/registry.ts";
import type { DrawContext, SourceDefinition } from "../sources/source.ts";
import type { SourceStates } from "../sources/status.ts";
import { DELETE_REASONS } from "../store/deletes.ts";
import { CREATE_ERROR_REASONS } from "../store/refusal.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openEndpointSeries, openSourceSeries } from "../telemetry/series.ts";

/** Requests that may wait at once, by source (the figures are the origin's channel sizes). */
const MAX_WAITING: Readonly<Record<string, number>> = { falco: 100, audit: 200 };
const MAX_WAITING_DEFAULT = 100;
/** What a sender is told to wait when something could not be stored. */
const RETRY_AFTER_SECONDS = { min: 1, spread: 4 };
/** The built-in source that speaks for other tools. */
const SPEAKER = "kyverno";
/** Tools whose findings others report (Kyverno's reports do), remembered for their lifecycle. */
const MAX_SPOKEN_FOR = 1_000;

export interface SourceSetOptions {
  readonly settings: Settings;
  readonly intake: () => Intake;
  readonly states: SourceStates;
  readonly metrics: Metrics;
  readonly context: () => DrawContext;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  /** A source by configuration brought events. */
  readonly noteEvents: (id: string, count: number) => void;
  /** How a source stands that an Ingester or ObservationMapping may name without being in force. */
  readonly claims: (source: string) => Claim;
  readonly random?: () => number;
}

/** The view of what has no book: it cannot say. */
const NO_VIEW = "";

/** Every source in force. */
export class SourceSet {
  readonly #options: SourceSetOptions;
  readonly #builtinEndpoints = new Map<string, WebhookEndpoint>();
  readonly #builtinState: StateSource[] = [];
  readonly #spokenFor = new Map<string, string>();
  /** Sources that configuration added, also those it took back: no report speaks for them. */
  readonly #everMapped = new Set<string>();
  #mapped: readonly ActiveSource[] = [];
  #endpoints: ReadonlyMap<string, WebhookEndpoint>;
  #stateSources: readonly StateSource[];
  #rates: ReadonlyMap<string, Rate> = new Map();

  constructor(options: SourceSetOptions) {
    this.#options = options;
    for (const definition of SOURCES) this.#addBuiltin(definition);
    this.#endpoints = this.#builtinEndpoints;
    this.#stateSources = this.#builtinState;
  }

  get endpoints(): ReadonlyMap<string, WebhookEndpoint> {
    return this.#endpoints;
  }

  get stateSources(): readonly StateSource[] {
    return this.#stateSources;
  }

  /** Replaces what configuration adds. */
  setMapped(mapped: readonly ActiveSource[]): void {
    const { states } = this.#options;
    const names = new Set(
      [...SOURCES, ...mapped.map(({ definition }) => definition)].map(({ name }) => name),
    );
    for (const { definition: { name, input }, overrides } of this.#mapped) {
      if (!names.has(name)) states.remove(name);
      else if (input.type === "webhook") {
        states.forget(pathView(name, { path: input.path, ingester: overrides.door }));
      }
    }
    this.#mapped = mapped;
    const endpoints = new Map(this.#builtinEndpoints);
    const stateSources = [...this.#builtinState];
    for (const source of mapped) {
      const { definition } = source;
      if (this.#everMapped.size < MAX_SPOKEN_FOR) this.#everMapped.add(definition.name);
      this.#register(definition);
      const runtime = this.#runtimeOf(definition, source);
      if (definition.input.type === "webhook") {
        const { path } = definition.input;
        endpoints.set(
          path,
          this.#endpointOf(definition, {
            path,
            runtime,
            auth: source.auth,
            id: source.id,
            ingester: source.overrides.door,
          }),
        );
      } else stateSources.push(this.#mappedState(source, runtime));
    }
    this.#endpoints = endpoints;
    this.#stateSources = stateSources;
    this.#rates = new Map(
      mapped.flatMap(({ definition, rateLimit }) =>
        rateLimit
          ? [[definition.name, { perSecond: rateLimit.requestsPerSecond, burst: rateLimit.burst }]]
          : []
      ),
    );
  }

  /** A source's own rate. */
  rateOf(source: string): Rate | undefined {
    return this.#rates.get(source);
  }

  /** Keys of details that flap without meaning. */
  volatileDetailsOf(source: string): readonly string[] {
    const name = this.#spokenFor.get(source) ?? source;
    return this.#definition(name)?.volatileDetails ?? [];
  }

  /**
   * The source whose views report findings of this one; undefined for those without: pushed ones, and what
   * configuration took back or its uninstalled CRD took with it, since nobody saw their findings end. What configuration
   * names, but has not in force for another reason, has a view that cannot say.
   */
  viewSourceOf(source: string): string | undefined {
    const name = this.#spokenFor.get(source) ?? source;
    // After a start nobody has spoken yet: tools that have no source of their own are those that policy reports name.
    const own = this.#definition(name);
    const claim = own ? "none" : this.#options.claims(name);
    if (claim === "open") return NO_VIEW;
    const isTakenBack = claim !== "none" || this.#everMapped.has(name);
    const definition = own ?? (isTakenBack ? undefined : this.#definition(SPEAKER));
    return definition && definition.input.type !== "webhook" ? definition.name : undefined;
  }

  /** The event types a view may report; undefined: any. */
  eventTypesOf({ source, resource }: Pick<ViewKey, "source" | "resource">): readonly string[] | undefined {
    return this.#definition(source)?.reports?.[resource.split(".")[0] ?? ""];
  }

  #definition(name: string): SourceDefinition | undefined {
    return SOURCES.find((source) => source.name === name) ??
      this.#mapped.find(({ definition }) => definition.name === name)?.definition;
  }

  #addBuiltin(definition: SourceDefinition): void {
    const { settings } = this.#options;
    const { name, input } = definition;
    this.#register(definition);
    const runtime = this.#runtimeOf(definition);
    if (input.type === "webhook") {
      const endpoint = this.#endpointOf(definition, { path: input.path, runtime, auth: { type: "default" } });
      this.#builtinEndpoints.set(input.path, endpoint);
    } else if (input.type === "informer") {
      this.#builtinState.push({ id: name, revision: "", runtime, input, scope: {}, confined: true });
    } else {
      const namespaces: Readonly<Record<string, string>> = {
        KUBE_BENCH_NAMESPACE: settings.kubeBenchNamespace,
        CHECKOV_NAMESPACE: settings.checkovNamespace,
      };
      const namespace = namespaces[input.namespaceEnv] ?? input.namespace;
      const placed = { ...input, namespace };
      this.#builtinState.push({ id: name, revision: "", runtime, input: placed, scope: {}, confined: false });
    }
  }

  #register({ name, kind, input, categories }: SourceDefinition): void {
    const { states, metrics } = this.#options;
    states.add(name, { kind, input: input.type });
    openSourceSeries(metrics, {
      source: name,
      categories,
      createErrors: CREATE_ERROR_REASONS,
      deletes: DELETE_REASONS,
    });
    if (input.type === "webhook") openEndpointSeries(metrics, input.path);
  }

  #mappedState(source: ActiveSource, runtime: SourceRuntime): StateSource {
    const { id, revision, definition, scope, confined, overrides: { door } } = source;
    const { input } = definition;
    if (input.type === "webhook") throw new Error(`Cannot read "${id}": it is a webhook`);
    const onEvents = (count: number) => this.#options.noteEvents(id, count);
    return {
      id,
      revision,
      runtime,
      input,
      scope,
      confined,
      onEvents,
      ...(door === undefined ? {} : { door }),
    };
  }

  #runtimeOf(definition: SourceDefinition, source?: ActiveSource): SourceRuntime {
    const { settings, context } = this.#options;
    const profile = profileOf(definition, settings, source?.overrides);
    const runtime = runtimeOf(definition, { profile, settings, context });
    const normalize = (...args: Parameters<SourceRuntime["normalize"]>): NormalEvent => {
      const event = runtime.normalize(...args);
      if (event.source !== definition.name) this.#speaksFor(event.source, definition.name);
      return event;
    };
    return { ...runtime, normalize };
  }

  #speaksFor(source: string, through: string): void {
    if (this.#spokenFor.size < MAX_SPOKEN_FOR) this.#spokenFor.set(source, through);
  }

  #endpointOf(
    { name, unreadableHint }: SourceDefinition,
    { path, runtime, auth, id, ingester }: {
      path: string;
      runtime: SourceRuntime;
      auth: WebhookEndpoint["auth"];
      id?: string;
      /** Set where this is one more webhook of a built-in source. */
      ingester?: string | undefined;
    },
  ): WebhookEndpoint {
    const { settings, states, payloadError, intake, noteEvents, random = Math.random } = this.#options;
    states.set(pathView(name, { path, ingester }), "serving");
    return {
      path,
      source: name,
      auth,
      ackTimeoutMs: name === "falco" ? settings.falcoAckTimeoutMs : settings.webhookAckTimeoutMs,
      maxWaiting: MAX_WAITING[name] ?? MAX_WAITING_DEFAULT,
      ...(unreadableHint === undefined ? {} : { unreadableHint }),
      async take(payload, request) {
        const result = await intake().take(runtime, payload, request);
        if (result.received > 0) states.sawEvents(name, payload.receivedAt);
        if (id !== undefined) noteEvents(id, result.received);
        return answerOf(result, random);
      },
      unreadable: (error, correlationId) => payloadError(name, error, correlationId),
    };
  }
}

function pathView(
  source: string,
  { path, ingester }: { readonly path: string; readonly ingester: string | undefined },
): ViewKey {
  return { source, resource: path, ...(ingester === undefined ? {} : { ingester }) };
}

function answerOf(result: IntakeResult, random: () => number): Answer {
  const { received, created, deduped, filtered, failed, undecided, payloadErrors, payloadErrorCount } =
    result;
  const retryAfterSeconds = RETRY_AFTER_SECONDS.min + Math.floor(random() * RETRY_AFTER_SECONDS.spread);
  return {
    received,
    created,
    deduped,
    filtered,
    failed,
    undecided,
    retryAfterSeconds,
    errors: payloadErrors,
    errorCount: payloadErrorCount,
  };
}
