/** The Ready condition of an Ingester or ObservationMapping. */
import type { KubeObject } from "../kube/api.ts";

/** `Ingester zen-system/alertmanager`. */
export function idOf({ kind, metadata }: KubeObject): string {
  return `${kind ?? "Ingester"} ${metadata.namespace ?? ""}/${metadata.name ?? ""}`;
}

/** An id as messages write it: `Ingester zen-system/x` gives `ingester "zen-system/x"`. */
export function quotedId(id: string): string {
  const space = id.indexOf(" ");
  return `${id.slice(0, space).toLowerCase()} "${id.slice(space + 1)}"`;
}

/** The reason until discovery and the Secret have been read. It is never written: the stored condition stays until then. */
export const DISCOVERING = "Discovering";

/** The status, reason and message of one object's Ready condition. */
export interface Verdict {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

/** The verdict on an object with `spec.enabled: false`. */
export function disabled(): Verdict {
  return { ready: false, reason: "Disabled", message: "spec.enabled is false" };
}
