/** The whole program while its connections to a real API server break, are refused, and get GOAWAY. */
import { assert, assertEquals } from "@std/assert";
import { alertedPods, sendAlerts, wantedPods } from "../support/alerts.ts";
import { closedBooks } from "../support/books.ts";
import { sharedEnvtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { startFaultProxy } from "../support/fault_proxy.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { CRDS } from "../support/crds.ts";
import { shardsOf } from "./shard.ts";
import { report, transportTo } from "./watching.ts";

const cluster = await sharedEnvtest();
await cluster.applyCrds(CRDS);

Deno.test("real API server: connections reset and refused in the middle of 400 changes miss and double nothing", async () => {
  const { place, start, stored } = shardsOf(cluster);
  const at = await place("broken");
  await using proxy = await startFaultProxy({
    hostname: "127.0.0.1",
    port: Number(new URL(cluster.url).port),
  });
  await using app = await start(at, { server: `https://127.0.0.1:${proxy.port}` });
  using api = transportTo(cluster);
  let written = 0;
  await changeReports(api, {
    namespace: at.namespace,
    reports: [0, 40],
    found: [0, 10],
    onWrite: async () => {
      written++;
      if (written % 60 === 0) proxy.reset();
      if (written !== 250) return;
      proxy.refuse();
      proxy.reset();
      await eventually("several refusals", () => proxy.counts.refused >= 3);
      proxy.resume();
    },
  });
  const began = performance.now();
  await eventually("every finding", async () => findingsOf(await stored(at.namespace)).length >= 400);
  report("broken connections", { ...proxy.counts, healedMs: performance.now() - began });
  assertEquals(findingsOf(await stored(at.namespace)), wantedFindings(40, 10));
  const { trivy } = await closedBooks(app.url);
  assertEquals([trivy?.created, trivy?.failed], [400, 0]);
  assert(proxy.counts.reset >= 5);
});

Deno.test("a server that sends GOAWAY loses none of 500 alerts and 200 changes", async () => {
  await using leaving = await startEnvtest({ goawayChance: 0.02 });
  await leaving.applyCrds(CRDS);
  const { place, start, stored } = shardsOf(leaving);
  const at = await place("goaway");
  await using proxy = await startFaultProxy({
    hostname: "127.0.0.1",
    port: Number(new URL(leaving.url).port),
  });
  await using app = await start(at, { server: `https://127.0.0.1:${proxy.port}` });
  using api = transportTo(leaving);
  const [sent] = await Promise.all([
    sendAlerts(() => app.url, { count: 500, namespace: at.namespace }),
    changeReports(api, { namespace: at.namespace, reports: [0, 40], found: [0, 5] }),
  ]);
  await eventually(
    "every finding",
    async () => findingsOf(await stored(at.namespace)).length >= 200,
  );
  report("GOAWAY", {
    connections: proxy.counts.accepted,
    refused: sent.refused,
    unanswered: sent.unanswered,
  });
  assertEquals(sent, { refused: 0, unanswered: 0 });
  assert(proxy.counts.accepted > 5, `the server sent GOAWAY: ${proxy.counts.accepted} connections`);
  const all = await stored(at.namespace);
  assertEquals(alertedPods(all), wantedPods(500));
  assertEquals(findingsOf(all), wantedFindings(40, 5));
  const { falco, trivy } = await closedBooks(app.url);
  assertEquals([falco?.created, falco?.failed, trivy?.created, trivy?.failed], [500, 0, 200, 0]);
});
