/** The built-in sources, one line each. */
import { audit } from "./audit/mod.ts";
import { checkov } from "./checkov/mod.ts";
import { falco } from "./falco/mod.ts";
import { kubeBench } from "./kube_bench/mod.ts";
import { kyverno } from "./kyverno/mod.ts";
import type { SourceDefinition } from "./source.ts";
import { trivy } from "./trivy/mod.ts";

/** Every built-in source, in the order of the README. */
export const SOURCES: readonly SourceDefinition[] = [
  trivy,
  kyverno,
  falco,
  audit,
  kubeBench,
  checkov,
];

/** The built-in source of a name. */
export function sourceNamed(name: string): SourceDefinition | undefined {
  return SOURCES.find((source) => source.name === name);
}
