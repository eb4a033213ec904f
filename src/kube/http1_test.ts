import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHttp1, type Http1, type Http1Request } from "./http1.ts";
import { NetworkError } from "./api.ts";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

interface Peer extends AsyncDisposable {
  readonly url: string;
  /** What arrived on each connection. */
  readonly seen: string[][];
}

/** A server that answers each request of each connection with `answer`; undefined hangs up, null says nothing. */
function peer(answer: (connection: number, request: number) => string | undefined | null): Peer {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const seen: string[][] = [];
  const serving: Promise<void>[] = [];
  const open = new Set<Deno.Conn>();
  const serve = async (conn: Deno.Conn, connection: number) => {
    const requests: string[] = seen[connection] = [];
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const count = await conn.read(buffer).catch(() => null);
      if (count === null) break;
      requests.push(new TextDecoder().decode(buffer.subarray(0, count)));
      const text = answer(connection, requests.length - 1);
      if (text === undefined) break;
      if (text !== null) await conn.write(new TextEncoder().encode(text));
    }
    open.delete(conn);
    conn.close();
  };
  const accepting = (async () => {
    for await (const conn of listener) {
      open.add(conn);
      serving.push(serve(conn, serving.length));
    }
  })();
  return {
    url: `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(serving);
    },
  };
}

function clientOf(
  { url }: { readonly url: string },
  options?: { readonly maxIdleMs: number },
): Http1 & Disposable {
  const http1 = createHttp1({ server: url }, options);
  return { ...http1, [Symbol.dispose]: http1.close };
}

function post(url: string, fields: Partial<Http1Request> = {}): Http1Request {
  return {
    method: "POST",
    url: `${url}/a?b=c`,
    headers: { accept: "application/json" },
    body: '{"é":1}',
    signal: new AbortController().signal,
    maxBodyBytes: 1_000,
    ...fields,
  };
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

Deno.test("Http1 sends head and body at once and uses a connection again", async () => {
  await using server = peer(() => OK);
  using http1 = clientOf(server);
  for (let index = 0; index < 3; index++) await http1.send(post(server.url));
  const host = new URL(server.url).host;
  const sent =
    `POST /a?b=c HTTP/1.1\r\nhost: ${host}\r\naccept: application/json\r\ncontent-length: 8\r\n\r\n{"é":1}`;
  assertEquals(server.seen, [[sent, sent, sent]]);
});

Deno.test("Http1 opens a connection for each request at a time", async () => {
  await using server = peer(() => OK);
  using http1 = clientOf(server);
  await Promise.all(Array.from({ length: 4 }, () => http1.send(post(server.url))));
  await Promise.all(Array.from({ length: 4 }, () => http1.send(post(server.url))));
  assertEquals(server.seen.length, 4);
  assertEquals(server.seen.flat().length, 8);
});

Deno.test("Http1 leaves a connection that the server closes or speaks on unasked, and goes on with a new one", async () => {
  const closes = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
  for (const first of [closes, `${OK}HTTP/1.1 408 Request Timeout\r\n\r\n`]) {
    await using server = peer((connection) => connection === 0 ? first : OK);
    using http1 = clientOf(server);
    assertEquals((await http1.send(post(server.url))).status, 200);
    await pause();
    assertEquals((await http1.send(post(server.url))).status, 200);
    assertEquals(server.seen.map((requests) => requests.length), [1, 1]);
  }
});

Deno.test("Http1 notices that an idle connection was closed before it is used", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`;
  using http1 = clientOf({ url });
  const buffer = new Uint8Array(1_024);
  for (let index = 0; index < 2; index++) {
    const sending = http1.send(post(url));
    const conn = await listener.accept();
    await conn.read(buffer);
    await conn.write(new TextEncoder().encode(OK));
    assertEquals((await sending).status, 200);
    conn.close();
    await pause();
  }
  listener.close();
});

Deno.test("Http1 closes connections that nobody has used for a while", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`;
  using http1 = clientOf({ url }, { maxIdleMs: 10 });
  const sending = http1.send(post(url));
  const conn = await listener.accept();
  await conn.read(new Uint8Array(1_024));
  await conn.write(new TextEncoder().encode(OK));
  await sending;
  assertEquals(await conn.read(new Uint8Array(1_024)), null);
  conn.close();
  listener.close();
});

Deno.test("Http1 fails where the server hangs up without an answer, and where nobody listens", async () => {
  await using server = peer(() => undefined);
  using http1 = clientOf(server);
  await assertRejects(() => http1.send(post(server.url)), NetworkError, "closed before the answer");
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${(closed.addr as Deno.NetAddr).port}`;
  closed.close();
  await assertRejects(() => http1.send(post(url)), Deno.errors.ConnectionRefused);
});

Deno.test("Http1 ends with the signal's reason, before, during and after connecting", async () => {
  const stop = new AbortController();
  await using server = peer(() => {
    stop.abort(new Error("enough"));
    return null;
  });
  using http1 = clientOf(server);
  const aborted = AbortSignal.abort(new Error("too late"));
  await assertRejects(() => http1.send(post(server.url, { signal: aborted })), Error, "too late");
  const soon = new AbortController();
  const sending = http1.send(post(server.url, { signal: soon.signal }));
  soon.abort(new Error("soon"));
  await assertRejects(() => sending, Error, "soon");
  await assertRejects(() => http1.send(post(server.url, { signal: stop.signal })), Error, "enough");
  assertEquals(server.seen.flat().length, 1);
});

Deno.test("Http1 ends with the signal's reason at whatever step of connecting it comes", async () => {
  await using server = peer(() => null);
  using http1 = clientOf(server);
  for (let steps = 0; steps < 12; steps++) {
    const stop = new AbortController();
    const connecting = Promise.withResolvers<void>();
    const { connect } = Deno;
    Deno.connect = ((options: Deno.ConnectOptions) => {
      const opening = connect(options);
      void opening.then(() => connecting.resolve());
      return opening;
    }) as typeof Deno.connect;
    try {
      const sending = http1.send(post(server.url, { signal: stop.signal }));
      const rejected = assertRejects(() => sending, Error, "lost");
      await connecting.promise;
      for (let step = 0; step < steps; step++) await undefined;
      stop.abort(new Error("lost"));
      await rejected;
    } finally {
      Deno.connect = connect;
    }
  }
});

Deno.test("Http1 does not use a connection again whose answer was over the bound", async () => {
  const long = `HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n${"x".repeat(2_000)}`;
  await using server = peer((connection) => connection === 0 ? long : OK);
  using http1 = clientOf(server);
  const error = await assertRejects(() => http1.send(post(server.url)), NetworkError);
  assertEquals(error.fault, "too_large");
  assertEquals((await http1.send(post(server.url))).status, 200);
  assertEquals(server.seen.length, 2);
});

Deno.test("Http1 sends no header with a line break in it", async () => {
  await using server = peer(() => OK);
  using http1 = clientOf(server);
  const headers = { "impersonate-user": "a\r\nimpersonate-group: system:masters" };
  const error = await assertRejects(() => http1.send(post(server.url, { headers })), TypeError, "line break");
  assert(!error.message.includes("masters"));
  assertEquals(server.seen, []);
});
