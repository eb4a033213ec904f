import { errorMessage } from "../model/error_message.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHmac } from "node:crypto";
import { Hono } from "hono";
import { ONE_CREATED, postedSource, postFeeds } from "../../tests/support/post_feeds.ts";
import { type Clock, systemClock } from "../model/time.ts";
import type { Payload } from "../model/event.ts";
import type { Intake, IntakeResult } from "../pipeline/intake.ts";
import { type Bindings, createHttpApp, createWebhookHandler, type PostFeeds } from "./app.ts";
import { createMetricsApp } from "./metrics.ts";
import type { PostFeed } from "../sources/source.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { WEBHOOK_STATUSES } from "../telemetry/series.ts";
import { addressSet, clientLimit, createBodyLimits, plainAddress } from "./request.ts";
import type { JsonObject } from "../model/json.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { NO_LIMITS } from "../pipeline/limits.ts";

const HOOK = { namespace: "zen-system", name: "hook" };

interface Setup {
  readonly app: Hono<{ Bindings: Bindings }>;
  readonly metrics: Metrics;
  readonly taken: Payload[];
  /** What is served, and may change. */
  readonly posts: PostFeeds;
  post(
    body: BodyInit,
    options?: { path?: string; headers?: Record<string, string>; method?: string; peer?: string },
  ): Promise<Response>;
}

function setup(options: {
  token?: string;
  clientCertificates?: boolean;
  result?: IntakeResult;
  feed?: Partial<PostFeed>;
  allowedIps?: string[];
  trustedProxies?: string[];
  ratePerSecond?: number;
  maxBytes?: number;
  memoryBytes?: number;
  take?: Intake["take"];
  allow?: (client: string) => boolean;
  pathsKnown?: () => boolean;
  status?: () => Readonly<Record<string, unknown>>;
  clock?: Clock;
} = {}): Setup {
  const metrics = createMetrics();
  const taken: Payload[] = [];
  const posts = postFeeds([postedSource("falco", { waiting: 2, ...options.feed })], {
    take: options.take ?? (async (_source, given) => {
      for await (const payload of "body" in given ? [given] : given) taken.push(payload);
      return options.result ?? ONE_CREATED;
    }),
    payloadError: (source, { reason }) => metrics.payloadErrors.inc({ source, reason }),
  });
  const limit = options.ratePerSecond ?? 1_000;
  const app = createHttpApp({
    version: "1.2.3",
    live: () => ({ ok: true, reasons: [], checks: { loop: true } }),
    ready: () => ({ ok: false, reasons: ["not yet"], checks: { api: false } }),
    status: options.status ?? (() => ({ leader: false })),
    pathsKnown: options.pathsKnown ?? (() => true),
    admissionWriters: () => [],
    exceptionMaxDays: 365,
    posts,
    token: { current: options.token ?? "" },
    clientCertificates: options.clientCertificates ?? false,
    allowedIps: addressSet(options.allowedIps ?? []),
    trustedProxies: addressSet(options.trustedProxies ?? []),
    allow: options.allow ?? clientLimit({ ratePerSecond: limit, burst: limit, clock: systemClock }),
    bodies: createBodyLimits({
      maxBytes: options.maxBytes ?? 1_000,
      memoryBytes: options.memoryBytes ?? Infinity,
    }),
    slices: NO_LIMITS.slices,
    clock: options.clock ?? systemClock,
    signal: new AbortController().signal,
    metrics,
    random: () => 0.5,
  });
  return {
    app,
    metrics,
    taken,
    posts,
    post: async (body, { path = "/falco/webhook", headers = {}, method = "POST", peer = "10.1.2.3" } = {}) =>
      await app.request(path, { method, headers, body: method === "POST" ? body : null }, { peer }),
  };
}

