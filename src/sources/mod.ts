/** The built-in sources, one line each. */
import { audit } from "./audit.ts";
import { checkov } from "./checkov.ts";
import { falco } from "./falco.ts";
import { kubeBench } from "./kube_bench.ts";
import { kyverno } from "./kyverno.ts";
import type { SourceDefinition } from "./source.ts";
import { trivy } from "./trivy.ts";

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
