import { assertEquals, assertStringIncludes } from "@std/assert";
import { Hono } from "hono";
import type { JsonObject } from "../model/json.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { NO_LIMITS } from "../pipeline/limits.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { postedSource, postFeeds } from "../../tests/support/post_feeds.ts";
import { createBodyLimits } from "./body.ts";
import { addressSet } from "./sender.ts";
import { createWebhookHandler } from "./webhooks.ts";

const MINUTE_MS = 60_000;

Deno.test("refused webhook requests are a warning once a minute for each endpoint and status, with how many they were", async () => {
  let now = 0;
  const lines: JsonObject[] = [];
  const texts: string[] = [];
  const write = (line: string) => {
    texts.push(line);
    lines.push(JSON.parse(line));
  };
  configureLogging({ level: "INFO", format: "json", write, now: () => now });
  const handle = createWebhookHandler({
    posts: postFeeds(["audit", "falco"].map((name) => postedSource(name)), {
      take: () => Promise.reject(new Error("nothing was to be taken")),
    }),
    token: () => "right",
    clientCertificates: false,
    allowedIps: addressSet(["10.0.0.0/8"]),
    trustedProxies: addressSet(["10.9.9.9"]),
    allow: () => true,
    bodies: createBodyLimits({ maxBytes: 10, memoryBytes: Infinity }),
    slices: NO_LIMITS.slices,
    clock: { now: () => now, monotonic: () => now },
    signal: new AbortController().signal,
    metrics: createMetrics(),
  });
  const app = new Hono<{ Bindings: { peer: string } }>();
  app.all("*", async (c) => await handle(c, c.env) ?? c.notFound());
  const send = async (path: string, init: RequestInit = {}, peer = "10.1.2.3") => {
    const response = await app.request(path, { method: "POST", body: "payload", ...init }, { peer });
    await response.body?.cancel();
    return response.status;
  };
  const bearer = (given: string) => ({ authorization: `Bearer ${given}` });
  for (let batch = 0; batch < 100; batch++) {
    assertEquals(await send("/audit/webhook", { headers: bearer("hidden") }), 401);
  }
  assertEquals(lines.length, 1);
  const { level, message, endpoint, status, client, requests } = lines[0] ?? {};
  assertEquals({ level, message, endpoint, status, client, requests }, {
    level: "WARN",
    message: "Webhook requests refused",
    endpoint: "/audit/webhook",
    status: 401,
    client: "10.1.2.3",
    requests: 1,
  });
  assertStringIncludes(String(lines[0]?.error), "shows no valid token");

  await send("/falco/webhook/hidden");
  await send("/falco/webhook/right", { body: "payload, too long" });
  await send("/falco/webhook/right", { headers: { "content-encoding": "gzip" } });
  await send("/falco/webhook/right", { method: "GET", body: null });
  await send("/falco/webhook/right", { headers: { "x-forwarded-for": "192.0.2.1" } }, "10.9.9.9");
  const others = lines.slice(1).map(({ endpoint, status, client }) => `${endpoint} ${status} ${client}`);
  assertEquals(others, [
    "/falco/webhook 401 10.1.2.3",
    "/falco/webhook 413 10.1.2.3",
    "/falco/webhook 415 10.1.2.3",
    "/falco/webhook 405 10.1.2.3",
    "/falco/webhook 403 192.0.2.1",
  ]);

  now = MINUTE_MS;
  await send("/audit/webhook/hidden");
  assertEquals([lines.length, lines.at(-1)?.status, lines.at(-1)?.requests], [7, 401, 100]);
  assertEquals(
    texts.filter((text) => ["hidden", "right", "payload"].some((word) => text.includes(word))),
    [],
  );
});
