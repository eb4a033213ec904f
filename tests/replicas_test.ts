/** Two replicas of the whole program share an API server: what both are told is stored once, and counted twice. */
import { assert, assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { isObject, type JsonObject } from "../src/core/json.ts";
import { type DevCluster, startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/connection.ts";
import { createTransport } from "../src/kube/transport.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { alert, alertedPods, wantedPods } from "./support/alerts.ts";
import { startTestApp, type TestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";

const STORED = "observations.zen.kube-zen.io";
const COUNT = 200;

async function cluster(): Promise<DevCluster> {
  const server = await startDevCluster();
  using api = createTransport(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  return server;
}

function replica(server: DevCluster, name: string): Promise<TestApp> {
  return startTestApp({ server: server.url, env: { POD_NAME: name } });
}

/** Every alert in batches, to every replica at once; the numbers of the answers, added up. */
async function postToAll(replicas: readonly TestApp[], time: string): Promise<Record<string, number>> {
  const sums: Record<string, number> = { created: 0, deduped: 0, failed: 0 };
  const alerts = Array.from({ length: COUNT }, (_, index) => alert("shop", index, time));
  for (let start = 0; start < COUNT; start += 50) {
    const answers = await Promise.all(
      replicas.map((each) => each.post("/falco/webhook", alerts.slice(start, start + 50))),
    );
    for (const { status, body } of answers) {
      assertEquals(status, 200);
      for (const key of Object.keys(sums)) sums[key] = (sums[key] ?? 0) + Number(body[key]);
    }
  }
  return sums;
}

function occurrences(server: DevCluster): number[] {
  const counts = server.objects(STORED).map(({ status }: JsonObject) =>
    isObject(status) ? Number(status.occurrences) : 0
  );
  return [...new Set(counts)].sort((a, b) => a - b);
}

Deno.test("two replicas given the same occurrences at once store each once, also after both were restarted", async () => {
  await using server = await cluster();
  const time = new Date().toISOString();
  {
    await using a = await replica(server, "a");
    await using b = await replica(server, "b");
    assertEquals(await postToAll([a, b], time), { created: COUNT, deduped: COUNT, failed: 0 });
    assertEquals(alertedPods(server.objects(STORED)), wantedPods(COUNT));
  }
  assertEquals(occurrences(server), [2], "both flushed what they counted before they ended");
  await using a = await replica(server, "a");
  await using b = await replica(server, "b");
  assertEquals(await postToAll([a, b], time), { created: 0, deduped: 2 * COUNT, failed: 0 });
  assertEquals(server.count(STORED), COUNT);
});

Deno.test("a create whose answer is lost is created once and counted once", async () => {
  await using server = await cluster();
  await using a = await replica(server, "a");
  using lost = server.faults.add({
    verb: "create",
    path: "/observations",
    times: 3,
    effect: { kind: "reset", applied: true },
  });
  const { status, body } = await a.post("/falco/webhook", [0, 1, 2].map((index) => alert("shop", index)));
  assertEquals([status, body.created, body.deduped], [200, 3, 0]);
  assertEquals([lost.hits, server.count(STORED)], [3, 3]);
});

Deno.test("an Observation whose namespace is gone or was deleted goes to our own", async () => {
  await using server = await cluster();
  await using a = await replica(server, "a");
  const { status, body } = await a.post("/falco/webhook", [alert("nowhere", 1)]);
  assertEquals([status, body.created], [200, 1]);
  assertEquals(server.objects(STORED, "zen-system").length, 1);
});

Deno.test("an Observation deleted by hand in its open window is created again by the next event", async () => {
  await using server = await cluster();
  await using a = await replica(server, "a");
  using api = createTransport(fixedConnection({ server: server.url }));
  await a.post("/falco/webhook", [alert("shop", 1)]);
  const [{ metadata }] = server.objects(STORED) as [JsonObject];
  assert(isObject(metadata));
  await api.delete(OBSERVATIONS, String(metadata.name), { namespace: "shop" });
  await eventually("the next event to create", async () => {
    const { body } = await a.post("/falco/webhook", [alert("shop", 1)]);
    return body.created === 1;
  });
  assertEquals(server.count(STORED), 1);
});
