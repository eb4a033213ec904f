import type { Health } from "../health.ts";
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { LeaderElection } from "../kube/lease.ts";
import type { ApiOutages } from "../kube/outages.ts";
import type { WatchTuning } from "../kube/watch.ts";
import type { ChangeSignal } from "../model/change_signal.ts";
import type { Clock, ServerClock } from "../model/time.ts";
import type { Settings } from "../settings.ts";
import type { SourceStates } from "../sources/status.ts";
import type { Books, Metrics } from "../telemetry/metrics.ts";
import type { Scope } from "./pipeline.ts";
import type { ObjectReference } from "../kube/events.ts";
import { leaseName } from "../sources/rbac.ts";

/** What all three groups of the program use. */
export interface Shared {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly serverClock: ServerClock;
  /** When the connection to the API server was lost. */
  readonly outages: ApiOutages;
  /** The memory limit. */
  readonly memoryBytes: number;
  readonly watchTuning: WatchTuning | undefined;
  readonly metrics: Metrics;
  readonly states: SourceStates;
  readonly books: Books;
  readonly api: KubeClient;
  readonly health: Health;
  /** Raised by what may change decisions; every pulled feed is then evaluated in full again. */
  readonly evaluateAgain: ChangeSignal;
  readonly scope: Scope;
  readonly events: EventRecorder;
  /** Whether this replica leads. */
  readonly election: LeaderElection;
}

/** The shard's Lease, as Events name it. */
export function leaseReference({ instance, podNamespace }: Settings): ObjectReference {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    name: leaseName(instance),
    namespace: podNamespace,
  };
}
