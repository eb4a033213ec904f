/** A compiled Ingester as a source definition: the same shape as the built-in ones'. */
import type { ResourceType } from "../kube/api.ts";
import type { SourceDefinition } from "../sources/source.ts";
import type { CompiledIngester } from "./compile.ts";
import { drawMapped } from "./draw.ts";

export interface DefinitionContext {
  /** Who says so, for people. */
  readonly id: string;
  /** The built-in source a door leads to. */
  readonly builtin: SourceDefinition | undefined;
  /** What an informer reads. */
  readonly resources: readonly ResourceType[];
}

/** The definition, or undefined for a door to a source that is not built in. */
export function definitionOf(
  compiled: CompiledIngester,
  { id, builtin, resources }: DefinitionContext,
): SourceDefinition | undefined {
  const input = inputOf(compiled, resources);
  const { mapping } = compiled;
  if (!mapping) return builtin && { ...builtin, input };
  return {
    name: compiled.source,
    kind: compiled.kind ?? "finding",
    input,
    categories: mapping.categories,
    summary: id,
    identity: { "*": compiled.identityFields },
    severityMap: compiled.severityMap,
    toEvents: (payload) => drawMapped(mapping, payload),
  };
}

function inputOf({ input }: CompiledIngester, resources: readonly ResourceType[]): SourceDefinition["input"] {
  switch (input.type) {
    case "informer":
      return { type: "informer", resources };
    case "webhook":
      return { type: "webhook", path: input.path };
    case "configmap": {
      const { namespace, labelSelector, key } = input;
      return { type: "configmap", namespace, namespaceEnv: "", labelSelector, key };
    }
  }
}