Deno.test("createHttpApp() answers the probes with the documents of the contract", async () => {
  const { app } = setup();
  const health = await app.request("/health", {}, { peer: "" });
  assertEquals(health.status, 200);
  const { timestamp, ...body } = await health.json();
  assertEquals(body, { status: "healthy", service: "zen-watcher", version: "1.2.3", mode: "independent" });
  assertEquals(new Date(timestamp).toISOString(), timestamp);
  const ready = await app.request("/readyz?verbose", {}, { peer: "" });
  assertEquals(ready.status, 503);
  assertEquals(await ready.json(), { status: "not_ready", reasons: ["not yet"], checks: { api: false } });
  assertEquals((await app.request("/health", { method: "POST" }, { peer: "" })).status, 405);
  assertEquals((await app.request("/nowhere", {}, { peer: "" })).status, 404);
});

Deno.test("createHttpApp() answers 503 to an unknown path until the paths of Ingesters are known, then 404", async () => {
  let pathsKnown = false;
  const { post } = setup({ pathsKnown: () => pathsKnown });
  const early = await post("{}", { path: "/ingest/later" });
  assertEquals([early.status, early.headers.get("retry-after")], [503, "1"]);
  assertEquals((await post("{}", { path: "/falco/webhook" })).status, 200);
  pathsKnown = true;
  assertEquals((await post("{}", { path: "/ingest/later" })).status, 404);
});

Deno.test("GET /tools/status takes no more than a fifth of the time, however many ask", async () => {
  let now = 0, made = 0, tookMs = 1;
  const { app } = setup({
    clock: { now: () => now, monotonic: () => now },
    status: () => (now += tookMs, { made: ++made }),
  });
  const ask = async () => (await (await app.request("/tools/status", {}, { peer: "" })).json()).made;
  assertEquals([await ask(), await ask(), await ask()], [1, 2, 3]);
  tookMs = 50;
  const first = await ask();
  for (const endsAt = now + 1_000; now < endsAt; now++) await ask();
  assertEquals([first, made], [4, 8], "each 250 ms");
});

Deno.test("createMetricsApp() answers errors as JSON with the request's id", async () => {
  let fails = false;
  const app = createMetricsApp({
    metrics: createMetrics(),
    beforeRender() {
      if (fails) throw new Error("a defect");
    },
    now: () => performance.now() * 1e6,
  });
  const ask = async (path: string) => {
    const response = await app.request(path, { headers: { "x-request-id": "r-1" } }, { peer: "" });
    return [response.status, response.status === 200 ? await response.text() : await response.json()];
  };
  assertEquals((await ask("/metrics"))[0], 200);
  const nowhere = { error: "Cannot find this path: this port serves /metrics alone", requestId: "r-1" };
  assertEquals(await ask("/health"), [404, nowhere]);
  fails = true;
  const failed = { error: "Cannot answer this request: an internal error, see the log", requestId: "r-1" };
  assertEquals(await ask("/metrics"), [500, failed]);
});

const REFUSALS: readonly {
  name: string;
  setup?: Parameters<typeof setup>[0];
  body?: BodyInit;
  request?: Parameters<Setup["post"]>[1];
  status: number;
  says: string;
}[] = [
  { name: "a wrong method", request: { method: "GET" }, status: 405, says: "use POST" },
  { name: "an empty body", body: "", status: 400, says: "empty" },
  { name: "no JSON", body: "08:00: Notice plain text", status: 400, says: "Cannot read the body" },
  { name: "10,000 levels", body: "[".repeat(10_000), status: 413, says: "larger than 1000" },
  {
    name: "10,000 levels in a large body",
    setup: { maxBytes: 1e6 },
    body: `{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}}`,
    status: 413,
    says: "nested deeper than 64",
  },
  { name: "a large body", body: "x".repeat(2_000), status: 413, says: "WEBHOOK_MAX_BYTES" },
  {
    name: "a compressed body",
    request: { headers: { "content-encoding": "gzip" } },
    status: 415,
    says: "compressed",
  },
  { name: "no token", setup: { token: "secret" }, status: 401, says: "token" },
  {
    name: "a wrong token",
    setup: { token: "secret" },
    request: { headers: { authorization: "Bearer wrong" } },
    status: 401,
    says: "token",
  },
  {
    name: "a wrong token in the path",
    setup: { token: "secret" },
    request: { path: "/falco/webhook/wrong" },
    status: 401,
    says: "token",
  },
  {
    name: "a sender without a certificate where that is the only proof",
    setup: { clientCertificates: true },
    status: 401,
    says: "TLS_CLIENT_CA_FILE",
  },
  {
    name: "a token where none is set but certificates are asked for",
    setup: { clientCertificates: true },
    request: { path: "/falco/webhook/anything" },
    status: 401,
    says: "TLS_CLIENT_CA_FILE",
  },
  { name: "an empty array", body: "[]", status: 400, says: "the list is empty" },
  {
    name: "a strange address",
    setup: { allowedIps: ["192.0.2.0/24"] },
    status: 403,
    says: "WEBHOOK_ALLOWED_IPS",
  },
  { name: "too many requests", setup: { ratePerSecond: 0 }, status: 503, says: "WEBHOOK_RATE_LIMIT" },
  {
    name: "a missing Secret",
    setup: { feed: { auth: { type: "bearer", secretRef: HOOK, secret: () => undefined } } },
    status: 503,
    says: "Secret is missing",
  },
];

