/** The sources in force: built-in ones, and those Ingesters and ObservationMappings add, wired to their drivers. */
import type { Clock } from "../core/clock.ts";
import type { PayloadError } from "../core/outcome.ts";
import type { Answer, WebhookEndpoint } from "../http/webhooks.ts";
import type { Intake, IntakeResult, SourceRuntime } from "../pipeline/intake.ts";
import type { Settings } from "../settings.ts";
import { profileOf, runtimeOf } from "../sources/active.ts";
import type { StateSource } from "../sources/drivers/state_sources.ts";
import { SOURCES } from "../sources/mod.ts";
import type { DrawContext, SourceDefinition } from "../sources/source.ts";
import type { SourceStates } from "../sources/status.ts";

/** Requests that may wait at once, by endpoint (the figures are the origin's channel sizes). */
const MAX_WAITING: Readonly<Record<string, number>> = { falco: 100, audit: 200 };
const MAX_WAITING_DEFAULT = 100;
/** What a sender is told to wait when something could not be stored. */
const RETRY_AFTER_SECONDS = { min: 1, spread: 4 };

export interface BuiltinOptions {
  readonly settings: Settings;
  readonly intake: Intake;
  readonly states: SourceStates;
  readonly clock: Clock;
  readonly context: () => DrawContext;
  readonly payloadError: (source: string, error: PayloadError, correlationId: string) => void;
  readonly random?: () => number;
}

/** What the drivers are given. */
export interface WiredSources {
  readonly endpoints: ReadonlyMap<string, WebhookEndpoint>;
  readonly stateSources: readonly StateSource[];
}

/** Wires every built-in source. */
export function wireBuiltins(options: BuiltinOptions): WiredSources {
  const endpoints = new Map<string, WebhookEndpoint>();
  const stateSources: StateSource[] = [];
  for (const definition of SOURCES) {
    const profile = profileOf(definition, options.settings);
    const runtime = runtimeOf(definition, { profile, settings: options.settings, context: options.context });
    options.states.add(definition.name, { kind: definition.kind, input: definition.input.type });
    if (definition.input.type === "webhook") {
      const endpoint = builtinEndpoint(definition, runtime, options);
      endpoints.set(endpoint.path, endpoint);
    } else {
      stateSources.push(stateSourceOf(definition, runtime, options.settings));
    }
  }
  return { endpoints, stateSources };
}

function builtinEndpoint(
  { name, input, unreadableHint }: SourceDefinition,
  runtime: SourceRuntime,
  options: BuiltinOptions,
): WebhookEndpoint {
  if (input.type !== "webhook") throw new Error(`Cannot serve source "${name}": it is no webhook`);
  const { settings } = options;
  return endpointOf({
    path: input.path,
    runtime,
    auth: { type: "default" },
    ackTimeoutMs: name === "falco" ? settings.falcoAckTimeoutMs : settings.webhookAckTimeoutMs,
    unreadableHint,
  }, options);
}

/** One endpoint: what it takes goes through the intake, what becomes of it is the answer. */
export function endpointOf(
  { path, runtime, auth, ackTimeoutMs, unreadableHint }: {
    path: string;
    runtime: SourceRuntime;
    auth: WebhookEndpoint["auth"];
    ackTimeoutMs: number;
    unreadableHint?: string | undefined;
  },
  { intake, states, payloadError, random = Math.random }: BuiltinOptions,
): WebhookEndpoint {
  states.set(runtime.name, path, "serving");
  return {
    path,
    source: runtime.name,
    auth,
    ackTimeoutMs,
    maxWaiting: MAX_WAITING[runtime.name] ?? MAX_WAITING_DEFAULT,
    ...(unreadableHint === undefined ? {} : { unreadableHint }),
    async take(payload, context) {
      const result = await intake.take(runtime, payload, context);
      if (result.received > 0) states.sawEvents(runtime.name, payload.receivedAt);
      if (result.payloadErrorCount > 0) states.failed(runtime.name, "payload");
      return answerOf(result, random);
    },
    unreadable: (error, correlationId) => payloadError(runtime.name, error, correlationId),
  };
}

function answerOf(result: IntakeResult, random: () => number): Answer {
  const { received, created, deduped, filtered, failed, undecided, payloadErrors } = result;
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
  };
}

function stateSourceOf(
  { name, input }: SourceDefinition,
  runtime: SourceRuntime,
  settings: Settings,
): StateSource {
  if (input.type === "webhook") throw new Error(`Cannot read source "${name}": it is a webhook`);
  if (input.type === "informer") return { id: name, runtime, input, confined: true };
  const namespaces: Readonly<Record<string, string>> = {
    KUBE_BENCH_NAMESPACE: settings.kubeBenchNamespace,
    CHECKOV_NAMESPACE: settings.checkovNamespace,
  };
  const namespace = namespaces[input.namespaceEnv] ?? input.namespace;
  return { id: name, runtime, input: { ...input, namespace }, confined: false };
}
