/** HTTP: routes, listeners, and how they finish. */
import { createHttpApp, type HttpApp, type PostFeeds } from "../http/app.ts";
import { createMetricsApp } from "../http/metrics.ts";
import { connectionLimit } from "../http/descriptors.ts";
import { addressSet, clientLimit, createBodyLimits } from "../http/request.ts";
import { readWebhookToken, type WebhookToken } from "../http/reread.ts";
import { listen, type Listener } from "../http/server.ts";
import { readCertificates } from "../http/tls.ts";
import { settledWithin, sleep } from "../kube/retry.ts";
import type { Settings } from "../settings.ts";
import type { SourceStates } from "../sources/status.ts";
import type { Account, Books } from "../telemetry/metrics.ts";
import { logger } from "../telemetry/logging.ts";
import { formatTime } from "../model/time.ts";
import { VERSION } from "../version.ts";
import type { Caches } from "./caches.ts";
import type { Shared } from "./shared.ts";

export interface ServeOptions {
  readonly caches: Caches;
  readonly posts: PostFeeds;
}

interface Serving {
  readonly urls: {
    readonly url: string;
    /** Undefined where no certificate is given. */
    readonly tlsUrl: string | undefined;
    readonly metricsUrl: string;
  };
  /** Waits for SHUTDOWN_DELAY, finishes the requests and closes; resolves with what is left of HTTP_SHUTDOWN_TIMEOUT in ms. */
  stop(): Promise<number>;
}

/** For the answers to requests that were ended to reach their senders. */
const LAST_ANSWERS_MS = 1_000;

const NO_EVENTS: Account = { events: 0, created: 0, deduped: 0, filtered: 0, failed: 0, inFlight: 0 };

const log = logger("app");

/** Listens on every port, or on none. */
export async function serve(shared: Shared, options: ServeOptions): Promise<Serving> {
  const { settings, clock } = shared;
  /** Aborted when requests under way must end. */
  const requests = new AbortController();
  warnIfOpen(settings);
  const token = await readWebhookToken({
    token: settings.webhookAuthToken,
    file: settings.webhookAuthTokenFile,
  });
  const listeners: Listener[] = [];
  try {
    for (const start of listenersOf(shared, { ...options, token, requests: requests.signal })) {
      listeners.push(await start());
    }
  } catch (error) {
    token[Symbol.dispose]();
    await Promise.all(listeners.map((listener) => listener.shutdown()));
    throw error;
  }
  const [main, metricsListener, tls] = listeners;
  const urls = { url: main?.url ?? "", metricsUrl: metricsListener?.url ?? "", tlsUrl: tls?.url };
  log.info("Listening", { ...urls, address: main?.address });
  return {
    urls,
    async stop() {
      await sleep(settings.shutdownDelayMs);
      const finishBy = clock.monotonic() + settings.httpShutdownTimeoutMs;
      await finishRequests(listeners, { requests, timeoutMs: settings.httpShutdownTimeoutMs });
      token[Symbol.dispose]();
      return finishBy - clock.monotonic();
    },
  };
}

/** Connections on the metrics port: a few scrapers and probes. */
const MAX_METRICS_CONNECTIONS = 64;
/** After a webhook's deadline node:http ends what is left of its request. */
const REQUEST_SLACK_MS = 5_000;

/** What the routes get besides `ServeOptions`. */
interface ForRequests {
  readonly token: WebhookToken;
  /** Aborted when those under way must end. */
  readonly requests: AbortSignal;
}

