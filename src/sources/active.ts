/** A source in force: its definition with what the settings, or its Ingester, say of it. */
import type { Origin, Payload, SourceProfile } from "../model/event.ts";
import type { KubeObject } from "../kube/api.ts";
import type { SourceRuntime } from "../pipeline/intake.ts";
import { normalize } from "../pipeline/normalize.ts";
import type { DrawContext, SourceDefinition } from "./source.ts";

/** What the operator's settings say of every source. */
export interface SourceSettings {
  readonly dedupWindowSeconds: number;
  readonly dedupWindowBySource: ReadonlyMap<string, number>;
  readonly dedupEnableAggregation: boolean;
  readonly observationTtlSeconds: number;
  readonly podNamespace: string;
  readonly observationNamespace: string;
}

/** What an Ingester says of its source alone. */
export interface SourceOverrides {
  readonly windowSeconds?: number;
  readonly ttlSeconds?: number;
  /** Set where it is a door to a built-in source: its own filter acts on what comes through it alone. */
  readonly door?: string;
}

/** The profile events of `definition` are normalised by. */
export function profileOf(
  definition: SourceDefinition,
  settings: SourceSettings,
  overrides: SourceOverrides = {},
): SourceProfile {
  const windowSeconds = overrides.windowSeconds ?? settings.dedupWindowBySource.get(definition.name) ??
    settings.dedupWindowSeconds;
  const forLife = definition.window === "life";
  return {
    name: definition.name,
    kind: definition.kind,
    windowMs: forLife ? Infinity : windowSeconds * 1_000,
    countRepeats: !forLife && settings.dedupEnableAggregation,
    severityMap: definition.severityMap ?? {},
    ttlSeconds: overrides.ttlSeconds ?? settings.observationTtlSeconds,
    volatileDetails: definition.volatileDetails ?? [],
    ...(overrides.door === undefined ? {} : { door: overrides.door }),
  };
}

/** What the pipeline needs to run a source. */
export function runtimeOf(
  definition: SourceDefinition,
  { profile, settings, context }: {
    profile: SourceProfile;
    settings: SourceSettings;
    context: () => DrawContext;
  },
): SourceRuntime {
  const { podNamespace: ownNamespace, observationNamespace } = settings;
  const target = observationNamespace === "" ? { ownNamespace } : { ownNamespace, observationNamespace };
  return {
    name: definition.name,
    pushed: definition.input.type === "webhook",
    draw: (payload) => definition.toEvents(payload, context()),
    normalize: (drawn, { origin, receivedAt }) =>
      normalize(drawn, profile, { ...target, origin, receivedAt }),
  };
}

/** The payload of a report or mapped object: the object itself. */
export function objectPayload(
  object: KubeObject,
  { confined, receivedAt }: { confined: boolean; receivedAt: number },
): Payload {
  return { body: object as unknown as Payload["body"], origin: originOf(object, confined), receivedAt };
}

/** Where an object's findings come from. */
export function originOf({ metadata }: KubeObject, confined: boolean): Origin {
  const { namespace = "", name = "", labels = {}, annotations = {} } = metadata;
  return { namespace, name, labels, annotations, confined };
}