for (const { name, setup: options, body = "{}", request, status, says } of REFUSALS) {
  Deno.test(`createHttpApp() refuses ${name} with ${status} and counts it`, async () => {
    const { post, metrics, taken } = setup(options);
    const response = await post(body, request);
    assertEquals(response.status, status);
    assert(WEBHOOK_STATUSES.some((known) => known === status), "its series is opened beforehand");
    const answer = await response.json();
    assertStringIncludes(answer.error, says);
    assertEquals(answer.requestId, response.headers.get("x-request-id"));
    assertEquals(taken.length, 0);
    const text = await metrics.registry.metrics();
    assertStringIncludes(
      text,
      `zen_watcher_webhook_requests_total{endpoint="/falco/webhook",status="${status}"} 1`,
    );
    const counted = status === 400
      ? `payload_errors_total{source="falco"`
      : `webhook_dropped_total{endpoint="/falco/webhook"} 1`;
    assertStringIncludes(text, counted);
    assertEquals(text.includes("wrong"), false);
    if (status === 503) assertEquals(Number(response.headers.get("retry-after")) > 0, true);
  });
}

Deno.test("createHttpApp() takes the token as bearer and as last path segment", async () => {
  const { post, taken } = setup({ token: "secret" });
  assertEquals((await post("{}", { headers: { authorization: "Bearer secret" } })).status, 200);
  assertEquals((await post("{}", { path: "/falco/webhook/secret" })).status, 200);
  assertEquals(taken.length, 2);
});

Deno.test("createHttpApp() takes a token in the path whatever its characters, percent-encoded or as it is", async () => {
  for (const token of ["q/3+Zw==", "50%off", "%2F%zz", "a b"]) {
    const { post } = setup({ token });
    assertEquals(
      (await post("{}", { path: `/falco/webhook/${encodeURIComponent(token)}` })).status,
      200,
      token,
    );
    assertEquals((await post("{}", { path: "/falco/webhook/%2F" })).status, 401);
  }
  const { post } = setup({ token: "50%off+=" });
  assertEquals((await post("{}", { path: "/falco/webhook/50%off+=" })).status, 200);
});

Deno.test("createHttpApp() takes a bearer also where the path ends in a slash", async () => {
  const { post } = setup({ token: "secret" });
  const headers = { authorization: "Bearer secret" };
  assertEquals((await post("{}", { path: "/falco/webhook/", headers })).status, 200);
});

Deno.test("createHttpApp() checks a signed body", async () => {
  const { post, metrics } = setup({ feed: { auth: { type: "hmac", secretRef: HOOK, secret: () => "key" } } });
  const signature = "sha256=" + createHmac("sha256", "key").update("{}").digest("hex");
  assertEquals((await post("{}", { headers: { "x-hub-signature-256": signature } })).status, 200);
  assertEquals((await post("[]", { headers: { "x-hub-signature-256": signature } })).status, 401);
  // A body is not read before it is proven: what it holds is no error of the source.
  assertEquals((await post("not json", { headers: { "x-hub-signature-256": signature } })).status, 401);
  const counted = await metrics.registry.metrics();
  assert(!counted.includes('payload_errors_total{source="falco"'), counted);
});

