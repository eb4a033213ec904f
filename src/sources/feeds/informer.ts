/** One watched resource of a state source: a full evaluation at the start and at each resync, then change by change. */
import type { Clock } from "../../model/clock.ts";
import { viewName, type Views } from "../../model/view.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../kube/api.ts";
import { backoff } from "../../kube/retry.ts";
import { watch, type WatchOptions } from "../../kube/watch.ts";
import { logger } from "../../telemetry/logging.ts";
import type { Metrics } from "../../telemetry/metrics.ts";
import type { SourceStates } from "../status.ts";
import { createEvaluator, type EvaluatorOptions } from "./evaluation.ts";

/** What tests shorten. */
export type WatcherTuning = Pick<
  WatchOptions,
  "idleMs" | "pageSize" | "timeoutSeconds" | "random" | "backoff" | "sleep"
>;

export interface InformerOptions
  extends Pick<EvaluatorOptions, "source" | "view" | "intake" | "payloadOf" | "onTaken"> {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly scope?: Pick<WatchOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly views: Views;
  readonly states: SourceStates;
  /** Full evaluations happen this often. */
  readonly resyncMs: number;
  /** Asks for a full evaluation now (an accepted filter change, budget recovery). */
  readonly onReevaluate: (listener: () => void) => Disposable;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly watcherOptions?: WatcherTuning | undefined;
}

const log = logger("informer");
/**
 * The longest wait for a right. Each request without it is a line in the API server's audit log, and where that is sent
 * here, an `access-denied` of our own making.
 */
const DENIED_MS = 120_000;

/** `plural.group`, as kubectl writes it. */
export function resourceName({ plural, group }: Pick<ResourceType, "plural" | "group">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** Runs until `signal` aborts. */
export async function runInformer(options: InformerOptions, signal: AbortSignal): Promise<void> {
  const { type, api } = options;
  const evaluator = createEvaluator({
    ...options,
    signal,
    read: (key) => readAgain(api, type, key),
  });
  const retries = evaluator.run();
  try {
    while (!signal.aborted) await runRound(options, { evaluator, signal });
  } finally {
    await evaluator.idle();
    await retries;
  }
}

interface Round {
  readonly evaluator: ReturnType<typeof createEvaluator>;
  readonly signal: AbortSignal;
}

/** One list and the watch after it, until the next resync or a call for re-evaluation. */
async function runRound(options: InformerOptions, { evaluator, signal }: Round): Promise<void> {
  const { source, view, states, views, metrics, clock } = options;
  const restart = new AbortController();
  let listed = false;
  let wanted = false;
  /** Nothing cuts a list short: calls that come faster than it is evaluated would never let its end be reached. */
  const again = () => {
    if (listed) restart.abort();
    else wanted = true;
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  using _listener = options.onReevaluate(again);
  const round = AbortSignal.any([signal, restart.signal]);
  let startedAt = clock.monotonic();
  try {
    const { random } = options.watcherOptions ?? {};
    const events = watch<KubeObject>(options.api, options.type, {
      deniedBackoff: backoff({ maxMs: DENIED_MS, ...(random && { random }) }),
      ...options.scope,
      ...options.watcherOptions,
      signal: round,
      metrics,
      clock,
      onState: (state) => {
        // An informer that has been told to end no longer speaks for the resource.
        if (!signal.aborted) states.set(view, state);
      },
    });
    for await (const event of events) {
      switch (event.type) {
        case "init":
          startedAt = clock.monotonic();
          listed = false;
          views.begin(view);
          break;
        case "apply":
          await evaluator.evaluate(event.object);
          break;
        case "delete":
          await evaluator.gone(event.object);
          break;
        case "synced":
          await evaluator.idle();
          metrics.scrapeDuration.observe(
            { watcher: metrics.sourceLabel(source.name) },
            (clock.monotonic() - startedAt) / 1_000,
          );
          if (!round.aborted) views.complete(view);
          listed = true;
          if (wanted) restart.abort();
          timer ??= setTimeout(again, options.resyncMs);
          break;
        case "error":
          noteError(options, event);
          break;
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

function noteError(
  { source, view, views, states }: InformerOptions,
  { error, reason, state }: { error: unknown; reason: string; state: "absent" | "forbidden" | "failing" },
): void {
  states.failed(source.name, reason);
  if (state !== "failing") views.lost(view, state === "absent" ? "absent" : "unreadable");
  const fields = { source: source.name, resource: viewName(view), reason, error };
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
