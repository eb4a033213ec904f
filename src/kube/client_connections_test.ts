/** What the client does with connections: TLS, reuse, deadlines, aborts and answers that break off. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { apiServer, watchStream } from "../../tests/support/api_server.ts";
import { eventually } from "../../tests/support/eventually.ts";
import {
  ApiError,
  type Endpoint,
  fixedConnection,
  type KubeObject,
  NetworkError,
  type ResourceType,
} from "./api.ts";
import { createKubeClient, type KubeClientOptions } from "./client.ts";

const PODS: ResourceType = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
const POD: KubeObject = { metadata: { name: "a" } };
const pem = (name: string) =>
  Deno.readTextFileSync(new URL(`../../tests/fixtures/tls/${name}`, import.meta.url));
const TLS = { cert: pem("server.pem"), key: pem("server.key") };
const CA = pem("ca.pem");

const clientTo = (endpoint: Endpoint, options?: KubeClientOptions) =>
  createKubeClient(fixedConnection(endpoint), options);

/** A connection whose endpoint a test replaces. */
function changing(endpoint: Endpoint) {
  const connection = {
    description: "test",
    namespace: undefined,
    current: endpoint,
    endpoint: () => Promise.resolve(connection.current),
  };
  return connection;
}

/** Text of a raw answer; "" closes the connection at once, undefined sends nothing. */
type RawAnswer = (connection: number, request: number) => string | undefined;

/** A server of raw answers. Answers without a length or a last chunk end with the connection. */
class RawServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  /** The requests of each connection. */
  readonly seen: string[][] = [];
  readonly open = new Set<Deno.Conn>();
  readonly #accepting: Promise<void>;

  constructor(answer: RawAnswer, { keepsOpen = false } = {}) {
    this.#accepting = (async () => {
      const serving: Promise<void>[] = [];
      for await (const conn of this.#listener) serving.push(this.#serve(conn, answer, keepsOpen));
      await Promise.all(serving);
    })();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.addr as Deno.NetAddr).port}`;
  }

  async #serve(conn: Deno.Conn, answer: RawAnswer, keepsOpen: boolean): Promise<void> {
    const connection = this.seen.length;
    const requests: string[] = this.seen[connection] = [];
    this.open.add(conn);
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const count = await conn.read(buffer).catch(() => null);
      if (count === null) break;
      requests.push(new TextDecoder().decode(buffer.subarray(0, count)));
      const text = answer(connection, requests.length - 1);
      if (text === undefined) continue;
      await conn.write(new TextEncoder().encode(text)).catch(() => {});
      if (!keepsOpen) break;
    }
    this.open.delete(conn);
    conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
  }
}

const http = (status: string, body: string, length = body.length) =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`;
const OK = http("200 OK", JSON.stringify(POD));

Deno.test("KubeClient sends requests over kept HTTP/1.1 connections and watches over one HTTP/2 connection", async () => {
  const streams = [watchStream(), watchStream()];
  for (const stream of streams) stream.send("ADDED", POD);
  await using server = apiServer(
    ({ query, body }) =>
      query.has("watch")
        ? streams[Number(query.get("timeoutSeconds"))]!.response
        : Response.json(body ?? POD),
    TLS,
  );
  using api = clientTo({ server: server.url, caPem: CA });
  const watches = streams.map((_, index) =>
    api.watch(PODS, { timeoutSeconds: index })[Symbol.asyncIterator]()
  );
  for (const watch of watches) await watch.next();
  await api.get(PODS, "a");
  await api.create(PODS, POD);
  await api.delete(PODS, "a");
  for (const watch of watches) await watch.return?.();
  await Promise.all(streams.map(({ left }) => left));
  const [first, second, ...requests] = server.seen.map(({ port, headers }) =>
    // HTTP/1.1 requests have a Host header; HTTP/2 requests have `:authority` in its place.
    `${headers.has("host") ? "HTTP/1.1" : "HTTP/2"} ${port}`
  );
  assert(first?.startsWith("HTTP/2 "));
  assertEquals(second, first);
  assert(requests[0]?.startsWith("HTTP/1.1 "));
  assertEquals(new Set(requests).size, 1);
});