Deno.test("createHttpApp() believes forwarded addresses of trusted proxies alone", async () => {
  const { post } = setup({ allowedIps: ["203.0.113.7"], trustedProxies: ["10.0.0.0/8"] });
  const headers = { "x-forwarded-for": "198.51.100.1, 203.0.113.7" };
  assertEquals((await post("{}", { headers, peer: "10.1.2.3" })).status, 200);
  assertEquals((await post("{}", { headers, peer: "192.0.2.1" })).status, 403);
});

Deno.test("createHttpApp() knows a client by one address, whatever form its socket or its proxy gives it", async () => {
  const seen: string[] = [];
  const { post } = setup({ trustedProxies: ["10.0.0.0/8"], allow: (client) => seen.push(client) > 0 });
  await post("{}", { peer: "::ffff:192.0.2.1" });
  await post("{}", { peer: "192.0.2.1" });
  for (
    const hop of [
      "::ffff:203.0.113.7",
      "::FFFF:cb00:7107",
      "203.0.113.7",
      "203.0.113.7:4711",
      "[::ffff:203.0.113.7]:1",
    ]
  ) {
    await post("{}", { peer: "::ffff:10.1.2.3", headers: { "x-forwarded-for": hop } });
  }
  await post("{}", { peer: "2001:db8::ffff:1" });
  assertEquals(seen, [
    ...["192.0.2.1", "192.0.2.1"],
    ...Array(5).fill("203.0.113.7"),
    "2001:db8::ffff:1",
  ]);
});

Deno.test("createHttpApp() counts endpoints beyond 100 as other, but the built-in ones always by name", async () => {
  const { post, metrics, posts } = setup();
  const paths = Array.from({ length: 150 }, (_, index) => `/ingest/${index}`);
  posts.set([postedSource("falco"), ...paths.map((path) => postedSource("tool", { path }))]);
  for (const path of [...paths, "/falco/webhook"]) await post("{}", { path });
  for (const metric of ["webhookRequests", "httpRequests", "webhookQueueUsage"] as const) {
    const { values } = await metrics[metric].get();
    const counted = Object.fromEntries(values.map(({ labels, value }) => [`${labels.endpoint}`, value]));
    assertEquals(Object.keys(counted).length, 101, metric);
    const expected = metric === "webhookQueueUsage" ? [0, 0] : [51, 1];
    assertEquals([counted["other"], counted["/falco/webhook"]], expected, metric);
  }
});

Deno.test("plainAddress() and addressSet() take IPv4 in IPv6 for what it is", () => {
  for (const mapped of ["::ffff:10.0.0.1", "::ffff:a00:1", "0:0:0:0:0:ffff:10.0.0.1"]) {
    assertEquals(plainAddress(mapped), "10.0.0.1");
    for (const entry of [mapped, `${mapped}/112`, "10.0.0.0/16"]) {
      assertEquals([addressSet([entry]).has("10.0.0.1"), addressSet([entry]).has("10.1.0.1")], [true, false]);
    }
  }
  for (const other of ["::1", "::ffff:0:0:1", "fe80::ffff:1%eth0", "ffff::1", "10.0.0.1", "no address", ""]) {
    assertEquals(plainAddress(other), other);
  }
});

