/** Reads the reports of the sources themselves: how many there are, how old, what they checked, which workloads they are about. */
import { type KubeObject, resourceName, type ResourceType } from "../kube/api.ts";
import { topOfChain, workloadKey, workloadOf } from "../model/identity.ts";
import { isObject, type JsonObject, list } from "../model/json.ts";
import type { Resource } from "../model/observation.ts";
import { reportSubject, resultResources } from "../sources/kyverno/mod.ts";
import { SOURCES } from "../sources/registry.ts";
import { reportedResource } from "../sources/trivy/mod.ts";
import type { SettingValues } from "../text/setting.ts";
import { type Checks, checksOf, noChecks } from "./checks.ts";
import type { Progress, ReadApi } from "./pages.ts";
import {
  madeAt,
  placeName,
  placeRight,
  readObjects,
  readReports,
  reportPlaces,
  type ReportState,
} from "./reports.ts";

/** What a resource of a source holds. */
export interface ReportCoverage {
  readonly source: string;
  readonly resource: string;
  /** Why nothing is counted: not installed, or a right that is missing. */
  readonly state: ReportState;
  readonly reports: number;
  /** When the newest report was made; "" where there is none. */
  readonly newest: string;
  readonly oldest: string;
  readonly checks: Checks;
}

/** Everything that was read. */
export interface Coverage {
  readonly reports: readonly ReportCoverage[];
  /** By benchmark of kube-bench and framework of Checkov. */
  readonly benchmarks: ReadonlyMap<string, Checks>;
  /** By policy or check. */
  readonly policies: ReadonlyMap<string, Checks>;
  /** `namespace/Kind/name` of workloads that no report is about; undefined where they cannot be listed. */
  readonly uncovered: readonly string[] | undefined;
  /** Rights that are missing. */
  readonly missing: readonly string[];
}

/** Which reports are read. */
export interface CoverageOptions {
  /** Absent: all namespaces, and what is in none. */
  readonly namespace?: string | undefined;
  readonly settings: SettingValues;
  /** Called as objects come. */
  readonly onPage?: ((progress: Progress) => void) | undefined;
}

const WORKLOADS: readonly ResourceType[] = [
  workloadType("apps", "deployments", "Deployment"),
  workloadType("apps", "statefulsets", "StatefulSet"),
  workloadType("apps", "daemonsets", "DaemonSet"),
  workloadType("batch", "cronjobs", "CronJob"),
];

/** Reads all reports by pages, in one namespace or all, and what they cover. */
export async function readCoverage(api: ReadApi, options: CoverageOptions): Promise<Coverage> {
  const { namespace, onPage } = options;
  const counter = { read: 0 };
  const covered = new Set<string>();
  const benchmarks = new Map<string, Checks>();
  const policies = new Map<string, Checks>();
  const missing: string[] = [];
  const reports: ReportCoverage[] = [];
  for (const place of SOURCES.flatMap((source) => reportPlaces(source, options))) {
    const checks = noChecks();
    let count = 0;
    let newest = "";
    let oldest = "";
    const take = (report: KubeObject) => {
      count++;
      const made = madeAt(report);
      if (made > newest) newest = made;
      if (oldest === "" || made < oldest) oldest = made;
      for (const resource of subjectsOf(report)) {
        const workload = coveredKey(resource);
        if (workload !== undefined) covered.add(workload);
      }
      for (const { benchmark, name, verdict, count = 1 } of checksOf(report)) {
        checks[verdict] += count;
        if (benchmark !== undefined) tallyOf(benchmarks, benchmark)[verdict] += count;
        if (name !== undefined) tallyOf(policies, name)[verdict] += count;
      }
    };
    const state = await readReports(api, place, { take, onPage, counter });
    if (state === "forbidden") missing.push(placeRight(place));
    const { source } = place;
    reports.push({
      source: source.name,
      resource: placeName(place),
      state,
      reports: count,
      newest,
      oldest,
      checks,
    });
  }
  const uncovered: string[] = [];
  let isComplete = true;
  for (const type of WORKLOADS) {
    const take = ({ metadata }: KubeObject) => {
      const { namespace: where = "", name = "" } = metadata;
      const { kind } = type;
      if (!covered.has(workloadKey({ kind, name, namespace: where }))) {
        uncovered.push(`${where}/${kind}/${name}`);
      }
    };
    const state = await readObjects(api, type, {
      take,
      counter,
      ...(namespace !== undefined && { namespace }),
      ...(onPage && { onPage }),
    });
    if (state !== "read") isComplete = false;
    if (state === "forbidden") missing.push(`list ${resourceName(type)}`);
  }
  return { reports, benchmarks, policies, uncovered: isComplete ? uncovered.sort() : undefined, missing };
}

/** What was read as JSON holds it. */
export function coverageDocument(coverage: Coverage): object {
  const { benchmarks, policies } = coverage;
  return {
    ...coverage,
    benchmarks: Object.fromEntries(benchmarks),
    policies: Object.fromEntries(policies),
  };
}

function workloadType(group: string, plural: string, kind: string): ResourceType {
  return { group, version: "v1", plural, kind, namespaced: true };
}

function tallyOf(tallies: Map<string, Checks>, name: string): Checks {
  let tally = tallies.get(name);
  if (!tally) tallies.set(name, tally = noChecks());
  return tally;
}

/**
 * What a report is about: the resources of each result, and where some name none, its scope, else its labels or its owner. A
 * report of a namespace says nothing of another one.
 */
function subjectsOf(report: KubeObject): readonly Resource[] {
  const { namespace = "" } = report.metadata;
  const body = report as unknown as JsonObject;
  const subjects = isObject(body.report)
    ? [reportedResource(body, { confined: true })]
    : policySubjects(body, namespace);
  return subjects.filter((resource) => namespace === "" || resource.namespace === namespace);
}

function policySubjects(report: JsonObject, namespace: string): readonly Resource[] {
  const named = list(report.results).map((result) => resultResources(result, namespace));
  const isWhole = named.length > 0 && named.every(({ length }) => length > 0);
  const rest = isWhole && !isObject(report.scope) ? undefined : reportSubject(report, namespace);
  return [...named.flat(), ...(rest ? [rest] : [])];
}

/** A Pod of a StatefulSet ends in a number, one of a DaemonSet in five characters. */
const ORDINAL = /-\d{1,4}$/;

/** The workload behind a resource, as `workloadKey` writes it; undefined where none lists it. */
function coveredKey(resource: Resource): string | undefined {
  const owner = topOfChain(resource);
  if (owner.kind?.toLowerCase() !== "pod") return workloadKey(owner);
  const name = workloadOf(owner);
  if (name === undefined || name === owner.name) return undefined;
  return workloadKey({ ...owner, kind: ORDINAL.test(owner.name ?? "") ? "StatefulSet" : "DaemonSet", name });
}