Deno.test("KubeClient answers requests while watches are not read", async () => {
  const line = `${JSON.stringify({ type: "ADDED", object: { ...POD, text: "x".repeat(64 * 1024) } })}\n`;
  const endless = () =>
    new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve));
        controller.enqueue(new TextEncoder().encode(line));
      },
    });
  await using server = apiServer(
    ({ query }) => query.has("watch") ? new Response(endless()) : Response.json({ ...POD, text: line }),
    TLS,
  );
  using api = clientTo({ server: server.url, caPem: CA }, { requestDeadlineMs: 5_000 });
  const watches = Array.from({ length: 4 }, () => api.watch(PODS)[Symbol.asyncIterator]());
  for (const watch of watches) await watch.next();
  // By now the server has sent more than a connection may hold unread.
  for (let index = 0; index < 50; index++) await api.get(PODS, "a");
  for (const watch of watches) await watch.return?.();
});

Deno.test("KubeClient refuses a server of another authority and sends it nothing", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  using api = clientTo({ server: server.url, caPem: pem("other_ca.pem") });
  await assertRejects(() => api.get(PODS, "a"), NetworkError, "certificate");
  await assertRejects(() => api.create(PODS, POD), NetworkError, "certificate");
  await assertRejects(() => Array.fromAsync(api.watch(PODS)), NetworkError, "certificate");
  assertEquals(server.seen.length, 0);
});

Deno.test("KubeClient refuses an authority without a certificate", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  using api = clientTo({ server: server.url, caPem: "not a certificate" });
  await assertRejects(() => api.get(PODS, "a"), NetworkError, "holds no PEM certificate");
  assertEquals(server.seen.length, 0);
});

Deno.test("KubeClient trusts every certificate of a bundle", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  using api = clientTo({ server: server.url, caPem: `${pem("other_ca.pem")}${CA}` });
  assertEquals((await api.get(PODS, "a")).metadata.name, "a");
});

Deno.test("KubeClient opens new connections only when the certificates change, and tries bad ones again", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  const connection = changing({ server: server.url, caPem: CA, authorization: "Bearer 1" });
  using api = createKubeClient(connection);
  await api.get(PODS, "a");
  connection.current = { ...connection.current, authorization: "Bearer 2" };
  await api.get(PODS, "a");
  // A file in the middle of being replaced: the key is not that of the certificate yet.
  connection.current = { ...connection.current, certPem: pem("client.pem"), keyPem: pem("server.key") };
  await assertRejects(() => api.get(PODS, "a"), NetworkError);
  connection.current = { ...connection.current, keyPem: pem("client.key") };
  await api.get(PODS, "a");
  const [first, second, third] = server.seen.map(({ port }) => port);
  assertEquals(second, first);
  assertNotEquals(third, first);
});

Deno.test("KubeClient uses no connection of a pool in which a request timed out; others in flight continue", async () => {
  const limit = new AbortController();
  const both = Promise.withResolvers<void>();
  const slow = Promise.withResolvers<void>();
  const slowAsked = Promise.withResolvers<void>();
  let asked = 0;
  await using server = apiServer(async ({ path }) => {
    if (path.endsWith("/stuck")) {
      limit.abort(new NetworkError("Cannot get the stuck pod: nothing came", { fault: "timeout" }));
      return await new Promise<Response>(() => {});
    }
    if (path.endsWith("/slow")) {
      slowAsked.resolve();
      await slow.promise;
    }
    if (++asked === 2) both.resolve();
    await both.promise;
    return Response.json(POD);
  }, TLS);
  using api = clientTo({ server: server.url, caPem: CA });
  await Promise.all([api.get(PODS, "a"), api.get(PODS, "b")]);
  const inFlight = api.get(PODS, "slow");
  await slowAsked.promise;
  await assertRejects(() => api.get(PODS, "stuck", { signal: limit.signal }), NetworkError, "nothing came");
  await api.get(PODS, "after");
  slow.resolve();
  assertEquals((await inFlight).metadata.name, "a");
  const old = server.seen.slice(0, 4).map(({ port }) => port);
  assertEquals(new Set(old).size, 2, "the stuck request went over a kept connection");
  assert(!old.includes(server.seen[4]!.port), "which may be half open, as the others");
});

