/** Whom a report speaks of, and which of its fields identify a finding. */
import type { JsonObject } from "../model/json.ts";
import { reportedWorkload } from "../model/identity/names.ts";
import type { Resource } from "../model/observation.ts";
import { apiVersionOf } from "./kinds.ts";
import { at, type Field, list, textAt, withoutEmpty } from "./read.ts";

/** The parts of a subject as a report says them, "" where it does not. */
export interface SubjectFields {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

/** A resource of those parts that are known; a built-in kind's apiVersion is filled in. */
export function subjectOf({ apiVersion, kind, name, namespace }: SubjectFields): Resource {
  const version = apiVersion || apiVersionOf(kind);
  return {
    ...(version ? { apiVersion: version } : {}),
    ...(kind ? { kind } : {}),
    ...(name ? { name } : {}),
    ...(namespace ? { namespace } : {}),
  };
}

/** The controlling owner of a report, else its first. */
export function ownerOf(report: Field): Field {
  const owners = list(at(report, "metadata", "ownerReferences"));
  return owners.find((owner) => at(owner, "controller") === true) ?? owners[0];
}

/** What of a resource lasts: no ReplicaSet hash, no Job number, no version of its group. */
export function lastingSubject(resource: Resource): JsonObject {
  return withoutEmpty({
    group: customGroup(resource),
    kind: resource.kind,
    namespace: resource.namespace,
    name: reportedWorkload(resource).name,
  });
}

/** The group of a kind that is not built in, or shares its name with one that is (Knative's Service). */
function customGroup({ apiVersion = "", kind = "" }: Resource): string {
  const [group = "", version] = apiVersion.split("/", 2);
  if (version === undefined || !group.includes(".") || group.endsWith(".k8s.io")) return "";
  return apiVersionOf(kind).startsWith(`${group}/`) ? "" : group;
}

/** The first label or annotation of these names that is not "". */
export function wordAt(words: Field, names: readonly string[]): string {
  for (const name of names) {
    const word = textAt(words, name);
    if (word !== "") return word;
  }
  return "";
}
