/** What is said of an Ingester or ObservationMapping. */
import type { KubeObject } from "../kube/api.ts";

/** `Ingester zen-system/alertmanager`. */
export function idOf({ kind, metadata }: KubeObject): string {
  return `${kind ?? "Ingester"} ${metadata.namespace ?? ""}/${metadata.name ?? ""}`;
}

/** The reason until discovery and the Secret have answered. It is no condition: what was said before stays. */
export const DISCOVERING = "Discovering";

/** What is said of one object in its condition. */
export interface Verdict {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

/** The verdict on what its owner switched off. */
export function disabled(): Verdict {
  return { ready: false, reason: "Disabled", message: "spec.enabled is false" };
}
