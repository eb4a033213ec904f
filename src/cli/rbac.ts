/** `zen-watcher check --rbac`: what this user may not do of what zen-watcher needs, and the rules that would mend it. */
import { stringify } from "yaml";
import { type Access, missingAccess, whoAmI } from "../kube/access.ts";
import type { KubeApi, KubeObject } from "../kube/api.ts";
import type { Settings } from "../settings.ts";
import { compileMapped } from "../sources/mapped/compile.ts";
import { SOURCES } from "../sources/mod.ts";
import type { Io } from "./io.ts";
import { plural } from "./report.ts";
import { type Wanted, wantedAccess } from "./wanted_access.ts";

export interface RbacOptions {
  readonly api: KubeApi;
  readonly io: Io;
  readonly settings: Settings;
  /** Ingesters of files: what they read is wanted too. */
  readonly mapped: readonly KubeObject[];
}

/** Prints the missing rules; 1 where one is missing. */
export async function checkRbac({ api, io, settings, mapped }: RbacOptions): Promise<number> {
  const ingesters = mapped.flatMap((object) => {
    const result = compileMapped(object);
    const namespace = object.metadata.namespace ?? settings.podNamespace;
    return result.ok ? [{ namespace, compiled: result.value }] : [];
  });
  const wanted = wantedAccess({ settings, sources: SOURCES, ingesters });
  const user = (await whoAmI(api))?.username ?? "this user";
  const missing = await missingAccess(api, wanted.map(toAccess));
  if (missing.length === 0) {
    io.stdout(`${user} may do all ${wanted.length} things zen-watcher needs\n`);
    return 0;
  }
  const keys = new Set(missing.map(({ access }) => JSON.stringify(access)));
  const denied = wanted.filter((access) => keys.has(JSON.stringify(toAccess(access))));
  io.stdout(
    `${user} may not do ${denied.length} of ${
      plural(wanted.length, "thing")
    } zen-watcher needs. Missing rules:\n`,
  );
  for (const role of rolesOf(denied)) io.stdout(`---\n${stringify(role, { lineWidth: 0 })}`);
  return 1;
}

function toAccess({ by: _by, ...access }: Wanted): Access {
  return access;
}

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly resourceNames?: string[];
  readonly verbs: string[];
}

/** A ClusterRole, and a Role for each namespace. */
function rolesOf(denied: readonly Wanted[]): object[] {
  const byNamespace = Map.groupBy(denied, (access) => access.namespace ?? "");
  return [...byNamespace].map(([namespace, accesses]) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: namespace === "" ? "ClusterRole" : "Role",
    metadata: { name: "zen-watcher-missing", ...(namespace !== "" && { namespace }) },
    rules: rulesOf(accesses),
  }));
}

function rulesOf(accesses: readonly Wanted[]): Rule[] {
  const what = ({ group, resource, subresource, name }: Wanted) =>
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
