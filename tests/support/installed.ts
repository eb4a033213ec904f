/** The chart as a cluster has it after `helm install`: everything but what needs Pods to mean something. */
import type { JsonObject } from "../../src/model/json.ts";
import {
  applyObject,
  environmentOf,
  one,
  renderChart,
  type Rendered,
  type RenderOptions,
  valueIn,
} from "./chart.ts";
import type { RealCluster } from "./cluster.ts";

const APPLIED = [
  "Namespace",
  "ServiceAccount",
  "ConfigMap",
  "ClusterRole",
  "ClusterRoleBinding",
  "Role",
  "RoleBinding",
  "ValidatingAdmissionPolicy",
  "ValidatingAdmissionPolicyBinding",
];

/** Samples and fixtures are compared without filters. */
export const UNFILTERED: JsonObject = {
  sources: {
    "trivy": null,
    "kyverno": null,
    "falco": null,
    "audit": null,
    "kube-bench": null,
    "checkov": null,
    "*": { minSeverity: "UNKNOWN" },
  },
};

/** What the samples of the demo want of the chart, their sources by configuration included. */
export const FOR_SAMPLES: JsonObject = {
  filters: UNFILTERED,
  webhooks: { ingesterSecrets: ["alertmanager-webhook"] },
  extraSourceRules: [{
    apiGroups: ["cert-manager.io"],
    resources: ["certificates"],
    verbs: ["get", "list", "watch"],
  }],
};

export interface Installed {
  readonly objects: readonly Rendered[];
  readonly namespace: string;
  /** The plain environment variables of its container. */
  readonly env: Readonly<Record<string, string>>;
  /** The user its ServiceAccount is, and a token of it as the kubelet would mount it. */
  readonly user: string;
  readonly token: string;
  /** The generated token of the webhooks; "" where the values want none. */
  readonly webhookToken: string;
}

/** Renders the chart and applies it. Our CRDs and the namespace must be there. */
export async function installChart(cluster: RealCluster, options: RenderOptions = {}): Promise<Installed> {
  const { namespace = "zen-system", release = "zen-watcher" } = options;
  const objects = await renderChart({ ...options, namespace, release });
  for (const kind of APPLIED) {
    for (const object of objects.filter((each) => each.kind === kind)) await applyObject(cluster, object);
  }
  const account = one(objects, "ServiceAccount").metadata.name;
  const secret = objects.find((each) =>
    each.kind === "Secret" && valueIn(each, "data", "token") !== undefined
  );
  return {
    objects,
    namespace,
    env: environmentOf(objects),
    user: `system:serviceaccount:${namespace}:${account}`,
    token: await cluster.serviceAccountToken(namespace, account),
    webhookToken: atob(String(valueIn(secret, "data", "token") ?? "")),
  };
}
