import type { SourceRuntime } from "../../src/pipeline/intake.ts";
import { profileOf, runtimeOf, type SourceOverrides, type SourceSettings } from "../../src/sources/active.ts";
import type { SourceDefinition } from "../../src/sources/source.ts";

const SETTINGS: SourceSettings = {
  dedupWindowSeconds: 60,
  dedupWindowBySource: new Map(),
  dedupEnableAggregation: true,
  observationTtlSeconds: 604_800,
  podNamespace: "zen-system",
  observationNamespace: "",
};

/** A source as the program runs it under default settings. */
export function runtimeFor(definition: SourceDefinition, overrides?: SourceOverrides): SourceRuntime {
  return runtimeOf(definition, {
    profile: profileOf(definition, SETTINGS, overrides),
    settings: SETTINGS,
    context: () => ({ ownUser: "system:serviceaccount:zen-system:zen-watcher" }),
  });
}