Deno.test("KubeClient opens the next watch on another connection when one is silent; the others continue", async () => {
  const streams = Array.from({ length: 3 }, () => watchStream());
  for (const stream of streams) stream.send("ADDED", POD);
  await using server = apiServer(
    ({ query }) => streams[Number(query.get("timeoutSeconds"))]!.response,
    TLS,
  );
  using api = clientTo({ server: server.url, caPem: CA });
  const silent = new AbortController();
  const open = (index: number, signal?: AbortSignal) =>
    api.watch<KubeObject>(PODS, { timeoutSeconds: index, ...(signal ? { signal } : {}) })
      [Symbol.asyncIterator]();
  const [other, dead] = [open(0), open(1, silent.signal)];
  await other.next();
  await dead.next();
  silent.abort(new NetworkError("Cannot watch pods: nothing came", { fault: "timeout" }));
  await assertRejects(async () => await dead.next(), NetworkError, "nothing came");
  const next = open(2);
  await next.next();
  streams[0]!.send("MODIFIED", POD);
  assertEquals((await other.next()).value?.type, "MODIFIED");
  await other.return?.();
  await next.return?.();
  await Promise.all(streams.map(({ left }) => left));
  const [first, second, third] = server.seen.map(({ port }) => port);
  assertEquals(second, first);
  assertNotEquals(third, first);
});

Deno.test("KubeClient opens another connection for watches beyond what one can carry", async () => {
  const streams = Array.from({ length: 65 }, () => watchStream());
  await using server = apiServer(
    ({ query }) => streams[Number(query.get("timeoutSeconds")) - 1]!.response,
    TLS,
  );
  using api = clientTo({ server: server.url, caPem: CA });
  for (const stream of streams) stream.send("ADDED", POD);
  const watches = streams.map((_stream, index) =>
    api.watch(PODS, { timeoutSeconds: index + 1 })[Symbol.asyncIterator]()
  );
  for (const watch of watches) assertEquals((await watch.next()).value?.type, "ADDED");
  const ports = server.seen.map(({ port }) => port);
  assertEquals(new Set(ports).size, 2);
  assertEquals(ports.filter((port) => port === ports[0]).length, 64);
  for (const watch of watches) await watch.return?.();
  await Promise.all(streams.map(({ left }) => left));
});

Deno.test("KubeClient sends no more requests at a time over a connection than one", async () => {
  await using server = new RawServer(() => OK, { keepsOpen: true });
  using api = clientTo({ server: server.url });
  const burst = () => Promise.all(Array.from({ length: 4 }, () => api.create(PODS, POD)));
  await burst();
  await burst();
  assertEquals(server.seen.flat().length, 8);
  assert(server.seen.length <= 5, `${server.seen.length} connections`);
});

Deno.test("KubeClient closes connections that are not used for a while", async () => {
  await using server = new RawServer(() => OK, { keepsOpen: true });
  using api = clientTo({ server: server.url }, { idleConnectionMs: 20 });
  await api.create(PODS, POD);
  await eventually("the connection to be closed", () => server.open.size === 0);
});

