/** The source a command is told of: built in, or of an Ingester or ObservationMapping at hand. */
import { didYouMean, formatPath } from "../../filters/problem.ts";
import { isObject } from "../../model/json.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import type { SourceRuntime } from "../../pipeline/intake.ts";
import type { Settings } from "../../settings.ts";
import { profileOf, runtimeOf, type SourceOverrides } from "../../sources/active.ts";
import { type CompiledIngester, compileMapped } from "../../mapped/compile.ts";
import { definitionOf } from "../../mapped/definition.ts";
import { idOf } from "../../mapped/verdict.ts";
import { sourceNamed, SOURCES } from "../../sources/registry.ts";
import type { SourceDefinition } from "../../sources/source.ts";
import { CommandError } from "../io.ts";

/** A source ready to be simulated. */
export interface ChosenSource {
  readonly definition: SourceDefinition;
  readonly runtime: SourceRuntime;
  /** The Ingester's own filter. */
  readonly filter: FilterDocument | undefined;
}

export interface Sources {
  /** Ingesters and ObservationMappings named on the command line; one more door to a built-in source among them is meant. */
  readonly named: readonly KubeObject[];
  /** Those of a cluster. */
  readonly live?: readonly KubeObject[];
  readonly settings: Settings;
}

/** The source `name`: what is named on the command line, else the built-in one, else a cluster's. */
export function chooseSource(name: string, { named, live = [], settings }: Sources): ChosenSource {
  const own = named.find((object) => sourceOf(object) === name);
  if (own) return mappedSource(own, { compiled: compiledOf(own), settings });
  const builtin = sourceNamed(name);
  if (builtin) return { definition: builtin, runtime: runtime(builtin, settings), filter: undefined };
  const other = live.find((object) => sourceOf(object) === name);
  if (other) return mappedSource(other, { compiled: compiledOf(other), settings });
  const known = SOURCES.map((source) => source.name);
  const guess = didYouMean(name, known);
  const hint = guess === undefined
    ? `expected one of ${known.join("|")}, or a mapped one with its --ingester FILE`
    : `did you mean "${guess}"?`;
  throw new CommandError(`Cannot find source "${name}": ${hint}`, 2);
}

function sourceOf({ spec }: KubeObject): unknown {
  return isObject(spec) ? spec.source ?? spec.sourceName : undefined;
}

function compiledOf(object: KubeObject): CompiledIngester {
  const compiled = compileMapped(object);
  if (compiled.ok) return compiled.value;
  const [first] = compiled.problems;
  const why = first ? `at ${formatPath(first.path)}: ${first.message}` : "it is invalid";
  throw new CommandError(`Cannot load ${idOf(object)}: ${why}`);
}

function mappedSource(
  object: KubeObject,
  { compiled, settings }: { readonly compiled: CompiledIngester; readonly settings: Settings },
): ChosenSource {
  const id = idOf(object);
  const { filters, windowSeconds, ttlSeconds } = compiled;
  const definition = definitionOf(compiled, { id, builtin: sourceNamed(compiled.source), resources: [] });
  if (!definition) {
    throw new CommandError(`Cannot load ${id}: it has no mapping, and its source is not built in`);
  }
  const door = compiled.mapping ? {} : { door: id };
  const overrides: SourceOverrides = {
    ...door,
    ...(windowSeconds !== undefined && { windowSeconds }),
    ...(ttlSeconds !== undefined && { ttlSeconds }),
  };
  return {
    definition,
    runtime: runtime(definition, settings, overrides),
    filter: filters && { name: `${id} spec.filters`, source: definition.name, block: filters, ...door },
  };
}

function runtime(
  definition: SourceDefinition,
  settings: Settings,
  overrides: SourceOverrides = {},
): SourceRuntime {
  const ownUser = `system:serviceaccount:${settings.podNamespace}:zen-watcher`;
  const profile = profileOf(definition, settings, overrides);
  return runtimeOf(definition, { profile, settings, context: () => ({ ownUser }) });
}
