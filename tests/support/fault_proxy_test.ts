import { assert, assertEquals, assertRejects } from "@std/assert";
import { startFaultProxy } from "./fault_proxy.ts";
import { createCertAuthority } from "./certs.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("FaultProxy passes bytes both ways and counts them", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  assertEquals(await exchange(client, "hello"), "hello");
  assertEquals(proxy.counts, { open: 1, accepted: 1, refused: 0, reset: 0, bytes: 10 });
});

Deno.test("FaultProxy passes a megabyte in order", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  const sent = new Uint8Array(1 << 20).map((_, index) => index % 251);
  const writing = (async () => {
    for (let from = 0; from < sent.length;) from += await client.write(sent.subarray(from));
    await client.closeWrite();
  })();
  const received = new Uint8Array(await new Response(client.readable).arrayBuffer());
  await writing;
  assertEquals(received.length, sent.length);
  assert(received.every((byte, index) => byte === sent[index]));
});

Deno.test("reset() ends connections by an RST and takes new ones", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  await exchange(client, "hello");
  assertEquals(proxy.reset(), 1);
  await assertRejects(() => client.read(new Uint8Array(8)), Deno.errors.ConnectionReset);
  assertEquals(proxy.counts.open, 0);
  using again = await connect(proxy);
  assertEquals(await exchange(again, "hello"), "hello");
});

Deno.test("freeze() keeps connections open and silent until resume()", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  await exchange(client, "before");
  proxy.freeze();
  await client.write(bytes("during"));
  using late = await connect(proxy);
  await late.write(bytes("late"));
  // Both requests have had every chance to pass once a connection past the proxy has answered.
  using beside = await connect(echo.address);
  for (let round = 0; round < 20; round++) await exchange(beside, "beside");
  assertEquals(proxy.counts.bytes, 12);
  assertEquals(echo.received, "before" + "beside".repeat(20));
  proxy.resume();
  assertEquals(await read(client), "during");
  assertEquals(await read(late), "late");
});

Deno.test("silence() leaves the connections there are open and dead, and lets new ones work", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  await exchange(client, "before");
  assertEquals(proxy.silence(), 1);
  await client.write(bytes("during"));
  using late = await connect(proxy);
  for (let round = 0; round < 20; round++) await exchange(late, "late");
  proxy.resume();
  assertEquals(await exchange(late, "late"), "late");
  assertEquals(echo.received, "before" + "late".repeat(21));
  assertEquals(proxy.counts.open, 2);
});

Deno.test("refuse() turns new connections away and leaves those there are", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  await exchange(client, "hello");
  proxy.refuse();
  await assertRejects(async () => {
    using refused = await connect(proxy);
    await exchange(refused, "hello");
  });
  assertEquals(await exchange(client, "still"), "still");
  assertEquals(proxy.counts.refused, 1);
  proxy.resume();
  using again = await connect(proxy);
  assertEquals(await exchange(again, "hello"), "hello");
});

Deno.test("delay() delays the bytes that pass", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  proxy.delay(40);
  const startedAt = performance.now();
  await exchange(client, "hello");
  assert(performance.now() - startedAt >= 79, "40 ms there and 40 ms back");
});

Deno.test("the end of a connection reaches the other side", async () => {
  await using echo = new EchoServer();
  await using proxy = await startFaultProxy(echo.address);
  using client = await connect(proxy);
  await exchange(client, "hello");
  echo.closeAll();
  assertEquals(await client.read(new Uint8Array(8)), null);
});

Deno.test("a client gets a reset if nothing listens behind the proxy", async () => {
  const echo = new EchoServer();
  const { address } = echo;
  await echo[Symbol.asyncDispose]();
  await using proxy = await startFaultProxy(address);
  using client = await connect(proxy);
  await assertRejects(async () => {
    await client.write(bytes("hello"));
    if (await client.read(new Uint8Array(8)) === null) throw new Error("closed");
  });
});

Deno.test("TLS passes through: the client checks the certificate of the server behind", async () => {
  const authority = createCertAuthority("root");
  const { certPem, keyPem } = authority.issue({
    usage: "server",
    commonName: "server",
    ipAddresses: ["127.0.0.1"],
  });
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", cert: certPem, key: keyPem, onListen: () => {} },
    () => new Response("hello"),
  );
  await using proxy = await startFaultProxy(server.addr);
  using client = Deno.createHttpClient({ caCerts: [authority.certPem] });
  assertEquals(await (await fetch(`https://127.0.0.1:${proxy.port}/`, { client })).text(), "hello");
});

/** Sends back what it gets. */
class EchoServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #running: Promise<void>;
  received = "";

  constructor() {
    this.#running = this.#accept();
  }

  get address(): { hostname: string; port: number } {
    return { hostname: "127.0.0.1", port: this.#listener.addr.port };
  }

  closeAll(): void {
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.closeAll();
    await this.#running;
  }

  async #accept(): Promise<void> {
    const echoes: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.#connections.add(connection);
      echoes.push(this.#echo(connection));
    }
    await Promise.all(echoes);
  }

  async #echo(connection: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(16_384);
    try {
      for (let size = await connection.read(buffer); size !== null; size = await connection.read(buffer)) {
        if (size < 100) this.received += new TextDecoder().decode(buffer.subarray(0, size));
        for (let from = 0; from < size;) from += await connection.write(buffer.subarray(from, size));
      }
      await connection.closeWrite();
    } catch {
      // The other side broke the connection, which is what these tests are about.
    }
  }
}

async function connect({ hostname, port }: { hostname: string; port: number }): Promise<Deno.TcpConn> {
  return await Deno.connect({ hostname, port });
}

async function read(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(64);
  const size = await connection.read(buffer);
  if (size === null) throw new Error("The connection was closed");
  return new TextDecoder().decode(buffer.subarray(0, size));
}

async function exchange(connection: Deno.Conn, text: string): Promise<string> {
  await connection.write(bytes(text));
  return await read(connection);
}
