import { Health } from "../health.ts";
import type { KubeClient, KubeClientOptions } from "../kube/client.ts";
import { createEventRecorder, type EventRecorder } from "../kube/events.ts";
import { createLeaderElection, holderIdentity, type LeaderElection } from "../kube/lease.ts";
import { type ApiOutages, createApiOutages } from "../kube/outages.ts";
import { type Sleep, sleep as realSleep } from "../kube/retry.ts";
import type { WatchTuning } from "../kube/watch.ts";
import { ChangeSignal } from "../model/change_signal.ts";
import { type Clock, createServerClock, type ServerClock, systemClock } from "../model/time.ts";
import type { Settings } from "../settings.ts";
import { leaseName } from "../sources/rbac.ts";
import { BUILT_IN } from "../sources/registry.ts";
import { SourceStates } from "../sources/status.ts";
import { type Books, createBooks, createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { registerProcessMetrics } from "../telemetry/process.ts";
import { VERSION } from "../version.ts";
import { memoryLimit } from "./memory.ts";
import { type Scope, scopeOf } from "./pipeline.ts";

export interface SharedOptions {
  readonly settings: Settings;
  /** Creates the one client of the program. */
  readonly connect: (options: KubeClientOptions) => KubeClient;
  /** Ends the recorder of Events. */
  readonly recording: AbortSignal;
  readonly clock?: Clock;
  /** Waits; by default in real time. */
  readonly sleep?: Sleep;
  readonly random?: () => number;
  /** The memory limit in bytes; by default the container's. */
  readonly memoryBytes?: number;
  readonly watchTuning?: WatchTuning;
}

/** What all three groups of the program use. */
export interface Shared {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly sleep: Sleep;
  readonly random: () => number;
  readonly serverClock: ServerClock;
  /** When the connection to the API server was lost. */
  readonly outages: ApiOutages;
  /** The memory limit. */
  readonly memoryBytes: number;
  readonly watchTuning: WatchTuning;
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

/** Creates what the groups share. The client sends no request yet. */
export function createShared(options: SharedOptions): Shared {
  const { settings, connect, recording, clock = systemClock, sleep = realSleep, random = Math.random } =
    options;
  const { memoryBytes = memoryLimit(), watchTuning } = options;
  const metrics = createMetrics();
  registerProcessMetrics(metrics.registry, clock.now());
  metrics.buildInfo.set({ version: VERSION, deno_version: Deno.version.deno }, 1);
  const states = new SourceStates(metrics, clock);
  const books = createBooks(metrics, clock, {
    known: [...BUILT_IN.keys()],
    onPayloadError: (source, reason) => states.failed(source, reason),
  });
  const serverClock = createServerClock(clock);
  const outages = createApiOutages(() => clock.now() - (serverClock.skewMs ?? 0));
  const api = connect({ metrics, clock, onDate: serverClock.note, onLost: outages.noteLost });
  const identity = holderIdentity(settings.podName || Deno.hostname());
  return {
    settings,
    clock,
    sleep,
    random,
    serverClock,
    outages,
    memoryBytes,
    watchTuning: { sleep, random, ...watchTuning },
    metrics,
    states,
    books,
    api,
    health: new Health(clock, metrics),
    evaluateAgain: new ChangeSignal(),
    scope: scopeOf(settings),
    events: createEventRecorder({ api, signal: recording, instance: identity, clock, sleep, random }),
    election: createLeaderElection({
      api,
      namespace: settings.podNamespace,
      name: leaseName(settings.instance),
      identity,
      metrics,
      sleep,
      random,
    }),
  };
}
