/** How a finding stands with its source, and what is to be thought of one that no view has spoken of. */
import type { ViewKey } from "../model/view.ts";

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

/** What is known of a view. */
export type ViewState = "pending" | "complete" | "absent" | "unreadable";

/** A view as far as its silence about a finding is judged by it. */
export interface SeenView {
  readonly key: ViewKey;
  readonly state: ViewState;
  /** Documents never read in full: what they may report is not known. */
  readonly blind: ReadonlySet<string>;
}

export interface UnheardOptions {
  /** The event types a view may report; undefined: any. */
  readonly eventTypesOf?: (view: ViewKey) => readonly string[] | undefined;
  /** Namespaces that hold Observations of other namespaces' findings (our own, OBSERVATION_NAMESPACE). */
  readonly sharedNamespaces: readonly string[];
}

const CONFIGMAPS = "configmaps";

/** How a finding stands that none of these views of its source has reported. */
export function standingOfUnheard(
  views: Iterable<SeenView>,
  { eventType, namespace }: Pick<Asked, "eventType" | "namespace">,
  { eventTypesOf, sharedNamespaces }: UnheardOptions,
): "unheard" | "absent" | "pending" {
  let complete = false;
  for (const view of views) {
    const types = eventTypesOf?.(view.key);
    if (types && !types.includes(eventType)) continue;
    if (view.state === "pending" || view.state === "unreadable") return "pending";
    if (view.state === "absent") continue;
    const holdsAll = view.key.resource === CONFIGMAPS || sharedNamespaces.includes(namespace);
    if (view.blind.size > 0 && (holdsAll || mayReport(view, namespace))) return "pending";
    complete = true;
  }
  return complete ? "unheard" : "absent";
}

/** True where a document that was never read may report findings of that namespace. */
function mayReport({ blind }: SeenView, namespace: string): boolean {
  for (const key of blind) {
    const slash = key.indexOf("/");
    if (slash < 0 || key.slice(0, slash) === namespace) return true;
  }
  return false;
}
