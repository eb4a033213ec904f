/** Senders that stall must not hold up a shutdown: the last status writes would be lost. */
import { assertEquals } from "@std/assert";
import { installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";

const HEAD = "POST /falco/webhook HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
const STALLED: Readonly<Record<string, string>> = {
  "half of a small body": `${HEAD}content-length: 100\r\n\r\n{`,
  "half of a large body": `${HEAD}content-length: 100000\r\n\r\n{`,
  "half of a body of no known length": `${HEAD}transfer-encoding: chunked\r\n\r\n1\r\n{\r\n`,
};

for (const [name, bytes] of Object.entries(STALLED)) {
  Deno.test(`after SIGTERM the program does not wait for the rest of ${name}`, async () => {
    await using server = startDevCluster();
    using api = createKubeClient(fixedConnection({ server: server.url }));
    await installCrds(api);
    // Falco's requests are held for a minute: longer than a Pod is given to end.
    const app = await startTestApp({ server: server.url, env: { HTTP_SHUTDOWN_TIMEOUT: "100ms" } });
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(app.url).port) });
    try {
      await connection.write(new TextEncoder().encode(bytes));
      await eventually(
        "the request to be under way",
        async () => await app.metric("webhook_queue_usage", { endpoint: "/falco/webhook" }) === 1,
      );
      await app.stop();
      assertEquals(await app.metric("webhook_queue_usage", { endpoint: "/falco/webhook" }), 0);
      assertEquals(await app.metric("webhook_dropped_total", { endpoint: "/falco/webhook" }), 1);
    } finally {
      connection.close();
    }
  });
}
