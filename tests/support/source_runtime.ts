/** Sources as the program runs them under default settings. */
import type { DrawContext, Drawn, DrawnEvent, NormalEvent, Payload } from "../../src/model/event.ts";
import { normalize } from "../../src/pipeline/normalize.ts";
import { createDrawContext } from "../../src/sources/draw_context.ts";
import { readSettings, type Settings } from "../../src/settings.ts";
import { ownRequests } from "../../src/sources/own_requests.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import type { Feed, Source } from "../../src/sources/source.ts";

export const EVENT_SETTINGS: Settings = readSettings(() => undefined);

/** Settings by the environment variables that are set. */
export function settingsWith(env: Readonly<Record<string, string>>): Settings {
  return readSettings((name) => env[name]);
}

/** What the program of a test knows beyond payloads. */
export const DRAW_CONTEXT: DrawContext = createDrawContext(EVENT_SETTINGS, {
  ownUser: "system:serviceaccount:zen-system:zen-watcher",
  isOwnRequest: ownRequests(EVENT_SETTINGS, SOURCES),
  isApiServerStarting: () => false,
});

/** The first feed of a source: its own, or the one that an Ingester declares. */
export function feedOf({ name, feeds: [feed] }: Source): Feed {
  if (!feed) throw new Error(`Cannot feed source "${name}": it has no feed`);
  return feed;
}

/** Draws and normalises. */
export interface SourceRuntime {
  draw(payload: Payload): Iterable<Drawn>;
  normalize(drawn: DrawnEvent, payload: Payload): NormalEvent;
}

/** A source as the intake runs it. */
export function runtimeFor(source: Source, feed: Feed = feedOf(source)): SourceRuntime {
  return {
    draw: (payload) => drawnFrom(source, payload),
    normalize: (drawn, payload) => normalize(drawn, payload, { source, feed, settings: EVENT_SETTINGS }),
  };
}

/** What a source draws from a payload. */
export function drawnFrom(source: Source, payload: Payload, context: Partial<DrawContext> = {}): Drawn[] {
  const all = [...source.draw(payload, { ...DRAW_CONTEXT, ...context })];
  return all.flatMap((item) => "note" in item ? [] : [item]);
}
