/** PolicyReports as a tenant writes them. */
import type { KubeObject, ResourceType } from "../../src/kube/api.ts";

export const POLICY_REPORTS: ResourceType = {
  group: "wgpolicyk8s.io",
  version: "v1alpha2",
  plural: "policyreports",
  kind: "PolicyReport",
  namespaced: true,
};

/** A PolicyReport of so many failed results, each by another engine where `engines` says so. */
export function policyReport(
  namespace: string,
  name: string,
  { results, engines = 0 }: { readonly results: number; readonly engines?: number },
): KubeObject {
  return {
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { namespace, name },
    scope: { apiVersion: "v1", kind: "Pod", name, namespace },
    results: Array.from({ length: results }, (_, index) => ({
      policy: `policy-${index}`,
      rule: "rule",
      result: "fail",
      severity: "high",
      message: `result ${index}`,
      source: engines > 0 ? `engine-${index % engines}` : "kyverno",
    })),
  } as unknown as KubeObject;
}
