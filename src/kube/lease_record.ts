/** The `Lease` object as leader election writes and reads it. */
import { isObject } from "../model/json.ts";
import type { KubeObject, ResourceType } from "./api.ts";

export const LEASES: ResourceType = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};

/** Who holds the lease and since when. `holderIdentity` "" after a release. */
export interface LeaseRecord {
  readonly holderIdentity: string;
  readonly leaseDurationSeconds: number;
  readonly acquireTime: string;
  readonly renewTime: string;
  readonly leaseTransitions: number;
}

/** What `lease.spec` says; whatever is missing or nonsense reads as released, or as 0. */
export function readRecord(lease: KubeObject): LeaseRecord {
  const spec = isObject(lease["spec"]) ? lease["spec"] : {};
  const text = (value: unknown) => typeof value === "string" ? value : "";
  const count = (value: unknown) => typeof value === "number" && value > 0 ? Math.floor(value) : 0;
  return {
    holderIdentity: text(spec["holderIdentity"]),
    leaseDurationSeconds: count(spec["leaseDurationSeconds"]),
    acquireTime: text(spec["acquireTime"]),
    renewTime: text(spec["renewTime"]),
    leaseTransitions: count(spec["leaseTransitions"]),
  };
}

/** `lease` with another record; everything else, the resourceVersion above all, stays. */
export function withRecord(lease: KubeObject, record: LeaseRecord): KubeObject {
  const spec = isObject(lease["spec"]) ? lease["spec"] : {};
  return { ...lease, apiVersion: "coordination.k8s.io/v1", kind: "Lease", spec: { ...spec, ...record } };
}

/** Kubernetes' MicroTime: six digits, always. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}