Deno.test("KubeClient opens a new connection when the server has closed the old one", async () => {
  const closes = OK.replace("\r\n", "\r\nconnection: close\r\n");
  for (const first of [OK, closes]) {
    await using server = new RawServer(() => first);
    using api = clientTo({ server: server.url });
    await api.create(PODS, POD);
    await eventually("the connection to be closed", () => server.open.size === 0);
    await api.create(PODS, POD);
    assertEquals(server.seen.map((requests) => requests.length), [1, 1]);
  }
});

Deno.test("KubeClient reports no answer where the server hangs up, breaks off or talks no HTTP", async () => {
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  const answers = ["", http("200 OK", "{}", 100), `${chunked}5\r\n{}`, `${chunked}x\r\n`, "220 smtp\r\n\r\n"];
  await using server = new RawServer((connection) => answers[connection]);
  using api = clientTo({ server: server.url });
  for (const _ of answers) {
    const error = await assertRejects(() => api.create(PODS, POD), NetworkError, 'Cannot create pods "a"');
    assertEquals(error.fault, "unreachable");
  }
  assertEquals(server.seen.flat().length, answers.length, "no request is sent twice");
});

Deno.test("KubeClient reports an error status even if its body cannot be read", async () => {
  const whole = JSON.stringify({ kind: "Status", reason: "Conflict" });
  const answers = [
    http("409 Conflict", whole, 5_000),
    `HTTP/1.1 409 Conflict\r\ntransfer-encoding: chunked\r\n\r\nx\r\n`,
    http("409 Conflict", "x".repeat(200_000)),
  ];
  await using server = new RawServer((connection) => answers[connection]);
  using api = clientTo({ server: server.url });
  for (const _ of answers) {
    assertEquals((await assertRejects(() => api.create(PODS, POD), ApiError)).status, 409);
  }
});

Deno.test("KubeClient bounds what a compressed answer unpacks to", async () => {
  const packed = new Response(`{"metadata":{"name":"a"},"text":"${"x".repeat(1_000_000)}"}`).body!
    .pipeThrough(new CompressionStream("gzip"));
  const bytes = await new Response(packed).arrayBuffer();
  await using server = apiServer(() => new Response(bytes, { headers: { "content-encoding": "gzip" } }));
  using api = clientTo({ server: server.url }, { maxBodyBytes: 100_000 });
  const error = await assertRejects(() => api.get(PODS, "a"), NetworkError);
  assertEquals(error.fault, "too_large");
  assert(bytes.byteLength < 100_000, "what is sent is within the bound");
});

Deno.test("KubeClient ends with the signal's reason at any step of connecting, sending and reading", async () => {
  const half = http("200 OK", "{", 100);
  for (const answer of ["", half]) {
    await using server = new RawServer(() => answer === "" ? undefined : answer, { keepsOpen: true });
    using api = clientTo({ server: server.url });
    for (let turns = 0; turns < 12; turns++) {
      const stop = new AbortController();
      const sending = api.create(PODS, POD, { signal: stop.signal });
      const rejected = assertRejects(() => sending, Error, "enough");
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      stop.abort(new Error("enough"));
      await rejected;
    }
    await eventually("every connection to be closed", () => server.open.size === 0);
  }
});

Deno.test("KubeClient sends no header with a line break in it, and keeps its value out of the error", async () => {
  await using server = new RawServer(() => OK);
  for (
    const endpoint of [
      { headers: { "impersonate-user": "a\r\nimpersonate-group: system:masters" } },
      { authorization: "Bearer system:masters\n" },
    ]
  ) {
    using api = clientTo({ server: server.url, ...endpoint });
    const error = await assertRejects(() => api.get(PODS, "a"), NetworkError, "HTTP does not allow");
    assert(!error.message.includes("masters"));
  }
  assertEquals(server.seen, []);
});

Deno.test("KubeClient refuses requests once closed", async () => {
  await using server = apiServer(() => Response.json(POD));
  const api = clientTo({ server: server.url });
  await api.get(PODS, "a");
  api.close();
  await assertRejects(() => api.get(PODS, "a"), NetworkError, "closed");
  assertEquals(server.seen.length, 1);
});
