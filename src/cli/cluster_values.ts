/** What completion takes from the cluster and the kubeconfig: within a bound of time, and nothing where that fails. */
import { contextNames } from "../kube/auth/kubeconfig.ts";
import type { KubeApi } from "../kube/api.ts";
import { createKubeClient } from "../kube/client.ts";
import { NAMESPACES } from "../kube/core_resources.ts";
import { SEVERITIES, type Severity } from "../model/observation.ts";
import { readObservations } from "../read/observations.ts";
import { type ObservationRow, toRow } from "../read/row.ts";
import type { Selection } from "../read/selection.ts";
import type { Settings } from "../settings.ts";
import { clusterChoice, connectionOf } from "./connect.ts";

/** The longest that a user who pressed Tab waits for a cluster. */
const DEADLINE_MS = 5_000;
/** Candidates at most. */
const MAX_VALUES = 1_000;

/** Flags before the word that is completed, by the names that commands give them, with all their values. */
export type GivenFlags = Readonly<Record<string, readonly string[]>>;

/** What each name of an argument or a flag's value takes from an Observation. */
const OF_OBSERVATIONS: Readonly<Record<string, (row: ObservationRow) => string>> = {
  "rule": (row) => row.rule,
  "workload": (row) => row.workload,
  "source": (row) => row.source,
  "kind": (row) => row.kind,
  "kind/name": (row) => row.kind && `${row.kind}/${row.resource}`,
  "observation": (row) => row.name,
};

/** True where the cluster or the kubeconfig has values of this name. */
export function isClusterValue(name: string): boolean {
  return name === "namespace" || name === "context" || name in OF_OBSERVATIONS;
}

/** What a completion is made from. */
export interface ClusterValuesOptions {
  readonly given: GivenFlags;
  readonly settings: () => Settings;
  readonly deadlineMs?: number;
}

/**
 * Candidates, `value<TAB>description`, of what the cluster holds. What is read by the deadline is returned; where the
 * cluster cannot be reached, or the user may not read it, there are none.
 */
export async function clusterValues(
  name: string,
  { given, settings, deadlineMs = DEADLINE_MS }: ClusterValuesOptions,
): Promise<readonly string[]> {
  const found = new Map<string, Counted>();
  const deadline = AbortSignal.timeout(deadlineMs);
  const late = new Promise<void>((resolve) => deadline.addEventListener("abort", () => resolve()));
  const reading = collect(name, { found, given, settings: settings(), signal: deadline }).catch(() => {});
  await Promise.race([reading, late]);
  const sorted = [...found].sort(([a], [b]) => a < b ? -1 : 1);
  return sorted.slice(0, MAX_VALUES).map(([value, counted]) => {
    const description = describe(counted);
    return description === "" ? value : `${value}\t${description}`;
  });
}

/** How many Observations have a value, and the worst of them; 0 where it is not one of theirs. */
interface Counted {
  count: number;
  worst: Severity;
}

interface Collecting {
  readonly found: Map<string, Counted>;
  readonly given: GivenFlags;
  readonly settings: Settings;
  readonly signal: AbortSignal;
}

async function collect(name: string, { found, given, settings, signal }: Collecting): Promise<void> {
  const last = (flag: string) => given[flag]?.at(-1);
  const flags = {
    kubeconfig: last("kubeconfig"),
    context: last("context"),
    as: last("as"),
    asGroup: given["asGroup"],
    asUid: last("asUid"),
  };
  if (name === "context") {
    const names = await contextNames(clusterChoice(flags, settings));
    for (const each of names) found.set(each, { count: 0, worst: "UNKNOWN" });
    return;
  }
  const connection = await connectionOf(flags, settings);
  if (signal.aborted) return;
  using api = createKubeClient(connection);
  if (name === "namespace" && await collectNamespaces(api, found, signal)) return;
  const namespace = given["allNamespaces"] ? undefined : last("namespace") ?? connection.namespace;
  const selection: Selection = {
    ...(name === "namespace" ? {} : { namespace }),
    ...(name !== "source" && { source: last("source") }),
    ...(name !== "rule" && { rule: last("rule") }),
    ...(name !== "workload" && { workload: last("workload") }),
  };
  const valueOf = OF_OBSERVATIONS[name] ?? ((row) => row.namespace);
  for await (const page of readObservations(api, selection, { signal })) {
    for (const each of page) count(found, valueOf(toRow(each)), each.spec.severity);
  }
}

/** False where the user may not list them: those of Observations are offered then. */
async function collectNamespaces(
  api: KubeApi,
  found: Map<string, Counted>,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    for (const { metadata } of (await api.list(NAMESPACES, { signal })).items) {
      found.set(metadata.name ?? "", { count: 0, worst: "UNKNOWN" });
    }
    return true;
  } catch {
    return false;
  }
}

function count(found: Map<string, Counted>, value: string, severity: Severity): void {
  if (value === "") return;
  const counted = found.get(value);
  if (!counted) found.set(value, { count: 1, worst: severity });
  else {
    counted.count++;
    if (SEVERITIES.indexOf(severity) < SEVERITIES.indexOf(counted.worst)) counted.worst = severity;
  }
}

function describe({ count, worst }: Counted): string {
  return count === 0 ? "" : `${worst}, ${count} ${count === 1 ? "Observation" : "Observations"}`;
}
