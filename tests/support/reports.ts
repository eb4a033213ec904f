/** Trivy's reports as a scanner that finds more and more would write them, and what must come of them. */
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { ApiError, hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { backoff, retry } from "../../src/kube/retry.ts";

export const VULNERABILITY_REPORTS: ResourceType = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};

/** A run of changes: every report is created with its first vulnerabilities and then gets one more at each change. */
export interface ReportChanges {
  readonly namespace: string;
  /** The reports' numbers: from, up to but not including. */
  readonly reports: readonly [from: number, to: number];
  /** How many vulnerabilities each has before (0: it is created) and after. */
  readonly found: readonly [before: number, after: number];
  readonly writers?: number;
  /** Awaited by the writer whose write it was; the others go on. */
  readonly onWrite?: () => Promise<void> | void;
}

/** Writes until the API server has taken every change, however often it says no. */
export async function changeReports(api: KubeApi, changes: ReportChanges): Promise<void> {
  const { namespace, reports: [from, to], found: [before, after], writers = 4, onWrite } = changes;
  const queue = Array.from({ length: to - from }, (_, offset) => from + offset).values();
  const write = async () => {
    for (const index of queue) {
      for (let found = before + 1; found <= after; found++) {
        await insist(() => writeReport(api, { namespace, index, found }));
        await onWrite?.();
      }
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
}

/** `app-3 CVE-2026-1002` for each finding that must be stored once. */
export function wantedFindings(reports: number, found: number): string[] {
  const subjects = Array.from(
    { length: reports },
    (_, index) => Array.from({ length: found }, (_, number) => `${workload(index)} ${cve(number)}`),
  );
  return subjects.flat().sort();
}

/** What stored Observations of Trivy are about, in order, doubles included. */
export function findingsOf(observations: Iterable<KubeObject | JsonObject>): string[] {
  const found: string[] = [];
  for (const { spec } of observations) {
    if (!isObject(spec) || spec.source !== "trivy" || !isObject(spec.resource) || !isObject(spec.details)) {
      continue;
    }
    found.push(`${spec.resource.name} ${spec.details.vulnerabilityID}`);
  }
  return found.sort();
}

/** Retries while the API server is away, throttles or is still starting (403 and 404, before its rules are loaded). */
export async function insist(write: () => Promise<unknown>): Promise<void> {
  await retry(write, {
    backoff: backoff({ initialMs: 50, maxMs: 500, maxRetryAfterMs: 1_000 }),
    retryable: (error) => !(error instanceof ApiError) || error.status !== 400,
    maxAttempts: 300,
  });
}

async function writeReport(
  api: KubeApi,
  { namespace, index, found }: { namespace: string; index: number; found: number },
): Promise<void> {
  const object = vulnerabilityReport(namespace, index, found);
  if (found === 1) {
    await api.create(VULNERABILITY_REPORTS, object).catch((error) => {
      // A create whose answer was lost is found done when it is tried again.
      if (!hasStatus(error, 409)) throw error;
    });
  } else {
    const patch = { report: { vulnerabilities: vulnerabilities(found) } };
    await api.patch(VULNERABILITY_REPORTS, object.metadata.name ?? "", patch, { namespace, type: "merge" });
  }
}

/** A report with so many vulnerabilities. */
export function vulnerabilityReport(namespace: string, index: number, found: number): KubeObject {
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: {
      name: `statefulset-${workload(index)}-main`,
      namespace,
      labels: {
        "trivy-operator.resource.kind": "StatefulSet",
        "trivy-operator.resource.name": workload(index),
        "trivy-operator.resource.namespace": namespace,
        "trivy-operator.container.name": "main",
      },
    },
    report: {
      artifact: { repository: "library/app", tag: "1.0" },
      scanner: { name: "Trivy", vendor: "Aqua Security", version: "0.35.0" },
      vulnerabilities: vulnerabilities(found),
    },
  };
}

function vulnerabilities(count: number): JsonObject[] {
  return Array.from({ length: count }, (_, number) => ({
    vulnerabilityID: cve(number),
    resource: "openssl",
    installedVersion: "3.0.1",
    fixedVersion: "3.0.2",
    severity: "HIGH",
    title: "A bug",
    target: "",
  }));
}

function workload(index: number): string {
  return `app-${index}`;
}

function cve(number: number): string {
  return `CVE-2026-${1_000 + number}`;
}