const ANSWERS: readonly { name: string; result: Partial<IntakeResult>; status: number }[] = [
  { name: "all decided", result: { created: 1, received: 1 }, status: 200 },
  { name: "something undecided", result: { failed: 1, created: 0, undecided: 1 }, status: 503 },
  { name: "nothing that will ever be stored", result: { failed: 1, created: 0 }, status: 422 },
  { name: "some that will never be stored", result: { received: 2, failed: 1 }, status: 200 },
  {
    name: "nothing readable",
    result: {
      received: 0,
      created: 0,
      payloadErrors: [{ reason: "wrong_shape", path: "rule", message: "expected a string" }],
      payloadErrorCount: 1,
    },
    status: 400,
  },
  {
    name: "more events than a request may have",
    result: {
      payloadErrors: [{ reason: "too_many_events", path: "", message: "the rest is not taken" }],
      payloadErrorCount: 1,
    },
    status: 413,
  },
  { name: "no events at all", result: { received: 0, created: 0 }, status: 200 },
];

for (const { name, result, status } of ANSWERS) {
  Deno.test(`createHttpApp() answers ${name} with ${status}`, async () => {
    const { post } = setup({ result: { ...ONE_CREATED, ...result } });
    const response = await post("{}");
    assertEquals(response.status, status);
    assert(WEBHOOK_STATUSES.some((known) => known === status), "its series is opened beforehand");
    if (status === 503) assertEquals(response.headers.get("retry-after"), "3");
    if (status === 200) {
      const { status: word, requestId: _, errors: __, ...counts } = await response.json();
      const { received, created, deduped, filtered, failed } = { ...ONE_CREATED, ...result };
      assertEquals({ word, ...counts }, { word: "ok", received, created, deduped, filtered, failed });
    }
  });
}

Deno.test("createHttpApp() counts a request whose handler throws as 500, and frees its place", async () => {
  const { post, metrics } = setup({
    take: () => Promise.reject(new Error("a defect")),
    feed: { waiting: 1 },
  });
  for (let times = 0; times < 2; times++) assertEquals((await post("{}")).status, 500);
  assert(WEBHOOK_STATUSES.some((known) => known === 500), "its series is opened beforehand");
  assertStringIncludes(
    await metrics.registry.metrics(),
    'zen_watcher_webhook_requests_total{endpoint="/falco/webhook",status="500"} 2',
  );
});

Deno.test("createHttpApp() names what bounds a body that is too large", async () => {
  for (
    const [memoryBytes, bound] of [[Infinity, "WEBHOOK_MAX_BYTES"], [16_000, "a 32nd of the memory limit"]]
  ) {
    const { post } = setup({ maxBytes: 1_000, memoryBytes: Number(memoryBytes) });
    const refused = await post("x".repeat(2_000));
    assertEquals(refused.status, 413);
    assertStringIncludes((await refused.json()).error, `bytes (${bound})`);
  }
});

Deno.test("createHttpApp() holds no more requests than its buffer, and of one sender no more than half", async () => {
  const { promise, resolve } = Promise.withResolvers<IntakeResult>();
  const { post } = setup({ take: () => promise, feed: { waiting: 4 } });
  const held = ["10.1.2.3", "10.1.2.3"].map((peer) => post("{}", { peer }));
  const refuses = async (peer: string) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    const refused = await post("{}", { peer });
    assertEquals(refused.status, 503);
    assertStringIncludes((await refused.json()).error, "waiting");
  };
  await refuses("10.1.2.3");
  held.push(...["10.1.2.4", "10.1.2.5"].map((peer) => post("{}", { peer })));
  await refuses("10.1.2.6");
  resolve(ONE_CREATED);
  assertEquals((await Promise.all(held)).map(({ status }) => status), [200, 200, 200, 200]);
});

Deno.test("createHttpApp() lets no bodies that nothing proves yet fill the room of other endpoints", async () => {
  const { app, post, posts } = setup();
  posts.set([
    postedSource("signed", { auth: { type: "hmac", secretRef: HOOK, secret: () => "key" } }),
    postedSource("other", { auth: { type: "bearer", secretRef: HOOK, secret: () => "secret" } }),
  ]);
  const ends: (() => void)[] = [];
  const unsigned = Array.from({ length: 200 }, (_, index) => {
    const body = new ReadableStream({ start: (controller) => void ends.push(() => controller.close()) });
    const peer = `10.0.0.${index % 4}`;
    return app.request("/signed/webhook", { method: "POST", body, duplex: "half" } as RequestInit, { peer });
  });
  const headers = { authorization: "Bearer secret" };
  const answer = await post("{}", { path: "/other/webhook", headers, peer: "10.0.0.9" });
  for (const end of ends) end();
  assertEquals(new Set((await Promise.all(unsigned)).map(({ status }) => status)), new Set([401, 503]));
  assertEquals(answer.status, 200);
});

