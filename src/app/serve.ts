/** Listening and stopping: the order of SPEC section 8. */
import { createMetricsApp, type HttpApp } from "../http/app.ts";
import { listen, type Listener } from "../http/server.ts";
import type { Health } from "../health.ts";
import type { Clock } from "../core/clock.ts";
import { sleep } from "../kube/retry.ts";
import { type Runnable, RunnableGroup } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Pipeline } from "./pipeline.ts";

export interface ServeOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly pipeline: Pipeline;
  readonly http: HttpApp;
  readonly beforeScrape: () => void;
  /** Aborted when requests under way must end. */
  readonly requests: AbortController;
  /** What only the leader does, and the lease: stopped first. */
  readonly leading: readonly Runnable[];
  /** What runs until the last event has its outcome. */
  readonly core: readonly Runnable[];
  readonly close: () => void;
}

export interface Serving {
  readonly url: string;
  readonly metricsUrl: string;
  stop(): Promise<void>;
}

/** The last status writes may take this long. */
const FLUSH_TIMEOUT_MS = 5_000;

const log = logger("app");

/** Starts everything; `stop` ends it in order. */
export function serve(options: ServeOptions): Serving {
  const { settings, health, metrics, http, beforeScrape } = options;
  const { listenAddress: address } = settings;
  const main = listen(http, { address, port: settings.port });
  let metricsListener: Listener;
  try {
    metricsListener = listen(createMetricsApp({ metrics, beforeScrape }), {
      address,
      port: settings.metricsPort,
    });
  } catch (error) {
    void main.shutdown();
    throw error;
  }
  const groups = {
    core: new RunnableGroup(options.core, { onFailure: (name) => health.ended(name) }),
    leading: new RunnableGroup(options.leading, { onFailure: (name) => health.ended(name) }),
  };
  groups.core.start();
  groups.leading.start();
  health.set("http", true);
  log.info("Listening", { url: main.url, metricsUrl: metricsListener.url });
  let stopped: Promise<void> | undefined;
  return {
    url: main.url,
    metricsUrl: metricsListener.url,
    stop: () => stopped ??= stop(options, { listeners: [main, metricsListener], groups }),
  };
}

async function stop(
  { settings, health, requests, pipeline, close }: ServeOptions,
  { listeners, groups }: {
    listeners: readonly Listener[];
    groups: { readonly core: RunnableGroup; readonly leading: RunnableGroup };
  },
): Promise<void> {
  log.info("Stopping");
  health.set("running", false);
  await groups.leading.stop();
  await sleep(settings.shutdownDelayMs);
  const timer = setTimeout(() => {
    log.warn("Requests under way did not finish in time", { timeoutMs: settings.httpShutdownTimeoutMs });
    requests.abort(new DOMException("shutting down", "AbortError"));
  }, settings.httpShutdownTimeoutMs);
  await Promise.all(listeners.map((listener) => listener.shutdown()));
  clearTimeout(timer);
  await pipeline.store.lane.flush(AbortSignal.timeout(FLUSH_TIMEOUT_MS));
  await groups.core.stop();
  close();
  log.info("Stopped");
}
