/** Connections that a neighbour on the network can open without a token, against the program as a process of its own. */
import { assert, assertEquals } from "@std/assert";
import type { Controller } from "../../scripts/support/controller.ts";
import { startDevPod } from "../support/dev_pod.ts";
import { eventually } from "../support/eventually.ts";
import { listeningIn } from "../support/listening.ts";

/** Words that set the limit of open files of the program behind them. */
const withDescriptors = (count: number) => ["sh", "-c", `ulimit -n ${count}; exec "$@"`, "sh"];

async function healthy({ url }: Controller): Promise<boolean> {
  const response = await fetch(`${url}/health`, {
    headers: { connection: "close" },
    signal: AbortSignal.timeout(10_000),
  });
  await response.body?.cancel();
  return response.status === 200;
}

/** A scrape may be refused while all connections of its port are being answered. */
async function metric({ metricsUrl }: Controller, pattern: RegExp): Promise<number> {
  let text = "";
  await eventually("a scrape to get through", async () => {
    const response = await fetch(`${metricsUrl}/metrics`, { headers: { connection: "close" } });
    text = await response.text();
    return response.status === 200;
  });
  return Number(pattern.exec(text)?.[1] ?? NaN);
}

async function openMany(
  url: string,
  { count, text }: { readonly count: number; readonly text: string },
): Promise<AsyncDisposable> {
  const port = Number(new URL(url).port);
  const open: Deno.Conn[] = [];
  for (let index = 0; index < count; index++) {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    open.push(connection);
    await connection.write(new TextEncoder().encode(text)).catch(() => 0);
  }
  return {
    // deno-lint-ignore require-await -- closing is done at once
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.close();
    },
  };
}

const SILENT: Readonly<Record<string, string>> = {
  "that send nothing": "",
  "with an endless head of 8 kB": `GET /health HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(8_000)}`,
  "that ask for metrics and read nothing": "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n",
};

for (const [name, text] of Object.entries(SILENT)) {
  Deno.test(`probes get through, and memory stays bounded, under 1,500 connections ${name}`, async () => {
    await using target = await startDevPod();
    const { controller } = target;
    for (const url of [controller.url, controller.metricsUrl]) {
      await using _many = await openMany(url, { count: 1_500, text });
      await eventually("a probe to get through", () => healthy(controller));
      const [webhooks, metrics] = [
        await metric(controller, /zen_watcher_connections\{port="webhooks"\} (\d+)/),
        await metric(controller, /zen_watcher_connections\{port="metrics"\} (\d+)/),
      ];
      assert(webhooks <= 1_024 && metrics <= 64, `${webhooks} and ${metrics} connections`);
      assert(await metric(controller, /process_resident_memory_bytes (\d+)/) < 300 * 2 ** 20);
    }
    // The text is rendered once a second at most.
    await eventually(
      "the refused connections",
      async () =>
        await metric(controller, /zen_watcher_connections_refused_total\{port="metrics"\} (\d+)/) > 0,
    );
  });
}

/** The first message of a TLS client. */
async function clientHello(): Promise<Uint8Array> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const client = Deno.connectTls({ hostname: "127.0.0.1", port }).then((one) => one.close()).catch(() => {});
  const bytes = new Uint8Array(4_096);
  let length = 0;
  {
    using accepted = await listener.accept();
    length = await accepted.read(bytes) ?? 0;
  }
  await client;
  return bytes.slice(0, length);
}

Deno.test("memory stays bounded under 20,000 TLS connections that end within their handshake", async () => {
  await using target = await startDevPod({
    env: { TLS_CERT_FILE: "FOLDER/tls.crt", TLS_KEY_FILE: "FOLDER/tls.key", WATCHER_TLS_PORT: "0" },
  });
  const { controller } = target;
  const listening = controller.lines.find((line) => line.includes('"Listening"')) ?? "{}";
  const port = Number(new URL(JSON.parse(listening).tlsUrl).port);
  const hello = await clientHello();
  let left = 20_000;
  await Promise.all(Array.from({ length: 100 }, async () => {
    while (left-- > 0) {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(hello);
      await connection.read(new Uint8Array(4_096));
    }
  }));
  assert(await healthy(controller));
  const rss = await metric(controller, /process_resident_memory_bytes (\d+)/);
  assert(rss < 300 * 2 ** 20, `${Math.round(rss / 2 ** 20)} MiB`);
});

/** How many connections come at once, by how many descriptors there are; whether the port may then stop accepting for a while. */
const BURSTS = [
  { descriptors: 64, count: 300, stops: true },
  // The queue of connections that wait to be accepted is full, so that the port's own check cannot connect.
  { descriptors: 128, count: 1_000, stops: true },
  { descriptors: 256, count: 1_500, stops: false },
];

for (const { descriptors, count, stops } of BURSTS) {
  const serves = stops ? "answers again" : "leaves descriptors free and serves on";
  Deno.test(`the program ${serves} with ${descriptors} descriptors under ${count} connections`, async () => {
    await using target = await startDevPod({ before: withDescriptors(descriptors) });
    const { controller } = target;
    const saying = (message: string) => controller.lines.filter((line) => line.includes(message)).length;
    {
      await using _many = await openMany(controller.url, { count, text: "" });
      await eventually("probes to get through", () => healthy(controller), {
        timeoutMs: 120_000,
      });
    }
    await eventually("the program to answer again", () => healthy(controller));
    assertEquals(await metric(controller, /zen_watcher_health_status (\d)/), 1);
    assertEquals(saying("The limit of open files allows fewer connections"), 1);
    if (!stops) assertEquals(saying("The port accepts no connections"), 0);
  });
}

Deno.test("/metrics is served on the metrics port alone, however its path is written", async () => {
  await using target = await startDevPod();
  const { controller: { url, metricsUrl } } = target;
  for (const path of ["/metrics", "/%6detrics", "/metrics/", "//metrics", "/./metrics", "/METRICS"]) {
    const response = await fetch(url + path);
    await response.body?.cancel();
    assert([400, 404].includes(response.status), path);
  }
  const response = await fetch(`${metricsUrl}/metrics`);
  assertEquals(response.status, 200);
  await response.body?.cancel();
});

Deno.test("the log names the address that each port listens on, and one that reaches it", async () => {
  await using target = await startDevPod({ env: { WATCHER_ADDRESS: "0.0.0.0" } });
  const { controller, controller: { url } } = target;
  const listening = listeningIn(controller);
  assertEquals([listening.address, listening.url], ["0.0.0.0", url]);
  assertEquals(new URL(url).hostname, "127.0.0.1");
});
