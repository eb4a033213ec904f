/** What the tests of the page store: a few findings of several tools, whose figures the tests know. */
import type { Json } from "../../../src/model/json.ts";
import { OBSERVATIONS } from "../../../src/store/mod.ts";
import type { DevWorld } from "../../support/dev_world.ts";
import { type ObservationFields, storedObservation } from "../../support/observation.ts";

/** Fields of an Observation, and what it is about. */
export type StoredFields = ObservationFields & { readonly deployment?: string };

const HOUR_MS = 3_600_000;

/** A time so many hours before now, to the second. */
export function hoursAgo(hours: number): string {
  return `${new Date(Date.now() - hours * HOUR_MS).toISOString().slice(0, 19)}Z`;
}

/** Findings of a few workloads: 9 Active (1 critical, 2 high, 3 medium, 2 low, 1 unknown), 1 Resolved. */
export const STORED: readonly StoredFields[] = [
  {
    id: "web-xz",
    namespace: "shop",
    deployment: "web",
    source: "trivy",
    severity: "CRITICAL",
    rule: "CVE-2024-3094",
    message: "xz-utils 5.6.0 in web: malicious code in the upstream tarballs (fixed in 5.6.2)",
    details: {
      image: "registry.example.com/shop/web:1.4",
      package: "xz-utils",
      installedVersion: "5.6.0",
      score: 10,
      references: ["https://nvd.example.com/CVE-2024-3094", "javascript:alert(1)"],
    },
    status: { firstSeenAt: hoursAgo(50), lastSeenAt: hoursAgo(1), occurrences: 12 },
  },
  {
    id: "web-shell",
    kind: "occurrence",
    namespace: "shop",
    resource: { apiVersion: "v1", kind: "Pod", name: "web-7d4b9c6f5b-x2x4z", namespace: "shop" },
    source: "falco",
    category: "security",
    eventType: "runtime-threat",
    severity: "HIGH",
    rule: "Terminal shell in container",
    message: "bash was started by root with a terminal in web",
    status: { firstSeenAt: hoursAgo(3), lastSeenAt: hoursAgo(2), occurrences: 3 },
  },
  {
    id: "web-tag",
    namespace: "shop",
    deployment: "web",
    source: "kyverno",
    eventType: "policy-violation",
    severity: "MEDIUM",
    rule: "disallow-latest-tag/require-image-tag",
    message: "An image tag is required",
    status: { firstSeenAt: hoursAgo(30), lastSeenAt: hoursAgo(1), reopenedAt: hoursAgo(2) },
  },
  {
    id: "api-openssl",
    namespace: "shop",
    deployment: "api",
    source: "trivy",
    severity: "HIGH",
    rule: "CVE-2022-3602",
    message: "openssl 3.0.5 in api: buffer overflow in the check of e-mail addresses (fixed in 3.0.7)",
    details: { image: "registry.example.com/shop/api:2.0", package: "openssl", fixedVersion: "3.0.7" },
    status: { firstSeenAt: hoursAgo(26), lastSeenAt: hoursAgo(1) },
  },
  {
    id: "api-xz",
    namespace: "shop",
    deployment: "api",
    source: "trivy",
    severity: "LOW",
    rule: "CVE-2023-0001",
    message: "zlib 1.2 in api: slow on one input",
    status: { firstSeenAt: hoursAgo(400), lastSeenAt: hoursAgo(1) },
  },
  {
    id: "api-old",
    namespace: "shop",
    deployment: "api",
    source: "trivy",
    severity: "CRITICAL",
    rule: "CVE-2024-3094",
    message: "xz-utils 5.6.0 in api: malicious code in the upstream tarballs",
    status: {
      phase: "Resolved",
      firstSeenAt: hoursAgo(72),
      lastSeenAt: hoursAgo(6),
      resolvedAt: hoursAgo(5),
      resolvedReason: "NotReported",
    },
  },
  ...["pay", "ledger"].map((name): StoredFields => ({
    id: `${name}-root`,
    namespace: "pay",
    deployment: name,
    source: "checkov",
    category: "compliance",
    eventType: "misconfiguration",
    severity: "MEDIUM",
    rule: "CKV_K8S_23",
    message: `${name} admits containers that run as root`,
    status: { firstSeenAt: hoursAgo(100), lastSeenAt: hoursAgo(1) },
  })),
  {
    id: "pay-low",
    namespace: "pay",
    deployment: "pay",
    source: "kyverno",
    eventType: "policy-violation",
    severity: "LOW",
    rule: "require-labels",
    message: "The label app.kubernetes.io/name is required",
    status: { firstSeenAt: hoursAgo(800), lastSeenAt: hoursAgo(1) },
  },
  {
    id: "node",
    namespace: "zen-system",
    source: "kube-bench",
    category: "compliance",
    eventType: "benchmark",
    severity: "UNKNOWN",
    rule: "4.2.1",
    message: "Ensure that the --anonymous-auth argument is set to false",
    status: { firstSeenAt: hoursAgo(200), lastSeenAt: hoursAgo(20) },
  },
];

/** More findings, all LOW, of one namespace: for lists that are longer than the screen. */
export function many(count: number): StoredFields[] {
  return Array.from({ length: count }, (_, index): StoredFields => ({
    id: `many-${index}`,
    namespace: "bulk",
    deployment: `job-${index % 20}`,
    source: "trivy",
    severity: "LOW",
    rule: `CVE-2020-${10_000 + index}`,
    message: `package ${index} is old`,
    status: { firstSeenAt: hoursAgo(90 + index), lastSeenAt: hoursAgo(1 + index / 60) },
  }));
}

/** Stores Observations with their status, in namespaces that are made where they are missing. */
export async function store(world: DevWorld, stored: readonly StoredFields[]): Promise<void> {
  await world.namespaces(stored.map(({ namespace = "default" }) => namespace));
  for (const fields of stored) await storeOne(world, fields);
}

/** Stores one Observation and returns where it is. */
export async function storeOne(
  world: DevWorld,
  { deployment, ...fields }: StoredFields,
): Promise<{ readonly namespace: string; readonly name: string }> {
  const { status, metadata: { uid: _, resourceVersion: __, ...metadata }, ...object } = storedObservation({
    ...(deployment !== undefined && {
      resource: {
        apiVersion: "apps/v1",
        kind: "Deployment",
        name: deployment,
        ...(fields.namespace !== undefined && { namespace: fields.namespace }),
      },
    }),
    ...fields,
  });
  await world.api.create(OBSERVATIONS, { ...object, metadata });
  const { name = "", namespace = "" } = metadata;
  const options = { namespace, subresource: "status", type: "merge" } as const;
  await world.api.patch(OBSERVATIONS, name, { status: status as Json }, options);
  return { namespace, name };
}
