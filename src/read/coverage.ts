/** Reads the reports of the sources themselves: how many there are, how old, what they checked, which workloads they are about. */
import {
  hasStatus,
  type KubeApi,
  type KubeObject,
  listedObjects,
  resourceName,
  type ResourceType,
} from "../kube/api.ts";
import { workloadOf } from "../model/identity.ts";
import { isObject, type Json, list } from "../model/json.ts";
import { readTime } from "../model/time.ts";
import { SOURCES } from "../sources/registry.ts";
import { watchedResources } from "../sources/source.ts";

/** What a resource of a source holds. */
export interface ReportCoverage {
  readonly source: string;
  readonly resource: string;
  /** Why nothing is counted: not installed, or a right that is missing. */
  readonly state: "read" | "absent" | "forbidden";
  readonly reports: number;
  /** When the newest report was made; "" where there is none. */
  readonly newest: string;
  readonly oldest: string;
  readonly checks: Checks;
}

/** How many checks ended how. Vulnerabilities and secrets are no checks. */
export interface Checks {
  pass: number;
  fail: number;
  warn: number;
  error: number;
  skip: number;
}

/** Everything that was read. */
export interface Coverage {
  readonly reports: readonly ReportCoverage[];
  /** By policy or check. */
  readonly policies: ReadonlyMap<string, Checks>;
  /** `namespace/Kind/name` of workloads that no report is about; undefined where they cannot be listed. */
  readonly uncovered: readonly string[] | undefined;
  /** Rights that are missing. */
  readonly missing: readonly string[];
}

const PAGE_SIZE = 200;
const WORKLOADS: readonly ResourceType[] = [
  workloadType("apps", "deployments", "Deployment"),
  workloadType("apps", "statefulsets", "StatefulSet"),
  workloadType("apps", "daemonsets", "DaemonSet"),
  workloadType("batch", "cronjobs", "CronJob"),
];

/** Reads all reports by pages, in one namespace or all, and what they cover. */
export async function readCoverage(
  api: KubeApi,
  { namespace }: { readonly namespace?: string | undefined },
): Promise<Coverage> {
  const covered = new Set<string>();
  const policies = new Map<string, Checks>();
  const missing: string[] = [];
  const reports: ReportCoverage[] = [];
  for (const source of SOURCES) {
    // What is in no namespace is read where all are.
    const resources = watchedResources(source).filter(({ namespaced }) =>
      namespaced || namespace === undefined
    );
    for (const versions of Map.groupBy(resources, resourceName).values()) {
      const read = await readFirstServed(api, { versions, namespace, policies, covered });
      const resource = resourceName(versions[0]!);
      if (read.state === "forbidden") missing.push(`list ${resource}`);
      reports.push({ source: source.name, resource, ...read });
    }
  }
  const uncovered: string[] = [];
  let isComplete = true;
  for (const type of WORKLOADS) {
    try {
      for await (const { metadata } of objectsOf(api, type, namespace)) {
        const { namespace: where = "", name = "" } = metadata;
        if (!covered.has(`${where}/${name}`)) uncovered.push(`${where}/${type.kind}/${name}`);
      }
    } catch (error) {
      isComplete = false;
      if (hasStatus(error, 404)) continue;
      if (!hasStatus(error, 403)) throw error;
      missing.push(`list ${resourceName(type)}`);
    }
  }
  return { reports, policies, uncovered: isComplete ? uncovered.sort() : undefined, missing };
}

function workloadType(group: string, plural: string, kind: string): ResourceType {
  return { group, version: "v1", plural, kind, namespaced: true };
}

interface Question {
  /** Versions of one resource; the first that is served is read. */
  readonly versions: readonly ResourceType[];
  readonly namespace: string | undefined;
  readonly policies: Map<string, Checks>;
  readonly covered: Set<string>;
}

