/** The tools' real reports and results, and how many different findings are in them, counted without `src/sources`. */
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { loadDocuments, loadObjects } from "./load_fixture.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** Reports or ConfigMaps of one tool. */
export interface ToolReports {
  readonly objects: readonly JsonObject[];
  /** `source eventType` → Observations that must come of them. */
  readonly wanted: Readonly<Record<string, number>>;
}

interface TrivyTruth {
  readonly reports: readonly {
    readonly name: string;
    readonly namespace?: string;
    readonly kind: string;
    readonly owner: JsonObject;
    readonly distinct_id_pkg_version_purl?: number;
  }[];
}

const TRIVY_EVENT_TYPES: Readonly<Record<string, string>> = {
  VulnerabilityReport: "vulnerability",
  ConfigAuditReport: "misconfiguration",
  ExposedSecretReport: "exposed-secret",
  RbacAssessmentReport: "rbac-risk",
  ClusterRbacAssessmentReport: "rbac-risk",
  InfraAssessmentReport: "infra-risk",
};

/** Reports of Trivy Operator on a kind cluster, and of a vulnerable shop. */
export async function trivyReports(): Promise<ToolReports> {
  const truth: Record<string, TrivyTruth> = await truthOf("trivy");
  const files = [
    "trivy-vulnerabilityreport/scb-kind-vulnerabilityreports-list.json.gz",
    "trivy-vulnerabilityreport/scb-juice-shop-v10.2.0-236.json.gz",
    "trivy-configauditreport/scb-kind-configauditreports-list.json.gz",
    "trivy-exposedsecretreport/scb-juice-shop-v10.2.0-secrets.json",
    "trivy-rbac-infra/scb-kind-clusterrbacassessmentreports-list.json.gz",
    "trivy-rbac-infra/scb-kind-rbacassessmentreports-list.json",
    "trivy-rbac-infra/scb-kind-infraassessmentreports-list.json",
  ];
  const objects = await realObjects("trivy", files);
  const vulnerabilities: Record<string, number> = {};
  const checks = new Set<string>();
  for (const report of files.flatMap((file) => truth[file]?.reports ?? [])) {
    const { kind, name, namespace = "", owner, distinct_id_pkg_version_purl: distinct = 0 } = report;
    const eventType = TRIVY_EVENT_TYPES[kind] ?? "";
    if (eventType === "vulnerability") vulnerabilities[name] = distinct;
    for (const object of objects.filter((each) => isNamed(each, { kind, name, namespace }))) {
      for (const check of failedChecks(object)) checks.add(JSON.stringify([eventType, owner, check]));
    }
  }
  const wanted = addCounts(
    ...Object.values(vulnerabilities).map((count) => ({ "trivy vulnerability": count })),
    ...[...checks].map((key) => ({ [`trivy ${JSON.parse(key)[0]}`]: 1 })),
  );
  return { objects, wanted };
}

/** Reports of Kyverno in both API groups and four of their versions, one of them by another tool. */
export async function policyReports(): Promise<ToolReports> {
  const objects = await realObjects("kyverno", [
    "kyverno-policyreport/run-chain-deployment-paymentservice.json",
    "kyverno-policyreport/run-chain-replicaset-paymentservice.json",
    "kyverno-policyreport/run-chain-pod-paymentservice.json",
    "kyverno-policyreport/run-largest-with-managedfields.json",
    "kyverno-policyreport/sc-kyverno-policyreport.json",
    "kyverno-policyreport/sc-kyverno-clusterpolicyreport.json",
    "kyverno-policyreport/sc-insights-policyreport-v1alpha1.json",
    "openreports/run-single-report.json",
  ]);
  const twice = objects[2];
  const keys = new Set(objects.flatMap(failedResults));
  const wanted: Record<string, number> = {};
  for (const key of keys) {
    const [eventType, source] = JSON.parse(key);
    const name = source === "insights" ? "policy-report" : "kyverno";
    wanted[`${name} ${eventType}`] = (wanted[`${name} ${eventType}`] ?? 0) + 1;
  }
  // While Kyverno moves to the other API group, both groups have the same results for a while.
  const both = { ...twice, apiVersion: "openreports.io/v1alpha1", kind: "Report" };
  return { objects: [...objects, both], wanted };
}

/** Results of kube-bench on two nodes. */
export async function kubeBenchResults(): Promise<ToolReports> {
  const truth: Record<string, { byStatus: { FAIL?: number; WARN?: number } }> = await truthOf("kube-bench");
  const [configMap] = await realObjects("kube-bench", ["kube-bench/configmap-node-1.json"]);
  const subset = "kube-bench/run-cis-1.12-check-subset.json";
  const second = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "kube-bench-node-2", namespace: "kube-bench", labels: { app: "kube-bench" } },
    data: { "results.json": await Deno.readTextFile(new URL(`sources/kube-bench/real/${subset}`, FIXTURES)) },
  };
  const files = ["kube-bench/configmap-node-1.json", subset];
  const count = files.reduce((sum, file) => {
    const { FAIL = 0, WARN = 0 } = truth[file]?.byStatus ?? {};
    return sum + FAIL + WARN;
  }, 0);
  return {
    objects: [...(configMap ? [configMap] : []), second],
    wanted: { "kube-bench cis-benchmark": count },
  };
}

