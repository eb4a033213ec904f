/** Which resources an informer of an Ingester reads, of those that the API server serves. Pure. */
import type { ResourceType } from "../kube/api.ts";
import { groupVersionName, type Served } from "../kube/discovery.ts";
import type { MappedInput } from "./compile.ts";
import { refuseTarget } from "./trust.ts";
import { DISCOVERING } from "./verdict.ts";

/** An Ingester's input of type informer. */
export type InformerInput = Extract<MappedInput, { type: "informer" }>;

/** The resources to read, or reason and message for the condition. */
export type ServedState =
  | { readonly state: "served"; readonly resources: readonly ResourceType[] }
  | { readonly state: "absent"; readonly reason: string; readonly message: string };

/** The reason if the API server does not serve the named resource. */
export const NOT_SERVED = "NotServed";
/** Most resources that one `*` takes. */
const MAX_RESOURCES = 200;

/** Finds what `input` names among what its group and version serve: a plural, a kind, or all of them. */
export function servedState(input: InformerInput, served: Served): ServedState {
  const name = input.group === "" ? `core/${input.version}` : groupVersionName(input);
  switch (served.state) {
    case "pending":
      return { state: "absent", reason: DISCOVERING, message: `${name} is not looked up yet` };
    case "unknown": {
      const message = `the API server does not say what it serves of ${name}; the log says why`;
      return { state: "absent", reason: "DiscoveryFailed", message };
    }
    case "absent":
      return notServed(input, name);
    case "served": {
      const resources = served.resources.filter((type) => isMeant(type, input)).slice(0, MAX_RESOURCES);
      return resources.length > 0 ? { state: "served", resources } : notServed(input, name);
    }
  }
}

function notServed({ kind, resource }: InformerInput, name: string): ServedState {
  const what = kind ?? (resource === "*" ? "any resource" : resource ?? "");
  return {
    state: "absent",
    reason: NOT_SERVED,
    message: `the API server does not serve ${what} of ${name}`,
  };
}

function isMeant(type: ResourceType, { resource, kind }: InformerInput): boolean {
  if (refuseTarget({ group: type.group, resource: type.plural }, [])) return false;
  if (resource === undefined) return type.kind === kind;
  return resource === "*" || type.plural === resource;
}
