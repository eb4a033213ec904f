import { assert, assertEquals, assertRejects } from "@std/assert";
import { Hono } from "hono";
import { configureLogging } from "../telemetry/logging.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { createCertAuthority } from "../../tests/support/certs.ts";
import { eventually } from "../../tests/support/eventually.ts";
import type { Bindings } from "./app.ts";
import { podPermissions } from "../../scripts/support/permissions.ts";
import { connectionLimit } from "./descriptors.ts";
import { listen, type Listener, type ListenOptions } from "./server.ts";

const SHORT = { headMs: 300, idleMs: 300, answerMs: 300, checkMs: 60_000 };

interface TestServer extends AsyncDisposable {
  readonly listener: Listener;
  connections(): Promise<number>;
  refused(): Promise<number>;
  /** Requests that `GET /hang` holds. */
  hanging(): number;
  /** Ends the answers that `GET /hang` waits for. */
  release(): void;
}

async function serveTest(options: Partial<ListenOptions> = {}): Promise<TestServer> {
  const metrics = createMetrics();
  const app = new Hono<{ Bindings: Bindings }>();
  const { promise, resolve } = Promise.withResolvers<void>();
  let hanging = 0;
  app.onError((_error, c) => c.text("failed", 500));
  app.get("/", (c) => c.text("hello"));
  app.get("/peer", (c) => c.text(c.env.peer));
  app.get("/hang", async (c) => (hanging++, await promise, c.text("late")));
  app.post("/refused", async (c) => {
    const reader = c.req.raw.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    return c.text("too large", 413);
  });
  app.post("/", async (c) => c.text(String((await c.req.arrayBuffer()).byteLength)));
  const listener = await listen(app, {
    address: "127.0.0.1",
    port: 0,
    setting: "WATCHER_PORT",
    maxConnections: 100,
    requestTimeoutMs: 300,
    metrics,
    limits: SHORT,
    ...options,
  });
  const valueOf = async (metric: "connections" | "connectionsRefused") =>
    (await metrics[metric].get()).values[0]?.value ?? 0;
  return {
    listener,
    connections: () => valueOf("connections"),
    refused: () => valueOf("connectionsRefused"),
    hanging: () => hanging,
    release: resolve,
    async [Symbol.asyncDispose]() {
      resolve();
      const stopped = listener.shutdown();
      listener.closeConnections();
      await stopped;
    },
  };
}

