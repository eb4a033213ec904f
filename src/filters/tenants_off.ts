/** While TENANT_FILTERS is off: says in the status of tenants' ObservationFilters that they are not in force. Runs on the leader. */
import type { Beat } from "../model/beat.ts";
import { type KubeApi, type KubeObject, namespacedName } from "../kube/api.ts";
import { type Conditions, isSaid, type ReadyCondition } from "../kube/conditions.ts";
import { elapsed } from "../kube/retry.ts";
import { watch, type WatchTuning } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import { OBSERVATION_FILTERS } from "./observation_filters.ts";

export interface TenantsOffOptions {
  readonly api: KubeApi;
  readonly conditions: Pick<Conditions, "set" | "forget" | "waiting">;
  readonly ownNamespace: string;
  /** Of tenants; "" is all of them. */
  readonly namespaces: readonly string[];
  readonly watchTuning: WatchTuning;
}

/** Most conditions that wait for their write, so that a tenant with thousands of filters leaves room for those of others. */
const MAX_WAITING = 1_000;
const TICK_MS = 1_000;
/** Longest time between two beats while conditions wait. */
const ROUND_MS = 60_000;

const log = logger("filter");

/** Runs until `signal` aborts. Without the right to read them, their status stays as it is. */
export async function sayTenantsOff(
  { namespaces, ...options }: TenantsOffOptions,
  { signal, beat }: { readonly signal: AbortSignal; readonly beat: Beat },
): Promise<void> {
  await Promise.all(
    namespaces.map((namespace) =>
      sayOffIn(options, { namespace, signal, beat: beat.of(namespace || "all namespaces") })
    ),
  );
}

async function sayOffIn(
  { api, conditions, ownNamespace, watchTuning }: Omit<TenantsOffOptions, "namespaces">,
  scope: { readonly namespace: string; readonly signal: AbortSignal; readonly beat: Beat },
): Promise<void> {
  const { signal, beat } = scope;
  for await (const event of watch(api, OBSERVATION_FILTERS, { ...watchTuning, ...scope })) {
    if (event.type === "delete") conditions.forget(OBSERVATION_FILTERS, event.object);
    if (event.type !== "apply" || event.object.metadata.namespace === ownNamespace) continue;
    const condition = offCondition(event.object, ownNamespace);
    if (isSaid(event.object, condition, {})) continue;
    const { message } = condition;
    log.warn("Filter is not in force while TENANT_FILTERS is off", {
      observationFilter: namespacedName(event.object),
      message,
    });
    conditions.set(OBSERVATION_FILTERS, event.object, condition);
    while (conditions.waiting >= MAX_WAITING) {
      beat.within(ROUND_MS);
      if (!await elapsed(TICK_MS, { signal, sleep: watchTuning.sleep })) return;
    }
  }
}

function offCondition({ metadata }: KubeObject, ownNamespace: string): ReadyCondition {
  const { namespace = "", generation = 0 } = metadata;
  return {
    status: "False",
    reason: "NamespaceNotTrusted",
    message: `only ${ownNamespace} is obeyed while TENANT_FILTERS is off, this is ${namespace}`,
    observedGeneration: generation,
  };
}
