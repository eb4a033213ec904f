/** The rights that zen-watcher needs: the rules of its sources, and what Ingesters add. Pure. */
import type { Access } from "../../kube/access.ts";
import type { Settings } from "../../settings.ts";
import type { CompiledIngester } from "../../mapped/compile.ts";
import { accessesOf, rbacRules } from "../../sources/rbac.ts";
import type { Source } from "../../sources/source.ts";

const READ = ["get", "list", "watch"] as const;

/** A right, and what needs it. */
export interface WantedAccess extends Access {
  /** For people: `source trivy`, `leader election`. */
  readonly by: string;
}

export interface WantedOptions {
  readonly settings: Settings;
  readonly sources: readonly Source[];
  readonly ingesters: readonly PlacedIngester[];
}

/** An Ingester, and the namespace it is in: its Secret is there too. */
export interface PlacedIngester {
  readonly namespace: string;
  readonly compiled: CompiledIngester;
}

/** The rights that the program needs, one entry for each verb, resource and namespace. */
export function wantedAccess({ settings, sources, ingesters }: WantedOptions): WantedAccess[] {
  return [
    ...accessesOf(rbacRules(settings, sources)),
    ...ingesters.flatMap((ingester) => ingesterAccess(ingester, settings)),
  ];
}

function ingesterAccess(
  { namespace, compiled: { source, input } }: PlacedIngester,
  settings: Settings,
): WantedAccess[] {
  const by = `source ${source}`;
  if (input.type === "configmap") {
    return wants({ group: "", resource: "configmaps", namespace: input.namespace }, READ, by);
  }
  if (input.type === "webhook") {
    if (!("secretName" in input.auth)) return [];
    return wants({ group: "", resource: "secrets", namespace, name: input.auth.secretName }, ["get"], by);
  }
  // A kind that the API server does not serve has no plural yet.
  if (input.resource === undefined) return [];
  const access = { group: input.group, resource: input.resource };
  if (input.namespace !== "") return wants({ ...access, namespace: input.namespace }, READ, by);
  return everywhere(settings, access, READ, by);
}

/** In the namespaces of the shard, or in all namespaces. */
function everywhere(
  { watchNamespaces }: Settings,
  access: Omit<Access, "verb">,
  verbs: readonly string[],
  by: string,
): WantedAccess[] {
  if (watchNamespaces.length === 0) return wants(access, verbs, by);
  return watchNamespaces.flatMap((namespace) => wants({ ...access, namespace }, verbs, by));
}

function wants(access: Omit<Access, "verb">, verbs: readonly string[], by: string): WantedAccess[] {
  return verbs.map((verb) => ({ verb, ...access, by }));
}
