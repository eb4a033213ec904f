/** The name under which tools' findings of one workload are grouped: the label `workload`. Never identity. */
import type { Resource } from "../observation.ts";
import { cronJobOfJob, deploymentOfPod, deploymentOfReplicaSet } from "./names.ts";

/** Kinds whose own name is the workload's. */
const CONTROLLERS: ReadonlySet<string> = new Set(["deployment", "statefulset", "daemonset", "cronjob"]);
/** What Kubernetes ends the names of a controller's Pods with. */
const POD_SUFFIX = /^(.+)-[bcdfghjklmnpqrstvwxz2456789]{5}$/;
const ORDINAL = /^(.+)-\d{1,4}$/;

/**
 * The workload of a resource, by its kind and name alone: a Deployment, StatefulSet, DaemonSet or CronJob by its name; a
 * ReplicaSet, Job or Pod less what Kubernetes generated (hash, number, suffix, ordinal); undefined for anything else.
 */
export function workloadOf(resource: Resource | undefined): string | undefined {
  const { kind = "", name = "" } = resource ?? {};
  if (name === "") return undefined;
  const word = kind.toLowerCase();
  if (CONTROLLERS.has(word)) return name;
  if (word === "replicaset") return deploymentOfReplicaSet(name) ?? name;
  if (word === "job") return cronJobOfJob(name) ?? name;
  return word === "pod" ? workloadOfPod(name) : undefined;
}

function workloadOfPod(name: string): string {
  const deployment = deploymentOfPod(name);
  if (deployment !== undefined) return deployment;
  const owner = POD_SUFFIX.exec(name)?.[1];
  if (owner !== undefined) return cronJobOfJob(owner) ?? owner;
  return ORDINAL.exec(name)?.[1] ?? name;
}
