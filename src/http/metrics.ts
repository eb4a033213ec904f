/** The app of the metrics port: `/metrics` alone. */
import { Hono } from "hono";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Bindings, HttpApp } from "./app.ts";
import { answerDefect, problem, Refusal } from "./request.ts";

export interface MetricsOptions {
  readonly metrics: Metrics;
  /** Brings gauges that are read rather than counted up to date before they are rendered. */
  readonly beforeRender: () => void;
  /** Milliseconds. */
  readonly now: () => number;
}

/** However many scrape: the text is rendered at most once in this time, and they share its bytes. */
const RENDER_MS = 1_000;

/** Creates it. */
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
  app.notFound((c) => problem(c, new Refusal(404, "Cannot find this path: this port serves /metrics alone")));
  app.onError((error, c) => answerDefect(c, { error, path: "/metrics" }));
  return app;
}
