/** The rights a test gives the program on a real API server. */
import type { JsonObject } from "../../src/core/json.ts";
import type { Cluster } from "./cluster.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const READ = ["get", "list", "watch"];
const WRITE = ["create", "update", "patch", "delete"];

/** What the program needs: no wildcard, ConfigMaps and Secrets only where it is told to look. */
export const CLUSTER_RULES: JsonObject[] = [
  {
    apiGroups: ["zen.kube-zen.io"],
    resources: ["observations", "observations/status"],
    verbs: [...READ, ...WRITE],
  },
  {
    apiGroups: ["zen.kube-zen.io"],
    resources: ["observationfilters", "ingesters", "observationmappings"].flatMap((
      name,
    ) => [name, `${name}/status`]),
    verbs: [...READ, "update", "patch"],
  },
  {
    apiGroups: ["aquasecurity.github.io"],
    resources: [
      "vulnerabilityreports",
      "clustervulnerabilityreports",
      "configauditreports",
      "clusterconfigauditreports",
      "exposedsecretreports",
      "rbacassessmentreports",
      "clusterrbacassessmentreports",
      "infraassessmentreports",
      "clusterinfraassessmentreports",
    ],
    verbs: READ,
  },
  { apiGroups: ["wgpolicyk8s.io"], resources: ["policyreports", "clusterpolicyreports"], verbs: READ },
  { apiGroups: ["openreports.io"], resources: ["reports", "clusterreports"], verbs: READ },
];
/** In its own namespace. */
export const OWN_RULES: JsonObject[] = [
  {
    apiGroups: ["coordination.k8s.io"],
    resources: ["leases"],
    verbs: [...READ, "create", "update", "patch"],
  },
  { apiGroups: ["", "events.k8s.io"], resources: ["events"], verbs: ["create", "patch"] },
  { apiGroups: [""], resources: ["configmaps", "secrets"], verbs: READ },
];
/** In the namespaces of kube-bench and Checkov. */
export const RESULT_RULES: JsonObject[] = [{ apiGroups: [""], resources: ["configmaps"], verbs: READ }];

export interface Grant {
  readonly rules: JsonObject[];
  /** Everywhere, if absent. */
  readonly namespace?: string;
  /** Of the role; default: the user's. */
  readonly name?: string;
}

/** Gives a user these rights. */
export async function grant(
  cluster: Cluster,
  user: string,
  { rules, namespace, name = user }: Grant,
): Promise<void> {
  const [kind, path] = namespace === undefined
    ? ["ClusterRole", RBAC]
    : ["Role", `${RBAC}/namespaces/${namespace}`];
  const plural = `${kind.toLowerCase()}s`;
  await cluster.expect("POST", `${path}/${plural}`, { body: { metadata: { name }, rules } });
  await cluster.expect("POST", `${path}/${kind.toLowerCase()}bindings`, {
    body: {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
    },
  });
}