/** Webhooks, metrics, and webhooks over TLS where a certificate is given. */
function listenersOf(
  shared: Shared,
  options: ServeOptions & ForRequests,
): (() => Promise<Listener>)[] {
  const { settings, clock, metrics, health } = shared;
  const http = httpAppOf(shared, options);
  const hasTls = settings.tlsCertFile !== "";
  const wanted = settings.maxConnections;
  const maxConnections = connectionLimit([
    wanted,
    Math.min(MAX_METRICS_CONNECTIONS, wanted),
    ...(hasTls ? [wanted] : []),
  ]);
  const common = {
    address: listenAddressOf(settings),
    metrics,
    maxConnections,
    requestTimeoutMs: options.posts.longestAckTimeoutMs + REQUEST_SLACK_MS,
  };
  const metricsApp = createMetricsApp({
    metrics,
    beforeRender() {
      options.caches.pipeline.publish();
      const { inForce, expiring, rejected } = options.caches.exceptions.report();
      metrics.exceptions.set({ state: "in_force" }, inForce);
      metrics.exceptions.set({ state: "expiring" }, expiring);
      metrics.exceptions.set({ state: "rejected" }, rejected);
      health.refresh();
    },
    now: () => clock.monotonic(),
  });
  return [
    () => listen(http, { ...common, port: settings.port, setting: "WATCHER_PORT" }),
    () =>
      listen(metricsApp, {
        ...common,
        port: settings.metricsPort,
        setting: "METRICS_PORT",
        maxConnections: Math.min(MAX_METRICS_CONNECTIONS, maxConnections),
      }),
    ...(!hasTls ? [] : [async () =>
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

/** The routes, with what they ask of the program. */
function httpAppOf(
  { settings, clock, metrics, health, states, books, election, memoryBytes }: Shared,
  { caches: { ownUser, filtersWatch, exceptions, pipeline, sourcesKnown }, posts, requests, token }:
    & ServeOptions
    & ForRequests,
): HttpApp {
  return createHttpApp({
    version: VERSION,
    live: () => health.live(),
    ready: () => health.ready(),
    status: () => ({
      version: VERSION,
      instance: settings.instance,
      leader: { isLeader: election.isLeader(), holder: election.leader() ?? null },
      sources: sourcesReport(states, books),
      books: books.accounts(),
      filters: filtersWatch.status(),
      exceptions: exceptions.report(),
      storage: pipeline.report(),
    }),
    pathsKnown: sourcesKnown,
    admissionWriters: () => [...settings.admissionWriters, ...(ownUser.name === "" ? [] : [ownUser.name])],
    exceptionMaxDays: settings.exceptionMaxDays,
    posts,
    token,
    clientCertificates: settings.tlsClientCaFile !== "",
    allowedIps: addressSet(settings.webhookAllowedIps),
    trustedProxies: addressSet(settings.trustedProxyCidrs),
    allow: clientLimit({
      ratePerSecond: settings.webhookRateLimit,
      burst: settings.webhookRateBurst,
      clock,
    }),
    bodies: createBodyLimits({ maxBytes: settings.webhookMaxBytes, memoryBytes }),
    slices: pipeline.slices,
    clock,
    signal: requests,
    metrics,
  });
}

/**
 * Where to listen: as told; else on every address in a Pod or where senders must prove who they are; else on loopback.
 */
function listenAddressOf(settings: Settings): string {
  const { listenAddress, serviceHost } = settings;
  if (listenAddress !== "") return listenAddress;
  return serviceHost !== "" || sendersAreChecked(settings) ? "" : "127.0.0.1";
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

/** The state of each source, with its events by outcome. */
function sourcesReport(states: SourceStates, books: Books): Readonly<Record<string, unknown>> {
  const accounts = books.accounts();
  return Object.fromEntries(
    Object.entries(states.report()).map(([source, report]) => {
      const last = books.lastEvent(source);
      const lastEvent = last && { lastEventAt: formatTime(last.atMs), lagMs: last.lagMs };
      return [source, { ...report, ...lastEvent, events: accounts[source] ?? NO_EVENTS }];
    }),
  );
}

/** True where a sender must show a token, a client certificate, or an allowed address. */
function sendersAreChecked(settings: Settings): boolean {
  const { webhookAuthToken, webhookAuthTokenFile, webhookAllowedIps, tlsClientCaFile } = settings;
  return [webhookAuthToken, webhookAuthTokenFile, tlsClientCaFile, ...webhookAllowedIps].some(Boolean);
}

/** Warns of webhooks that take events from anyone: useful on a laptop, dangerous anywhere else. */
function warnIfOpen(settings: Settings): void {
  if (sendersAreChecked(settings)) return;
  log.warn("Webhooks accept events from everyone who can reach them", {
    mend: "set WEBHOOK_AUTH_TOKEN or WEBHOOK_AUTH_TOKEN_FILE, TLS_CLIENT_CA_FILE, or WEBHOOK_ALLOWED_IPS",
  });
}