async function readFirstServed(
  api: KubeApi,
  { versions, namespace, policies, covered }: Question,
): Promise<Omit<ReportCoverage, "source" | "resource">> {
  const checks = noChecks();
  let reports = 0;
  let newest = "";
  let oldest = "";
  for (const type of versions) {
    try {
      for await (const report of objectsOf(api, type, namespace)) {
        reports++;
        const made = madeAt(report);
        if (made > newest) newest = made;
        if (oldest === "" || made < oldest) oldest = made;
        const workload = workloadKeyOf(report);
        if (workload !== undefined) covered.add(workload);
        for (const { name, verdict } of checksOf(report)) {
          checks[verdict]++;
          let policy = policies.get(name);
          if (!policy) policies.set(name, policy = noChecks());
          policy[verdict]++;
        }
      }
      return { state: "read", reports, newest, oldest, checks };
    } catch (error) {
      if (hasStatus(error, 403)) return { state: "forbidden", reports, newest, oldest, checks };
      if (!hasStatus(error, 404)) throw error;
    }
  }
  return { state: "absent", reports, newest, oldest, checks };
}

function objectsOf(
  api: KubeApi,
  type: ResourceType,
  namespace: string | undefined,
): AsyncGenerator<KubeObject> {
  const where = namespace && type.namespaced ? { namespace } : {};
  return listedObjects((page) => api.list(type, { limit: PAGE_SIZE, ...where, ...page }));
}

function noChecks(): Checks {
  return { pass: 0, fail: 0, warn: 0, error: 0, skip: 0 };
}

/** Trivy says when it made a report; a policy report is rewritten with each result. */
function madeAt({ metadata, report, results }: KubeObject): string {
  const own = isObject(report) ? readTime(report["updateTimestamp"])?.text : undefined;
  const seconds = Array.isArray(results) ? Math.max(0, ...results.map(secondsOf)) : 0;
  return own ?? (seconds > 0 ? readTime(seconds * 1_000)?.text : undefined) ?? metadata.creationTimestamp ??
    "";
}

function secondsOf(result: unknown): number {
  const timestamp = isObject(result) ? result["timestamp"] : undefined;
  const seconds = isObject(timestamp) ? timestamp["seconds"] : undefined;
  return typeof seconds === "number" ? seconds : 0;
}

interface Check {
  readonly name: string;
  readonly verdict: keyof Checks;
}

/** Results of a policy report, checks of a Trivy report. */
function checksOf({ report, results }: KubeObject): Check[] {
  const checks = isObject(report) ? report["checks"] : undefined;
  return [...list(results).map(resultCheck), ...list(checks).map(trivyCheck)].filter((check) =>
    check !== undefined
  );
}

function resultCheck(result: Json): Check | undefined {
  if (!isObject(result)) return undefined;
  const { policy, result: verdict } = result;
  return typeof policy === "string" && isVerdict(verdict) ? { name: policy, verdict } : undefined;
}

function trivyCheck(check: Json): Check | undefined {
  if (!isObject(check) || typeof check["checkID"] !== "string") return undefined;
  return { name: check["checkID"], verdict: check["success"] === true ? "pass" : "fail" };
}

function isVerdict(value: unknown): value is keyof Checks {
  return typeof value === "string" && Object.hasOwn(noChecks(), value);
}

const RESOURCE_LABEL = "trivy-operator.resource.";

/** `namespace/workload` of what a report is about. */
function workloadKeyOf({ metadata, scope }: KubeObject): string | undefined {
  const { labels = {}, ownerReferences = [], namespace = "" } = metadata;
  const named = isObject(scope)
    ? { kind: scope["kind"], name: scope["name"] }
    : labels[`${RESOURCE_LABEL}name`] === undefined
    ? { kind: ownerReferences[0]?.kind, name: ownerReferences[0]?.name }
    : { kind: labels[`${RESOURCE_LABEL}kind`], name: labels[`${RESOURCE_LABEL}name`] };
  if (typeof named.kind !== "string" || typeof named.name !== "string") return undefined;
  const workload = workloadOf({ kind: named.kind, name: named.name });
  return workload === undefined ? undefined : `${namespace}/${workload}`;
}
