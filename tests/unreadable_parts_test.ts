/** A request of which some parts, or very many, cannot be read: what its sender is told. */
import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/auth/connection.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { startTestApp } from "./support/app.ts";

Deno.test("the answer counts every part that cannot be read, and refuses a body of too many parts whole", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  const alert = { rule: "R", priority: "Error", output: "o" };
  const zeros = (count: number) => Array.from({ length: count }, () => 0);
  const some = await app.post("/falco/webhook", [...zeros(150), alert]);
  assertEquals([some.status, some.body.received, some.body.errorCount], [200, 1, 150]);
  const many = await app.post("/falco/webhook", [alert, ...zeros(50_000)]);
  assertEquals([many.status, many.body.received], [413, undefined]);
  const lines = await app.post("/falco/webhook", `${JSON.stringify(alert)}\nnot json\n[0]\n`);
  assertEquals([lines.status, lines.body.received, lines.body.errorCount], [200, 1, 2]);
});
