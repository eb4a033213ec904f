/** The source that a command names: built in, or of an Ingester or ObservationMapping. */
import { didYouMean, formatPath } from "../../text/problem.ts";
import { isObject } from "../../model/json.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { DrawContext } from "../../model/event.ts";
import type { Settings } from "../../settings.ts";
import { sourceOf } from "../../mapped/activate.ts";
import { type CompiledIngester, compileMapped } from "../../mapped/compile.ts";
import { idOf, quotedId } from "../../mapped/verdict.ts";
import { ownRequests } from "../../sources/own_requests.ts";
import { createDrawContext } from "../../sources/draw_context.ts";
import { BUILT_IN, SOURCES } from "../../sources/registry.ts";
import type { Feed, Source } from "../../sources/source.ts";
import { CommandError } from "../io.ts";

/** A source, the feed that its payloads are read as, and what its generator knows beyond them. */
export interface ChosenSource {
  readonly source: Source;
  readonly feed: Feed;
  readonly context: DrawContext;
}

/** The objects in which a command looks for a source. */
export interface Sources {
  /** Those of files; a further feed of a built-in source counts as that source. */
  readonly named: readonly KubeObject[];
  /** Those of a cluster. */
  readonly live?: readonly KubeObject[];
  readonly settings: Settings;
}

/** The source `name`: of a file, else the built-in one, else a cluster's. Throws a `CommandError` where there is none. */
export function chooseSource(name: string, { named, live = [], settings }: Sources): ChosenSource {
  const own = named.find((object) => nameIn(object) === name);
  if (own) return mappedSource(own, { compiled: compiledOf(own), settings });
  const builtin = BUILT_IN.get(name);
  if (builtin) return chosen(builtin, settings);
  const other = live.find((object) => nameIn(object) === name);
  if (other) return mappedSource(other, { compiled: compiledOf(other), settings });
  const known = [...BUILT_IN.keys()];
  const guess = didYouMean(name, known);
  const hint = guess === undefined
    ? `expected one of ${known.join("|")}, or a mapped one with its --ingester FILE`
    : `did you mean "${guess}"?`;
  throw new CommandError(`Cannot find source "${name}": ${hint}`, 2);
}

function nameIn({ spec }: KubeObject): unknown {
  return isObject(spec) ? spec.source ?? spec.sourceName : undefined;
}

function compiledOf(object: KubeObject): CompiledIngester {
  const compiled = compileMapped(object);
  if (compiled.ok) return compiled.value;
  const [first] = compiled.problems;
  const why = first ? `at ${formatPath(first.path)}: ${first.message}` : "it is invalid";
  throw new CommandError(`Cannot load ${quotedId(idOf(object))}: ${why}`);
}

function mappedSource(
  object: KubeObject,
  { compiled, settings }: { readonly compiled: CompiledIngester; readonly settings: Settings },
): ChosenSource {
  const id = idOf(object);
  const builtin = BUILT_IN.get(compiled.source);
  const { namespace = "" } = object.metadata;
  const parts = { id, namespace, revision: "", builtin, resources: [], secret: () => undefined };
  const source = sourceOf(compiled, parts);
  if (!source) {
    throw new CommandError(`Cannot load ${quotedId(id)}: it has no mapping, and its source is not built in`);
  }
  return chosen(source, settings);
}

function chosen(source: Source, settings: Settings): ChosenSource {
  const [feed] = source.feeds;
  if (!feed) throw new CommandError(`Cannot run source "${source.name}": it has no feed`);
  const ownUser = `system:serviceaccount:${settings.podNamespace}:zen-watcher`;
  const context = createDrawContext(settings, {
    ownUser,
    isOwnRequest: ownRequests(settings, [...SOURCES, source]),
    // Nothing was watched when the events of a file happened.
    isApiServerStarting: () => false,
  });
  return { source, feed, context };
}
