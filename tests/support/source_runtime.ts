import type { DrawContext, Drawn, Payload } from "../../src/model/event.ts";
import type { SourceRuntime } from "../../src/pipeline/intake.ts";
import { runtimeOf, type SourceSettings } from "../../src/sources/active.ts";
import { RESERVED_SOURCES } from "../../src/sources/registry.ts";
import type { Feed, Source } from "../../src/sources/source.ts";

const SETTINGS: SourceSettings = {
  dedupWindowSeconds: 60,
  dedupWindowBySource: new Map(),
  dedupEnableAggregation: true,
  observationTtlSeconds: 604_800,
  podNamespace: "zen-system",
  observationNamespace: "",
};

/** What the program of a test knows beyond payloads. */
export const DRAW_CONTEXT: DrawContext = {
  ownUser: "system:serviceaccount:zen-system:zen-watcher",
  reservedSources: RESERVED_SOURCES,
};

/** The first feed of a source: its own, or the one that an Ingester declares. */
export function feedOf({ name, feeds: [feed] }: Source): Feed {
  if (!feed) throw new Error(`Cannot feed source "${name}": it has no feed`);
  return feed;
}

/** A source as the program runs it under default settings. */
export function runtimeFor(source: Source, feed: Feed = feedOf(source)): SourceRuntime {
  return runtimeOf({ source, feed }, { settings: SETTINGS, context: () => DRAW_CONTEXT });
}

/** What a source draws from a payload. */
export function drawnFrom(source: Source, payload: Payload, context: Partial<DrawContext> = {}): Drawn[] {
  return [...source.draw(payload, { ...DRAW_CONTEXT, ...context })];
}
