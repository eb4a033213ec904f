/** `check --rbac`: which rights zen-watcher needs that this user lacks, and the rules that add them. */
import { stringify } from "yaml";
import type { KubeApi, KubeObject } from "../../kube/api.ts";
import { type Access, missingAccess, whoAmI } from "../../kube/access.ts";
import { groupVersionName, readServed } from "../../kube/discovery.ts";
import { compileMapped } from "../../mapped/compile.ts";
import { servedState } from "../../mapped/served.ts";
import type { Settings } from "../../settings.ts";
import { SOURCES } from "../../sources/registry.ts";
import { plural } from "../output/problems.ts";
import { type PlacedIngester, type WantedAccess, wantedAccess } from "./wanted_access.ts";

export interface RbacOptions {
  readonly api: KubeApi;
  readonly settings: Settings;
  /** Ingesters of files: the rights they need are checked too. */
  readonly mapped: readonly KubeObject[];
}

/** The rights that a user lacks. */
export interface RbacReport {
  readonly user: string;
  /** Rights that were checked, and how many of them are missing. */
  readonly wanted: number;
  readonly denied: number;
  /** Roles that add them. */
  readonly missing: readonly object[];
  /** What could not be checked, and why. */
  readonly unknown: readonly string[];
}

/** The report as text. */
export function renderRbac({ user, wanted, denied, missing }: RbacReport): string {
  if (denied === 0) return `${user} may do all ${wanted} things zen-watcher needs\n`;
  const head = `${user} may not do ${denied} of ${
    plural(wanted, "thing")
  } zen-watcher needs. Missing rules:\n`;
  return head + missing.map((role) => `---\n${stringify(role, { lineWidth: 0 })}`).join("");
}

/** Asks the API server which rights are missing. */
export async function readRbac({ api, settings, mapped }: RbacOptions): Promise<RbacReport> {
  const compiled = mapped.flatMap((object) => {
    const result = compileMapped(object);
    const namespace = object.metadata.namespace ?? settings.podNamespace;
    return result.ok ? [{ namespace, compiled: result.value }] : [];
  });
  const { ingesters, unknown } = await withPlurals(api, compiled);
  const wanted = wantedAccess({ settings, sources: SOURCES, ingesters });
  const user = (await whoAmI(api))?.username ?? "this user";
  const missing = await missingAccess(api, wanted.map(toAccess));
  const keys = new Set(missing.map(({ access }) => JSON.stringify(access)));
  const denied = wanted.filter((access) => keys.has(JSON.stringify(toAccess(access))));
  return { user, wanted: wanted.length, denied: denied.length, missing: rolesOf(denied), unknown };
}

/** Looks up the plural of each ObservationMapping's kind: rights are by plural. */
async function withPlurals(
  api: KubeApi,
  ingesters: readonly PlacedIngester[],
): Promise<{ readonly ingesters: readonly PlacedIngester[]; readonly unknown: readonly string[] }> {
  const byKind = ingesters.flatMap(({ compiled: { input } }) =>
    input.type === "informer" && input.kind !== undefined ? [input] : []
  );
  const served = await readServed(api, byKind);
  const unknown: string[] = [];
  const known = ingesters.map((placed) => {
    const { input, source } = placed.compiled;
    if (input.type !== "informer" || input.kind === undefined) return placed;
    const state = servedState(input, served.get(groupVersionName(input)) ?? { state: "pending" });
    if (state.state === "served") {
      const [type] = state.resources;
      return {
        ...placed,
        compiled: { ...placed.compiled, input: { ...input, resource: type?.plural ?? "" } },
      };
    }
    unknown.push(`Cannot tell which right source ${source} needs: ${state.message}`);
    return placed;
  });
  return { ingesters: known, unknown };
}

function toAccess({ by: _by, ...access }: WantedAccess): Access {
  return access;
}

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly resourceNames?: string[];
  readonly verbs: string[];
}

/** A ClusterRole, and a Role for each namespace. */
function rolesOf(denied: readonly WantedAccess[]): object[] {
  const byNamespace = Map.groupBy(denied, (access) => access.namespace ?? "");
  return [...byNamespace].map(([namespace, accesses]) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: namespace === "" ? "ClusterRole" : "Role",
    metadata: { name: "zen-watcher-missing", ...(namespace !== "" && { namespace }) },
    rules: rulesOf(accesses),
  }));
}

function rulesOf(accesses: readonly WantedAccess[]): Rule[] {
  const what = ({ group, resource, subresource, name }: WantedAccess) =>
    JSON.stringify([group, resource, subresource, name]);
  return [...Map.groupBy(accesses, what).values()].flatMap((same) => {
    const [first] = same;
    if (!first) return [];
    const { group, resource, subresource, name } = first;
    return [{
      apiGroups: [group],
      resources: [subresource === undefined ? resource : `${resource}/${subresource}`],
      ...(name !== undefined && { resourceNames: [name] }),
      verbs: same.map(({ verb }) => verb),
    }];
  });
}
