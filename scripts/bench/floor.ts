/**
 * The floor, a process of its own: a Hono route on the controller's listener that creates the object it is sent by fetch and
 * then answers. What the controller costs beyond it is its logic.
 */
import { Hono } from "hono";
import { listen } from "../../src/http/server.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { OBSERVATIONS_PATH } from "./inputs.ts";
import type { Access } from "./server.ts";
import { answerQuestions } from "./worker.ts";

if (import.meta.main) {
  await answerQuestions(async ({ url, caPem, token }: Access) => {
    const client = Deno.createHttpClient({ caCerts: [caPem], http2: false });
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const app = new Hono();
    app.post("/", async (context) => {
      const body = await context.req.text();
      const response = await fetch(url + OBSERVATIONS_PATH, { method: "POST", body, headers, client });
      await response.text();
      return context.json({}, response.status === 201 ? 200 : 503);
    });
    const listener = await listen(app, {
      address: "127.0.0.1",
      port: 0,
      setting: "WATCHER_PORT",
      maxConnections: 1_024,
      requestTimeoutMs: 60_000,
      metrics: createMetrics(),
    });
    return { url: listener.url };
  });
}