/** A client that writes raw bytes. */
class Raw implements Disposable {
  readonly #connection: Deno.Conn;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  static async connect({ port }: Listener, text = ""): Promise<Raw> {
    const raw = new Raw(await Deno.connect({ hostname: "127.0.0.1", port }));
    if (text !== "") await raw.write(text);
    return raw;
  }

  async write(text: string): Promise<void> {
    await this.#connection.write(new TextEncoder().encode(text));
  }

  /** All the server sends until it closes the connection. */
  async untilClosed(): Promise<string> {
    let text = "";
    const buffer = new Uint8Array(4_096);
    while (true) {
      const count = await this.#connection.read(buffer).catch(() => null);
      if (count === null) return text;
      text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  }

  async read(): Promise<string> {
    const buffer = new Uint8Array(4_096);
    const count = await this.#connection.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

const HEAD = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const UNFINISHED: Readonly<Record<string, string>> = {
  "a connection that sends nothing": "",
  "a head that never ends": "GET / HTTP/1.1\r\nhost: a\r\nx-slow: a",
  "an idle connection": HEAD,
  "a second head that never ends": `${HEAD}GET / HT`,
  "a body that never ends": "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab",
  "a chunked body that never ends":
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
};

for (const [name, text] of Object.entries(UNFINISHED)) {
  Deno.test(`listen() closes ${name}`, async () => {
    await using server = await serveTest();
    using raw = await Raw.connect(server.listener, text);
    await raw.untilClosed();
    await eventually("the connection to be forgotten", async () => await server.connections() === 0);
  });
}

Deno.test("listen() answers a target that is no path with 400, as JSON with the request's id", async () => {
  await using server = await serveTest();
  for (const target of ["http://a/", "//a", "*"]) {
    using raw = await Raw.connect(
      server.listener,
      `OPTIONS ${target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`,
    );
    const [head = "", body = ""] = (await raw.untilClosed()).split("\r\n\r\n");
    assert(head.startsWith("HTTP/1.1 400"), head);
    const { error, requestId } = JSON.parse(body);
    assertEquals(error, "Cannot read the request: its target is no path, or a header is no text");
    assert(requestId.length > 8);
  }
});

Deno.test("listen() refuses a request of more than 100 headers, whose reading takes long", async () => {
  await using server = await serveTest();
  const statusOf = async (count: number) => {
    const more = Array.from({ length: count - 2 }, (_, index) => `x${index}:\r\n`).join("");
    using raw = await Raw.connect(
      server.listener,
      `GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${more}\r\n`,
    );
    return (await raw.untilClosed()).split(" ")[1];
  };
  // Of more than 1,000 node:http hands out the first 1,000.
  assertEquals([await statusOf(100), await statusOf(101), await statusOf(1_500)], ["200", "431", "431"]);
});

/** Beginnings of a handshake: nothing, a record that says it is longer than what comes, and what is no TLS. */
const HANDSHAKES = ["", "\x16\x03\x01\x02\x00\x01", "no TLS"];

Deno.test("listen() closes a TLS connection whose handshake does not end in the time of a head", async () => {
  const authority = createCertAuthority("servers");
  const { certPem: cert, keyPem: key } = authority.issue({
    usage: "server",
    commonName: "zen-watcher",
    ipAddresses: ["127.0.0.1"],
  });
  const certificates = { current: { cert, key }, reloadOn: () => ({ [Symbol.dispose]() {} }) };
  await using server = await serveTest({ certificates });
  for (const text of HANDSHAKES) {
    using raw = await Raw.connect(server.listener, text);
    await raw.untilClosed();
    await eventually("the connection to be forgotten", async () => await server.connections() === 0);
  }
});

Deno.test("listen() names the address that it listens on", async () => {
  await using server = await serveTest({ address: "" });
  const { address, url, port } = server.listener;
  assert(["::", "0.0.0.0"].includes(address), address);
  assertEquals(url, `http://127.0.0.1:${port}`);
});

Deno.test("listen() continues after a body that was refused while it arrived, and its sender gets the answer", async () => {
  await using server = await serveTest({ requestTimeoutMs: 60_000 });
  using client = Deno.createHttpClient({});
  for (let round = 0; round < 10; round++) {
    const chunks = ReadableStream.from(Array.from({ length: 200 }, () => new Uint8Array(65_536)));
    const response = await fetch(`${server.listener.url}/refused`, { method: "POST", body: chunks, client });
    assertEquals([response.status, await response.text()], [413, "too large"]);
    const next = await fetch(`${server.listener.url}/`, { method: "POST", body: "next", client });
    assertEquals(await next.text(), "4");
  }
});

Deno.test("listen() refuses cleartext HTTP/2, ambiguous lengths and large heads", async () => {
  const refused: readonly [string, string][] = [
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "400"],
    ["POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400"],
    [`GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(70_000)}\r\n\r\n`, "431"],
  ];
  for (const [text, status] of refused) {
    await using server = await serveTest();
    using raw = await Raw.connect(server.listener, text);
    const answer = await raw.untilClosed();
    assert(answer === "" || answer.startsWith(`HTTP/1.1 ${status} `), answer.slice(0, 80));
  }
});

Deno.test("listen() closes the longest idle connection for a new one at the limit", async () => {
  await using server = await serveTest({
    maxConnections: 3,
    limits: { ...SHORT, headMs: 60_000, idleMs: 60_000 },
  });
  using busy = await Raw.connect(server.listener, "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
  using oldest = await Raw.connect(server.listener, HEAD);
  assert((await oldest.read()).includes("hello"));
  using newer = await Raw.connect(server.listener, HEAD);
  assert((await newer.read()).includes("hello"));
  const probe = await fetch(server.listener.url);
  assertEquals([probe.status, await probe.text()], [200, "hello"]);
  assertEquals(await oldest.untilClosed(), "");
  assertEquals([await server.connections(), await server.refused()], [3, 1]);
  server.release();
  assert((await busy.read()).includes("late"));
});

Deno.test("listen() closes the oldest unfinished head, then the oldest unfinished body, before it refuses", async () => {
  const limits = { ...SHORT, headMs: 60_000, idleMs: 60_000 };
  await using server = await serveTest({ maxConnections: 2, requestTimeoutMs: 60_000, limits });
  using body = await Raw.connect(server.listener, UNFINISHED["a body that never ends"]);
  using head = await Raw.connect(server.listener, UNFINISHED["a head that never ends"]);
  // The head's bytes are read in the same turn as a later connection's: wait until they are.
  await eventually("both connections", async () => await server.connections() === 2);
  using hanging = await Raw.connect(server.listener, "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
  await head.untilClosed();
  using hangingToo = await Raw.connect(server.listener, "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
  await body.untilClosed();
  using refused = await Raw.connect(server.listener, HEAD);
  assertEquals(await refused.untilClosed(), "");
  assertEquals(await server.refused(), 3);
  server.release();
  assert((await hanging.read()).includes("late"));
  assert((await hangingToo.read()).includes("late"));
});

Deno.test("listen() closes the oldest unfinished head before a connection that has just been opened", async () => {
  const limits = { ...SHORT, headMs: 60_000, idleMs: 60_000 };
  await using server = await serveTest({ maxConnections: 2, limits });
  using oldest = await Raw.connect(server.listener, UNFINISHED["a head that never ends"]);
  await eventually("the connection", async () => await server.connections() === 1);
  // A probe whose head is still on the way.
  using probe = await Raw.connect(server.listener);
  await eventually("both connections", async () => await server.connections() === 2);
  using _flood = await Raw.connect(server.listener, UNFINISHED["a head that never ends"]);
  assertEquals(await oldest.untilClosed(), "");
  await probe.write(HEAD);
  assert((await probe.read()).includes("hello"));
});

Deno.test("listen() ends connections with their answers where many ask often, and few or rare ones not", async () => {
  await using server = await serveTest({
    maxConnections: 1_000,
    limits: { ...SHORT, headMs: 60_000, idleMs: 60_000 },
  });
  using few = await Raw.connect(server.listener);
  const ask = async (raw: Raw) => {
    await raw.write(HEAD);
    return await raw.read();
  };
  for (let round = 0; round < 1_000; round++) assert(!(await ask(few)).includes("close"));
  const crowd = await Promise.all(Array.from({ length: 200 }, () => Raw.connect(server.listener)));
  let isEnded = false;
  await Promise.all(crowd.map(async (raw) => {
    for (let round = 0; round < 50 && !isEnded; round++) {
      isEnded ||= (await ask(raw)).toLowerCase().includes("connection: close");
    }
  }));
  assert(isEnded);
  for (const raw of crowd) raw[Symbol.dispose]();
  await eventually("the crowd to be gone", async () => await server.connections() <= 1);
  await eventually("a connection that stays open", async () => {
    using raw = await Raw.connect(server.listener);
    return !(await ask(raw)).toLowerCase().includes("connection: close");
  });
});

Deno.test("listen() closes a connection whose client pipelines, and starts none of its further requests", async () => {
  await using server = await serveTest();
  using raw = await Raw.connect(server.listener, "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20));
  assertEquals(await raw.untilClosed(), "");
  assertEquals([server.hanging(), await server.refused(), await server.connections()], [1, 1, 0]);
});

Deno.test("listen() closes a connection whose client asks again before it has taken an answer", async () => {
  const large = new Uint8Array(16 * 2 ** 20);
  let requests = 0;
  const listener = await listen({ fetch: () => (requests++, new Response(large)) }, {
    address: "127.0.0.1",
    port: 0,
    setting: "METRICS_PORT",
    maxConnections: 10,
    requestTimeoutMs: 300,
    limits: { ...SHORT, answerMs: 60_000 },
  });
  using raw = await Raw.connect(listener, HEAD);
  await eventually("the first request", () => requests === 1);
  await raw.write(HEAD);
  await raw.untilClosed();
  assertEquals(requests, 1);
  await listener.shutdown();
});

Deno.test("listen() cuts off a client that does not take its answer", async () => {
  const metrics = createMetrics();
  const large = new Uint8Array(64 * 2 ** 20);
  const listener = await listen({ fetch: () => new Response(large) }, {
    address: "127.0.0.1",
    port: 0,
    setting: "METRICS_PORT",
    maxConnections: 10,
    requestTimeoutMs: 300,
    metrics,
    limits: SHORT,
  });
  using _raw = await Raw.connect(listener, HEAD);
  const count = async () => (await metrics.connections.get()).values[0]?.value;
  await eventually("the request", async () => await count() === 1);
  await eventually("the connection to be cut off", async () => await count() === 0);
  await listener.shutdown();
});

Deno.test("listen() names the port and its setting where the port is taken", async () => {
  await using server = await serveTest();
  const { port } = server.listener;
  await assertRejects(
    () => serveTest({ port, setting: "METRICS_PORT" }),
    Error,
    `Cannot listen on port ${port} (METRICS_PORT): another program uses the port`,
  );
});

for (
  const [address, hosts] of [
    ["", ["127.0.0.1", "[::1]"]],
    ["::", ["127.0.0.1", "[::1]"]],
    ["::1", ["[::1]"]],
    ["0.0.0.0", ["127.0.0.1"]],
  ] as const
) {
  Deno.test(`listen() at "${address}" serves ${hosts.join(" and ")} alone`, async () => {
    await using server = await serveTest({ address });
    const { port } = server.listener;
    for (const host of ["127.0.0.1", "[::1]"] as const) {
      const answer = fetch(`http://${host}:${port}/peer`, { headers: { connection: "close" } });
      if (!(hosts as readonly string[]).includes(host)) await assertRejects(() => answer, TypeError);
      else assertEquals((await (await answer).text()) !== "", true);
    }
  });
}

Deno.test("shutdown() ends what sends no request and lets requests finish", async () => {
  await using server = await serveTest({ limits: { ...SHORT, headMs: 60_000, idleMs: 60_000 } });
  using silent = await Raw.connect(server.listener);
  using head = await Raw.connect(server.listener, UNFINISHED["a head that never ends"]);
  using busy = await Raw.connect(server.listener, "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
  await eventually(
    "three connections and the request",
    async () => await server.connections() === 3 && server.hanging() === 1,
  );
  const stopped = server.listener.shutdown();
  assertEquals([await silent.untilClosed(), await head.untilClosed()], ["", ""]);
  server.release();
  assert((await busy.untilClosed()).includes("late"));
  await stopped;
});

Deno.test("connectionLimit() leaves descriptors for the program itself", () => {
  const ports = [1_024, 64, 1_024];
  const limit = (free: number) => connectionLimit(ports, (most) => Math.min(most, free));
  // With one descriptor fewer than what the ports, the program and a burst need, the ports share what is left.
  assertEquals([limit(Infinity), limit(2_648), limit(2_647)], [1_024, 1_024, 703]);
  assertEquals([limit(1_000), limit(64), limit(10)], [162, 6, 4]);
});

Deno.test("connectionLimit() counts the free descriptors with a Pod's permissions, and leaves them free", async () => {
  const program = `
    import { connectionLimit } from ${JSON.stringify(new URL("./descriptors.ts", import.meta.url).href)};
    console.log(connectionLimit([1024, 64]), connectionLimit([1024, 64]));
  `;
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-descriptors-" });
  await Deno.writeTextFile(`${folder}/program.ts`, program);
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const run = ["run", "--no-check", "--config", config, ...podPermissions(), `${folder}/program.ts`];
  const limited = async (descriptors: number) => {
    const args = ["-c", `ulimit -n ${descriptors}; exec "$@"`, "sh", Deno.execPath(), ...run];
    const { stdout } = await new Deno.Command("sh", { args, stderr: "inherit" }).output();
    return new TextDecoder().decode(stdout).trim().split(" ").map(Number);
  };
  assertEquals(await limited(2_000), [1_024, 1_024]);
  const [first = 0, second = 0] = await limited(200);
  assert(first > 25 && first < 45 && first === second, `${first} and ${second} connections`);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("listen() does not take a program that was paused for a port that accepts no connections", async () => {
  const lines: string[] = [];
  configureLogging({ level: "ERROR", format: "json", write: (line) => void lines.push(line) });
  const connect = Deno.connect;
  let checks = 0;
  const pause = () => {
    const until = performance.now() + 2_100;
    while (performance.now() < until);
  };
  Object.assign(Deno, {
    connect(options: Deno.ConnectOptions) {
      if (checks++ === 0) queueMicrotask(pause);
      return connect(options);
    },
  });
  try {
    await using server = await serveTest({
      limits: { ...SHORT, headMs: 10_000, idleMs: 10_000, answerMs: 10_000, checkMs: 20 },
      requestTimeoutMs: 10_000,
    });
    const late = fetch(`${server.listener.url}/hang`).catch((error) => new Response(String(error)));
    await eventually("the request to arrive", () => server.hanging() === 1);
    await eventually("a check after the pause", () => checks > 1);
    server.release();
    assertEquals([await (await late).text(), lines], ["late", []]);
  } finally {
    Object.assign(Deno, { connect });
  }
});