Deno.test("createHttpApp() holds the parts of few bodies at a time, of one sender half as many, and any number of small ones", async () => {
  const { promise, resolve } = Promise.withResolvers<IntakeResult>();
  const { post } = setup({ take: () => promise, feed: { waiting: 600 }, maxBytes: 100_000 });
  // Of 20 kB: 9,901 parts.
  const manyParts = `[${"1,".repeat(9_900)}1]`;
  const statuses = async (senders: number) => {
    const sent = Array.from(
      { length: 50 },
      (_, index) => post(manyParts, { peer: `10.0.0.${index % senders}` }),
    );
    const refused: Response[] = [];
    for (const answer of sent) answer.then((response) => response.status === 503 && refused.push(response));
    await new Promise((resolve) => setTimeout(resolve, 0));
    return { sent, accepted: 50 - refused.length };
  };
  const ofOne = await statuses(1);
  const ofAll = await statuses(50);
  assertEquals([ofOne.accepted, ofAll.accepted], [8, 9]);
  const small = Array.from({ length: 100 }, () => post("{}", { peer: "10.0.0.0" }));
  assertEquals(
    (await post(`{"a":"${"x".repeat(20_000)}"}`, { peer: "10.0.0.0" })).status,
    503,
    "it may have many",
  );
  resolve(ONE_CREATED);
  assertEquals(new Set((await Promise.all(small)).map(({ status }) => status)), new Set([200]));
  const [last] = await Promise.all([post(manyParts), ...ofOne.sent, ...ofAll.sent]);
  assertEquals(last.status, 200);
  // A burst of long alerts of few parts, of one sender.
  const burst = Array.from({ length: 100 }, () => post(`{"a":"${"x".repeat(60_000)}"}`));
  assertEquals(new Set((await Promise.all(burst)).map(({ status }) => status)), new Set([200]));
});

Deno.test("createHttpApp() answers 503 where requests for one namespace alone fill half of the room", async () => {
  const whys: string[] = [];
  const { promise, resolve } = Promise.withResolvers<IntakeResult>();
  const { post } = setup({
    feed: { waiting: 4 },
    take(_post, _parts, { signal, onOnlyNamespace }) {
      const late = Promise.withResolvers<IntakeResult>();
      signal.addEventListener(
        "abort",
        () => {
          whys.push(errorMessage(signal.reason));
          late.resolve({ ...ONE_CREATED, created: 0, failed: 1, undecided: 1 });
        },
      );
      onOnlyNamespace?.("shop");
      return Promise.race([promise, late.promise]);
    },
  });
  const held = [post("{}"), post("{}", { peer: "10.1.2.4" })];
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals((await post("{}", { peer: "10.1.2.5" })).status, 503);
  assertEquals(whys, ["requests whose events are all of its namespace take their part of the waiting room"]);
  resolve(ONE_CREATED);
  assertEquals((await Promise.all(held)).map(({ status }) => status), [200, 200]);
});

Deno.test("createHttpApp() keeps the readable documents of a body and names the rest", async () => {
  const { post, taken, metrics } = setup();
  const response = await post('{"a":1}\ngarbage\n{"b":2}\n');
  assertEquals(response.status, 200);
  assertEquals(taken.map(({ body, path }) => [body, path]), [[{ a: 1 }, "[0]"], [{ b: 2 }, "[1]"]]);
  assertStringIncludes(
    await metrics.registry.metrics(),
    'payload_errors_total{source="falco",reason="unreadable"} 1',
  );
});

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
    token: { current: "right" },
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
