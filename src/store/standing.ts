/** How a finding stands with its source, and what is to be thought of one that no view has spoken of. */

/**
 * How a finding stands with its source: `reported`; `ended` by a readable view (at that time); `unheard` of by
 * complete views since this book was opened; `absent`, its resource is not served; `pending`, its source cannot say.
 */
export type Standing =
  | { readonly kind: "reported" | "unheard" | "absent" | "pending" }
  | { readonly kind: "ended"; readonly atSeconds: number };

/** What is asked about. */
export interface Asked {
  readonly source: string;
  readonly eventType: string;
  readonly namespace: string;
  /** The first 64 bits of its fingerprint, in hex; more does not harm. */
  readonly fingerprint: string;
}

/** What is known of a resource whose documents report findings. */
export type ResourceState = "pending" | "complete" | "absent" | "unreadable";

export interface SeenResource {
  readonly state: ResourceState;
  /** Documents never read in full: what they may report is not known. */
  readonly blind: ReadonlySet<string>;
}

export interface UnheardOptions {
  /** The event types a resource of a source may report; undefined: any. */
  readonly eventTypesOf?: (source: string, resource: string) => readonly string[] | undefined;
  /** Namespaces that hold Observations of other namespaces' findings (our own, OBSERVATION_NAMESPACE). */
  readonly sharedNamespaces: readonly string[];
}

const CONFIGMAPS = "configmaps";

/** How a finding stands that none of these resources of its source has reported. */
export function standingOfUnheard(
  resources: ReadonlyMap<string, SeenResource>,
  { source, eventType, namespace }: Omit<Asked, "fingerprint">,
  { eventTypesOf, sharedNamespaces }: UnheardOptions,
): "unheard" | "absent" | "pending" {
  let complete = false;
  for (const [resource, view] of resources) {
    const types = eventTypesOf?.(source, resource);
    if (types && !types.includes(eventType)) continue;
    if (view.state === "pending" || view.state === "unreadable") return "pending";
    if (view.state === "absent") continue;
    const holdsAll = resource.split(" ", 1)[0] === CONFIGMAPS || sharedNamespaces.includes(namespace);
    if (view.blind.size > 0 && (holdsAll || mayReport(view, namespace))) return "pending";
    complete = true;
  }
  return complete ? "unheard" : "absent";
}

/** True where a document that was never read may report findings of that namespace. */
function mayReport({ blind }: SeenResource, namespace: string): boolean {
  for (const key of blind) {
    const slash = key.indexOf("/");
    if (slash < 0 || key.slice(0, slash) === namespace) return true;
  }
  return false;
}
