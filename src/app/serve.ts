/** Listening and stopping: the order of SPEC section 8. */
import { createMetricsApp, type HttpApp } from "../http/app.ts";
import { listen, type Listener } from "../http/server.ts";
import { readCertificates } from "../http/tls.ts";
import type { Health } from "../health.ts";
import type { Clock } from "../model/clock.ts";
import { settledWithin, sleep } from "../kube/retry.ts";
import { type Runnable, RunnableGroup } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Pipeline } from "./pipeline.ts";
import { sendersAreChecked } from "./reports.ts";

export interface ServeOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly pipeline: Pipeline;
  readonly http: HttpApp;
  /** The longest deadline of a webhook's answer. */
  readonly longestAckTimeoutMs: number;
  /** Brings gauges up to date before metrics are rendered. */
  readonly beforeRender: () => void;
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
  /** Undefined where no certificate is given. */
  readonly tlsUrl: string | undefined;
  readonly metricsUrl: string;
  stop(): Promise<void>;
}

/** For the answers to requests that were ended to reach their senders. */
const LAST_ANSWERS_MS = 1_000;
/** The last status writes may take what finishing the requests left of its time-out, and this long in any case. */
const LEAST_FLUSH_MS = 5_000;

const log = logger("app");

/** Starts everything; `stop` ends it in order. */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { health } = options;
  const listeners: Listener[] = [];
  try {
    for (const start of listenersOf(options)) listeners.push(await start());
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.shutdown()));
    throw error;
  }
  const [main, metricsListener, tls] = listeners;
  const groups = {
    core: new RunnableGroup(options.core, { onFailure: (name) => health.ended(name) }),
    leading: new RunnableGroup(options.leading, { onFailure: (name) => health.ended(name) }),
  };
  groups.core.start();
  groups.leading.start();
  health.set("http", true);
  const urls = { url: main?.url ?? "", metricsUrl: metricsListener?.url ?? "", tlsUrl: tls?.url };
  log.info("Listening", urls);
  let stopped: Promise<void> | undefined;
  return {
    ...urls,
    stop: () => stopped ??= stop(options, { listeners, groups }),
  };
}

/** Connections on the metrics port: a few scrapers and probes. */
const MAX_METRICS_CONNECTIONS = 64;
/** After a webhook's deadline node:http ends what is left of its request. */
const REQUEST_SLACK_MS = 5_000;

/** Webhooks, metrics, and webhooks over TLS where a certificate is given. */
function listenersOf(options: ServeOptions): (() => Promise<Listener>)[] {
  const { settings, clock, http, metrics, beforeRender } = options;
  const common = {
    address: listenAddressOf(settings),
    metrics,
    maxConnections: settings.maxConnections,
    requestTimeoutMs: options.longestAckTimeoutMs + REQUEST_SLACK_MS,
  };
  const metricsApp = createMetricsApp({ metrics, beforeRender, now: () => clock.monotonic() });
  return [
    () => listen(http, { ...common, port: settings.port, setting: "WATCHER_PORT" }),
    () =>
      listen(metricsApp, {
        ...common,
        port: settings.metricsPort,
        setting: "METRICS_PORT",
        maxConnections: Math.min(MAX_METRICS_CONNECTIONS, settings.maxConnections),
      }),
    ...(settings.tlsCertFile === "" ? [] : [async () =>
      listen(http, {
        ...common,
        port: settings.tlsPort,
        setting: "WATCHER_TLS_PORT",
        certificates: await readCertificates({
          certFile: settings.tlsCertFile,
          keyFile: settings.tlsKeyFile,
          clientCaFile: settings.tlsClientCaFile,
        }),
      })]),
  ];
}

/**
 * Where to listen: as told; else on every address in a Pod or where senders must prove who they are; else on loopback.
 */
function listenAddressOf(settings: Settings): string {
  const { listenAddress, serviceHost } = settings;
  if (listenAddress !== "") return listenAddress;
  return serviceHost !== "" || sendersAreChecked(settings) ? "" : "127.0.0.1";
}

async function stop(
  { settings, clock, health, requests, pipeline, close }: ServeOptions,
  { listeners, groups }: {
    listeners: readonly Listener[];
    groups: { readonly core: RunnableGroup; readonly leading: RunnableGroup };
  },
): Promise<void> {
  log.info("Stopping");
  health.set("running", false);
  await groups.leading.stop();
  await sleep(settings.shutdownDelayMs);
  const finishBy = clock.monotonic() + settings.httpShutdownTimeoutMs;
  await finishRequests(listeners, { requests, timeoutMs: settings.httpShutdownTimeoutMs });
  const leftMs = finishBy - clock.monotonic();
  await pipeline.store.repeats.flush(AbortSignal.timeout(Math.max(LEAST_FLUSH_MS, Math.floor(leftMs))));
  await groups.core.stop();
  close();
  log.info("Stopped");
}

/**
 * Resolves once every request is answered. Past the time-out the requests are ended, and a connection that does not
 * close then is not waited for.
 */
async function finishRequests(
  listeners: readonly Listener[],
  { requests, timeoutMs }: { readonly requests: AbortController; readonly timeoutMs: number },
): Promise<void> {
  const finished = Promise.all(listeners.map((listener) => listener.shutdown()));
  if (await settledWithin(finished, timeoutMs)) return;
  log.warn("Requests under way did not finish in time", { timeoutMs });
  requests.abort(new DOMException("shutting down", "AbortError"));
  // A sender that neither ends its body nor reads its answer must not cost the last status writes.
  if (await settledWithin(finished, LAST_ANSWERS_MS)) return;
  log.warn("Connections did not close in time and are ended", { timeoutMs: LAST_ANSWERS_MS });
  for (const listener of listeners) listener.closeConnections();
}
