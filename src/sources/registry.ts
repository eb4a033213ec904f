/** The built-in sources, one line each. */
import { audit } from "./audit/mod.ts";
import { checkov } from "./checkov/mod.ts";
import { falco } from "./falco/mod.ts";
import { kubeBench } from "./kube_bench/mod.ts";
import { kyverno } from "./kyverno/mod.ts";
import type { SettingValues } from "../text/setting.ts";
import type { KnownSource } from "../filters/warnings.ts";
import { knownSource, namespaceOf, otherSourcesOf, type Source } from "./source.ts";
import { trivy } from "./trivy/mod.ts";

/** Every built-in source, in the order of the README. */
export const SOURCES: readonly Source[] = [
  trivy,
  kyverno,
  falco,
  audit,
  kubeBench,
  checkov,
];

/** The built-in sources by name. */
export const BUILT_IN: ReadonlyMap<string, Source> = new Map(SOURCES.map((source) => [source.name, source]));

/**
 * Names that no mapping and no engine of a policy report can take as a source of its own, so that configuration cannot forge
 * a Falco alert. An Ingester without a mapping may add a feed under the name of a built-in source, which draws the events.
 */
export const RESERVED_SOURCES: ReadonlySet<string> = new Set([
  ...BUILT_IN.keys(),
  ...SOURCES.flatMap(({ reportsForOthers }) => reportsForOthers?.rest ?? []),
]);

/** Every source that needs no configuration: the built-in ones, and the tools that their reports can name. */
export function knownSources(settings: SettingValues): KnownSource[] {
  const others = SOURCES.flatMap((source) => otherSourcesOf(source, settings));
  return [...SOURCES.map(knownSource), ...others.map((name) => ({ name }))];
}

/** The namespaces in which built-in sources read ConfigMaps. */
export function configMapNamespaces(settings: SettingValues): string[] {
  const feeds = SOURCES.flatMap((source) => source.feeds);
  return feeds.flatMap((feed) => feed.type === "configmap" ? [namespaceOf(feed, settings)] : []);
}
