/** The source a command is told of: built in, or of an Ingester or ObservationMapping at hand. */
import { didYouMean, formatPath } from "../config/problem.ts";
import type { KubeObject } from "../kube/api.ts";
import type { FilterDocument } from "../pipeline/filter.ts";
import type { SourceRuntime } from "../pipeline/intake.ts";
import type { Settings } from "../settings.ts";
import { profileOf, runtimeOf, type SourceOverrides } from "../sources/active.ts";
import { type CompiledIngester, compileMapped } from "../sources/mapped/compile.ts";
import { definitionOf } from "../sources/mapped/definition.ts";
import { idOf } from "../sources/mapped/verdict.ts";
import { sourceNamed, SOURCES } from "../sources/mod.ts";
import type { SourceDefinition } from "../sources/source.ts";
import { CommandError } from "./io.ts";

/** A source ready to be simulated. */
export interface ChosenSource {
  readonly definition: SourceDefinition;
  readonly runtime: SourceRuntime;
  /** The Ingester's own filter. */
  readonly filter: FilterDocument | undefined;
}

/** The source `name`: an Ingester's or ObservationMapping's among `objects` before the built-in one. */
export function chooseSource(
  name: string,
  { objects, settings }: { readonly objects: readonly KubeObject[]; readonly settings: Settings },
): ChosenSource {
  for (const object of objects) {
    const compiled = compiledOf(object);
    if (compiled.source === name) return mappedSource(object, { compiled, settings });
  }
  const builtin = sourceNamed(name);
  if (builtin) return { definition: builtin, runtime: runtime(builtin, settings), filter: undefined };
  const known = SOURCES.map((source) => source.name);
  const guess = didYouMean(name, known);
  const hint = guess === undefined
    ? `expected one of ${known.join("|")}, or a mapped one with its --ingester FILE`
    : `did you mean "${guess}"?`;
  throw new CommandError(`Cannot find source "${name}": ${hint}`, 2);
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
  const overrides: SourceOverrides = {
    ...(windowSeconds !== undefined && { windowSeconds }),
    ...(ttlSeconds !== undefined && { ttlSeconds }),
  };
  return {
    definition,
    runtime: runtime(definition, settings, overrides),
    filter: filters && { name: `${id} spec.filters`, source: definition.name, block: filters },
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