/** A result of Checkov on Kubernetes Goat. */
export async function checkovResults(): Promise<ToolReports> {
  const truth: Record<string, { distinct: number }> = await truthOf("checkov");
  const file = "checkov/configmap-kubernetes-goat.json.gz";
  return {
    objects: await realObjects("checkov", [file]),
    wanted: { "checkov static-analysis": truth[file]?.distinct ?? 0 },
  };
}

/** Alerts of Falco, and the fingerprints of what must come of them. */
export async function falcoAlerts(): Promise<{ bodies: readonly Json[]; fingerprints: ReadonlySet<string> }> {
  const bodies: Json[] = [];
  const fingerprints = new Set<string>();
  for (const folder of ["upstream-rules", "documented-alerts"]) {
    bodies.push(...await loadDocuments(`sources/falco/${folder}/input.json`));
    const [expected] = await loadDocuments(`sources/falco/${folder}/expected.json`);
    for (const observation of objectsOf(expected, "observations")) {
      fingerprints.add(storedFingerprintOf(observation));
    }
  }
  return { bodies, fingerprints };
}

/** The full fingerprint of an Observation. */
export function storedFingerprintOf({ metadata }: JsonObject): string {
  const annotations = isObject(metadata) && isObject(metadata.annotations) ? metadata.annotations : {};
  return String(annotations["zen.kube-zen.io/fingerprint"]);
}

/** Adds counts up. */
export function addCounts(...counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const count of counts) {
    for (const [key, value] of Object.entries(count)) sum[key] = (sum[key] ?? 0) + value;
  }
  return sum;
}

async function truthOf<T>(source: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(new URL(`sources/${source}/truth.json`, FIXTURES)));
}

async function realObjects(source: string, files: readonly string[]): Promise<JsonObject[]> {
  return (await Promise.all(files.map((file) => loadObjects(`sources/${source}/real/${file}`)))).flat();
}

/** The failed checks of a report and their messages; the secrets found, of a report of those. */
function failedChecks({ report }: JsonObject): Json[] {
  const failed = objectsOf(report, "checks").filter(({ success }) => success !== true);
  return [
    ...failed.map(({ checkID, messages }) => [checkID ?? "", messages ?? []]),
    ...objectsOf(report, "secrets").map(({ ruleID, target }) => [ruleID ?? "", target ?? ""]),
  ];
}

function isNamed(object: JsonObject, wanted: { kind: string; name: string; namespace: string }): boolean {
  const { name, namespace = "" } = isObject(object.metadata) ? object.metadata : {};
  return object.kind === wanted.kind && name === wanted.name && namespace === wanted.namespace;
}

/** One key for each failed result, its subject's generated hash aside: `[eventType, source, policy, rule, …]`. */
function failedResults(report: JsonObject): string[] {
  return objectsOf(report, "results").flatMap(({ policy, rule = "", result, status, source, ...rest }) => {
    const outcome = String(result ?? status);
    if (!["fail", "warn", "error"].includes(outcome)) return [];
    const eventType = outcome === "error" ? "policy-error" : "policy-violation";
    const bare = String(rule).replace("autogen-cronjob-", "").replace("autogen-", "");
    const [subject] = objectsOf(rest, "resources");
    const { kind, namespace = "", name } = subject ?? (isObject(report.scope) ? report.scope : {});
    const tool = source === "insights" ? source : "kyverno";
    return [JSON.stringify([eventType, tool, policy, bare, namespace, ...lastingOf(kind, name)])];
  });
}

/** The lasting resource of a chain of owners: the Deployment of a ReplicaSet and of its Pods. */
function lastingOf(kind: Json | undefined, name: Json | undefined): Json[] {
  const parts = String(name ?? "").split("-");
  const generated = kind === "ReplicaSet"
    ? 1
    : kind === "Pod" && /-[a-z0-9]{8,10}-[a-z0-9]{5}$/.test(String(name))
    ? 2
    : 0;
  return generated === 0
    ? [kind ?? "", name ?? ""]
    : ["Deployment", parts.slice(0, parts.length - generated).join("-")];
}

function objectsOf(value: Json | undefined, key: string): JsonObject[] {
  const list = isObject(value) ? value[key] : undefined;
  return Array.isArray(list) ? list.filter(isObject) : [];
}
