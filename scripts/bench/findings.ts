/** The Observations that the benchmarks of readers store: the same ones in every run. */
import { SEVERITIES } from "../../src/model/observation.ts";
import { storedObservation } from "../../tests/support/observation.ts";

/** Where they are stored. */
export const BENCH_NAMESPACES = Array.from({ length: 40 }, (_, index) => `team-${index}`);

/** The namespace of the Observation of this index. */
export function findingNamespace(index: number): string {
  return BENCH_NAMESPACES[index % BENCH_NAMESPACES.length] ?? "";
}

/** `namespace/name` of the Observation of this index. */
export function keyOf(index: number): string {
  return `${findingNamespace(index)}/trivy-${String(index).padStart(20, "0")}`;
}

/** A vulnerability as Trivy reports it: one of 3,000 in one of 1,200 workloads, a tenth Resolved. */
export function benchFinding(index: number) {
  const cve = `CVE-2024-${1_000 + index % 3_000}`;
  const namespace = findingNamespace(index);
  const name = `service-${index % 1_200}`;
  const seenAt = new Date(Date.now() - (index % 60) * 86_400_000).toISOString();
  const library = `libx${index % 700}`;
  const observation = storedObservation({
    id: index,
    namespace,
    resource: { apiVersion: "apps/v1", kind: "Deployment", name, namespace },
    severity: SEVERITIES[index % SEVERITIES.length] ?? "LOW",
    rule: cve,
    message: `${library} 1.2.${
      index % 9
    } in container app of Deployment ${name}: a heap buffer overflow (fixed in 1.3.0)`,
    details: {
      image: `registry.example.com/team/${name}:1.${index % 30}`,
      container: "app",
      library,
      installedVersion: `1.2.${index % 9}`,
      fixedVersion: "1.3.0",
      link: `https://avd.aquasec.com/nvd/${cve.toLowerCase()}`,
      title: `${library}: a heap buffer overflow in the parser of headers may lead to code execution`,
      score: 7.5,
    },
    createdAt: Date.parse(seenAt),
    status: {
      firstSeenAt: seenAt,
      lastSeenAt: new Date().toISOString(),
      ...(index % 10 === 0 && { phase: "Resolved", resolvedAt: new Date().toISOString() }),
    },
  });
  return { ...observation, metadata: { ...observation.metadata, name: keyOf(index).split("/")[1] ?? "" } };
}
