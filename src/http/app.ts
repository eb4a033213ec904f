import { Hono } from "hono";
import { logger } from "../telemetry/logging.ts";
import { type Metrics, OTHER } from "../telemetry/metrics.ts";
import { ADMISSION_PATH, createAdmissionHandler } from "./admission.ts";
import { problem, Refusal, requestIdOf } from "./problem.ts";
import { createWebhookHandler, type WebhookOptions } from "./webhooks.ts";

/** What Hono is given beside the request. */
export interface Bindings {
  /** The peer's address. */
  readonly peer: string;
  /** It showed a certificate of the clients' CA. */
  readonly clientVerified?: boolean;
}

export interface ProbeReport {
  readonly ok: boolean;
  /** Why not. */
  readonly reasons: readonly string[];
  /** Each condition and whether it holds, for `?verbose`. */
  readonly checks: Readonly<Record<string, boolean>>;
}

export interface HttpOptions extends WebhookOptions {
  readonly version: string;
  readonly live: () => ProbeReport;
  readonly ready: () => ProbeReport;
  /** The document of `/tools/status`. No payload text. */
  readonly status: () => Readonly<Record<string, unknown>>;
  /** False until the Ingesters were read: a path that is not known yet may be theirs. */
  readonly pathsKnown: () => boolean;
  /** Users that may write what zen-watcher writes, beside itself. */
  readonly admissionWriters: () => readonly string[];
  readonly exceptionMaxDays: number;
}

const log = logger("http");
const ROUTES = new Set([
  "/health",
  "/livez",
  "/ready",
  "/readyz",
  "/tools/status",
]);

/** The type of the app, for those who may not know Hono. */
export type HttpApp = Hono<{ Bindings: Bindings }>;

/** The one app: probes, metrics, status and webhooks. */
export function createHttpApp(options: HttpOptions): HttpApp {
  const app = new Hono<{ Bindings: Bindings }>();
  const handleWebhook = createWebhookHandler(options);
  // The built-in ones keep their names, however many Ingesters add.
  for (const path of options.posts.paths) options.metrics.endpointLabel(path);
  app.use(async (c, next) => {
    const startedAt = performance.now();
    await next();
    const endpoint = endpointLabel(c.req.path, options);
    const labels = { endpoint, method: methodLabel(c.req.method) };
    options.metrics.httpRequests.inc({ ...labels, status: c.res.status });
    options.metrics.httpRequestDuration.observe(labels, (performance.now() - startedAt) / 1_000);
    c.header("x-request-id", requestIdOf(c));
  });
  for (const path of ["/health", "/livez"]) app.get(path, (c) => c.json(...health(options, c.req.query())));
  for (const path of ["/ready", "/readyz"]) {
    app.get(path, (c) => c.json(...readiness(options, c.req.query())));
  }
  app.get("/tools/status", (c) => c.json(options.status()));
  for (const path of ROUTES) {
    app.all(
      path,
      (c) => problem(c, new Refusal(405, "Cannot answer this request: use GET", { allow: "GET, HEAD" })),
    );
  }
  const admission = createAdmissionHandler({
    writers: options.admissionWriters,
    exceptionMaxDays: options.exceptionMaxDays,
  });
  app.all(ADMISSION_PATH, (c) => admission(c));
  app.all("*", async (c) => {
    const response = await handleWebhook(c, c.env);
    if (response) return response;
    if (options.pathsKnown()) return problem(c, new Refusal(404, "Cannot find this path"));
    const why = "Cannot find this path yet: the Ingesters are not read, come again";
    return problem(c, new Refusal(503, why, { "retry-after": "1" }));
  });
  app.onError((error, c) => {
    log.error("Request failed", {
      path: endpointLabel(c.req.path, options),
      error,
      correlationId: requestIdOf(c),
    });
    return problem(c, new Refusal(500, "Cannot answer this request: an internal error, see the log"));
  });
  return app;
}

export interface MetricsOptions {
  readonly metrics: Metrics;
  /** Brings gauges that are read rather than counted up to date before they are rendered. */
  readonly beforeRender: () => void;
  /** Milliseconds. */
  readonly now: () => number;
}

/** However many scrape: the text is rendered at most once in this time, and they share its bytes. */
const RENDER_MS = 1_000;

/** The app of the metrics port: `/metrics` alone. */
export function createMetricsApp({ metrics, beforeRender, now }: MetricsOptions): HttpApp {
  const app: HttpApp = new Hono<{ Bindings: Bindings }>();
  const encoder = new TextEncoder();
  let renderedAt = -Infinity;
  let rendered: Promise<Uint8Array<ArrayBuffer>> | undefined;
  async function render(): Promise<Uint8Array<ArrayBuffer>> {
    beforeRender();
    return encoder.encode(await metrics.registry.metrics());
  }
  app.get("/metrics", async (c) => {
    if (!rendered || now() - renderedAt >= RENDER_MS) {
      renderedAt = now();
      rendered = render();
      rendered.catch(() => rendered = undefined);
    }
    return c.body(await rendered, 200, { "content-type": metrics.registry.contentType });
  });
  return app;
}

function health({ version, live, clock }: HttpOptions, query: Record<string, string>) {
  const report = live();
  const body = {
    status: report.ok ? "healthy" : "unhealthy",
    service: "zen-watcher",
    version,
    mode: "independent",
    timestamp: new Date(clock.now()).toISOString(),
    ...(report.ok ? {} : { reasons: report.reasons }),
    ...("verbose" in query ? { checks: report.checks } : {}),
  };
  return [body, report.ok ? 200 : 503] as const;
}

function readiness({ ready }: HttpOptions, query: Record<string, string>) {
  const report = ready();
  const body = {
    ...(report.ok ? { status: "ready" } : { status: "not_ready", reasons: report.reasons }),
    ...("verbose" in query ? { checks: report.checks } : {}),
  };
  return [body, report.ok ? 200 : 503] as const;
}

/** A label of bounded values: the route, or an endpoint's path without its token. */
function endpointLabel(path: string, options: HttpOptions): string {
  if (ROUTES.has(path) || path === ADMISSION_PATH) return path;
  const found = options.posts.find(path);
  return found ? options.metrics.endpointLabel(found.post.feed.path) : OTHER;
}

function methodLabel(method: string): string {
  return ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].includes(method) ? method : "other";
}
