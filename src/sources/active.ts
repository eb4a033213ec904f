/** A source as the intake runs it: with what the settings, and the feed that brought a payload, say of its events. */
import type { DrawContext, SourceProfile } from "../model/event.ts";
import type { SourceRuntime } from "../pipeline/intake.ts";
import { normalize } from "../pipeline/normalize.ts";
import type { Feed, Source } from "./source.ts";

/** What the operator's settings say of every source. */
export interface SourceSettings {
  readonly dedupWindowSeconds: number;
  readonly dedupWindowBySource: ReadonlyMap<string, number>;
  readonly dedupEnableAggregation: boolean;
  readonly observationTtlSeconds: number;
  readonly podNamespace: string;
  readonly observationNamespace: string;
}

export interface RuntimeOptions {
  readonly settings: SourceSettings;
  readonly context: () => DrawContext;
}

/** What the pipeline needs to run a source. */
export function runtimeOf(
  { source, feed }: { readonly source: Source; readonly feed: Feed },
  { settings, context }: RuntimeOptions,
): SourceRuntime {
  const profile = profileOf({ source, feed }, settings);
  const { podNamespace: ownNamespace, observationNamespace } = settings;
  const target = observationNamespace === "" ? { ownNamespace } : { ownNamespace, observationNamespace };
  return {
    name: source.name,
    pushed: feed.type === "post",
    draw: (payload) => source.draw(payload, context()),
    normalize: (drawn, { origin, receivedAt }) =>
      normalize(drawn, profile, { ...target, origin, receivedAt }),
  };
}

function profileOf(
  { source, feed: { ingester } }: { readonly source: Source; readonly feed: Feed },
  settings: SourceSettings,
): SourceProfile {
  const windowSeconds = ingester?.windowSeconds ?? settings.dedupWindowBySource.get(source.name) ??
    settings.dedupWindowSeconds;
  return {
    name: source.name,
    kind: source.kind,
    windowMs: windowSeconds * 1_000,
    countRepeats: settings.dedupEnableAggregation,
    severityMap: source.severities ?? {},
    ttlSeconds: ingester?.ttlSeconds ?? settings.observationTtlSeconds,
    volatileDetails: source.volatileDetails ?? [],
    ...(ingester?.isDoor ? { door: ingester.id } : {}),
  };
}
