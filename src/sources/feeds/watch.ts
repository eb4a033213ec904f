/** Reads one view of a feed by list and watch: all its documents at the start and at each resync, then change by change. */
import type { Beat } from "../../model/beat.ts";
import type { ChangeSignal } from "../../model/change_signal.ts";
import type { Clock } from "../../model/time.ts";
import type { Origin, Payload } from "../../model/event.ts";
import { viewName } from "../../model/view.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../kube/api.ts";
import { backoff } from "../../kube/retry.ts";
import { watch, WATCH_TURN_MS, type WatchTuning } from "../../kube/watch.ts";
import { logger } from "../../telemetry/logging.ts";
import type { Metrics } from "../../telemetry/metrics.ts";
import type { WatchScope } from "../source.ts";
import type { SourceStates } from "../status.ts";
import { createEvaluator, type Evaluator, type EvaluatorOptions } from "./evaluator.ts";

export interface ReadViewOptions extends Pick<EvaluatorOptions, "view" | "views" | "payloadOf" | "take"> {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly scope: WatchScope;
  readonly states: SourceStates;
  /** Full evaluations happen this often. */
  readonly resyncMs: number;
  /** Fires when a full evaluation is needed now (changed filters, budget recovery). */
  readonly evaluateAgain: Pick<ChangeSignal, "subscribe">;
  readonly beat: Beat;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly watchTuning?: WatchTuning | undefined;
}

const log = logger("sources");
/**
 * Longest wait between tries while RBAC denies reading. Each denied request is a line in the API server's audit log, and
 * if that log is sent to zen-watcher, an `access-denied` event.
 */
const DENIED_MS = 120_000;

/** The payload of a report or mapped object: the object itself. */
export function objectPayload(object: KubeObject, receivedAt: number): Payload {
  const origin = originOf(object, { confined: !isKubernetesEvent(object) });
  return { body: object as unknown as Payload["body"], origin, receivedAt };
}

/** The origin of an object's findings. */
export function originOf({ metadata }: KubeObject, { confined }: Pick<Origin, "confined">): Origin {
  const { namespace = "", name = "", labels = {}, annotations = {} } = metadata;
  return { namespace, name, labels, annotations, confined };
}

/** Events may name any resource: the API server itself puts those of cluster-scoped ones into `default`. */
function isKubernetesEvent({ apiVersion = "", kind }: KubeObject): boolean {
  return kind === "Event" && (apiVersion === "v1" || apiVersion.startsWith("events.k8s.io/"));
}

/** Reads the view until `signal` aborts. */
export async function readView(options: ReadViewOptions, signal: AbortSignal): Promise<void> {
  const { type, api, watchTuning } = options;
  const failure = new AbortController();
  const evaluator = createEvaluator({
    ...options,
    ...(watchTuning?.sleep && { sleep: watchTuning.sleep }),
    signal: AbortSignal.any([signal, failure.signal]),
    read: (key) => readAgain(api, type, key),
  });
  const running = evaluator.run();
  try {
    await followView(options, { evaluator, signal });
  } finally {
    failure.abort();
    await running;
  }
}

/** Lists and watches; lists again at each resync and each call for re-evaluation. */
async function followView(
  options: ReadViewOptions,
  { evaluator, signal }: { readonly evaluator: Evaluator; readonly signal: AbortSignal },
): Promise<void> {
  const { view, states, views, metrics, clock, beat, watchTuning: { random } = {} } = options;
  const events = watch<KubeObject>(options.api, options.type, {
    deniedBackoff: backoff({ maxMs: DENIED_MS, ...(random && { random }) }),
    ...options.scope,
    ...options.watchTuning,
    signal,
    metrics,
    clock,
    beat,
    onState: (state) => {
      // After the abort, the next reader of the view may have set its state already.
      if (!signal.aborted) states.set(view, state);
    },
  });
  using _listener = options.evaluateAgain.subscribe(() => events.relist());
  /** Waits for the intake without a due beat, because it waits as long as the API server is unreachable. */
  async function handOver(work: Promise<void>): Promise<void> {
    beat.idle();
    await work;
    beat.within(WATCH_TURN_MS);
  }
  let resync: ReturnType<typeof setTimeout> | undefined;
  let startedAt = clock.monotonic();
  try {
    for await (const event of events) {
      switch (event.type) {
        case "init":
          startedAt = clock.monotonic();
          views.begin(view);
          evaluator.begin();
          break;
        case "apply":
          await handOver(evaluator.evaluate(event.object));
          break;
        case "delete":
          await handOver(evaluator.gone(event.object));
          break;
        case "synced":
          await handOver(evaluator.settled());
          metrics.scrapeDuration.observe(
            { watcher: metrics.sourceLabel(view.source) },
            (clock.monotonic() - startedAt) / 1_000,
          );
          if (!signal.aborted) views.complete(view);
          clearTimeout(resync);
          resync = setTimeout(() => events.relist(), options.resyncMs);
          break;
        case "error":
          noteError(options, event);
          break;
      }
    }
  } finally {
    clearTimeout(resync);
  }
}

function noteError(
  { view, views, states }: ReadViewOptions,
  { error, reason, state }: { error: unknown; reason: string; state: "absent" | "forbidden" | "failing" },
): void {
  states.failed(view.source, reason);
  if (state !== "failing") views.lost(view, state === "absent" ? "absent" : "unreadable");
  const fields = { source: view.source, resource: viewName(view), reason, error };
  if (state === "failing") log.warn("Watch broke and goes on", fields);
  else log.info("Resource cannot be read", { ...fields, state });
}

async function readAgain(api: KubeApi, type: ResourceType, key: string): Promise<KubeObject | undefined> {
  const [name = "", namespace] = key.split("/").reverse();
  try {
    return await api.get(type, name, namespace === undefined ? {} : { namespace });
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}
