/** Replicas of the whole program share an API server: what all of them receive is stored once, and counted each time. */
import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../../src/model/time.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { OBSERVATIONS } from "../../src/store/mod.ts";
import { alert, alertedPods, wantedPods } from "../support/alerts.ts";
import type { TestApp } from "../support/app.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import {
  type DevWorld,
  metadataOf,
  occurrencesOf,
  startDevWorld,
  STORED_TYPE,
} from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { falcoStream } from "../support/falco_stream.ts";
import { loadDocuments } from "../support/load_fixture.ts";

const COUNT = 1_000;
const BATCH = 50;
/** One client sends here what many would. */
const UNLIMITED = { WEBHOOK_RATE_LIMIT: "100000", WEBHOOK_RATE_BURST: "100000" };

/** Every alert in batches, to all addresses at once; the numbers of the answers, added up. */
async function postToAll(urls: readonly string[], time: string): Promise<Record<string, number>> {
  const sums: Record<string, number> = { created: 0, deduped: 0, failed: 0 };
  const alerts = Array.from({ length: COUNT }, (_, index) => alert("shop", index, time));
  for (let start = 0; start < COUNT; start += BATCH) {
    const body = JSON.stringify(alerts.slice(start, start + BATCH));
    const answers = await Promise.all(
      urls.map((url) => fetch(`${url}/falco/webhook`, { method: "POST", body })),
    );
    for (const answer of answers) {
      assertEquals(answer.status, 200);
      const counts = await answer.json();
      for (const key of Object.keys(sums)) sums[key] = (sums[key] ?? 0) + Number(counts[key]);
    }
  }
  return sums;
}

function eachSeen(world: DevWorld): number[] {
  const counts = world.observations().map(({ status }) => isObject(status) ? Number(status.occurrences) : 0);
  return [...new Set(counts)].sort((a, b) => a - b);
}

Deno.test("two replicas given 1,000 occurrences at once store each once, also after both were restarted", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const time = new Date().toISOString();
  {
    await using a = await world.replica("a");
    await using b = await world.replica("b");
    assertEquals(await postToAll([a.url, b.url], time), { created: COUNT, deduped: COUNT, failed: 0 });
    assertEquals(alertedPods(world.observations()), wantedPods(COUNT));
    for (const { url } of [a, b]) await closedBooks(url);
  }
  assertEquals(eachSeen(world), [2], "both flushed what they counted before they ended");
  const versions = world.versions();
  await using a = await world.replica("a");
  await using b = await world.replica("b");
  assertEquals(await postToAll([a.url, b.url], time), { created: 0, deduped: 2 * COUNT, failed: 0 });
  assertEquals([...world.versions().keys()], [...versions.keys()]);
});

Deno.test("two processes given 1,000 occurrences at once, killed with -9 and started again: still 1,000", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const time = new Date().toISOString();
  {
    await using a = await world.process("a");
    await using b = await world.process("b");
    assertEquals(await postToAll([a.url, b.url], time), { created: COUNT, deduped: COUNT, failed: 0 });
    for (const { url } of [a, b]) await closedBooks(url);
  }
  const names = [...world.versions().keys()];
  assertEquals(alertedPods(world.observations()), wantedPods(COUNT));
  await using a = await world.process("a");
  await using b = await world.process("b");
  assertEquals(await postToAll([a.url, b.url], time), { created: 0, deduped: 2 * COUNT, failed: 0 });
  assertEquals([...world.versions().keys()], names);
});

Deno.test("of two replicas with one POD_NAME one leads", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await using a = await world.replica("twin");
  await using b = await world.replica("twin");
  const leaders = async () =>
    (await Promise.all([a, b].map(({ url }) => statusOf(url)))).map(({ leader }) => leader as JsonObject);
  await eventually("both to know one leader", async () => {
    const [one, other] = await leaders();
    return one?.holder !== null && one?.holder === other?.holder;
  });
  assertEquals((await leaders()).filter(({ isLeader }) => isLeader).length, 1);
});

Deno.test("a thousand repeats of one alert: one Observation, occurrences 1000, at most a few dozen status writes", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  {
    await using a = await world.replica("a");
    const now = Date.now();
    for (let repeat = 0; repeat < COUNT; repeat++) {
      const { status } = await a.post(
        "/falco/webhook",
        alert("shop", 0, new Date(now + repeat).toISOString()),
      );
      assertEquals(status, 200);
    }
    const { falco } = await closedBooks(a.url);
    assertEquals([falco?.created, falco?.deduped], [1, COUNT - 1]);
  }
  assertEquals([world.server.count(STORED_TYPE), occurrencesOf(world.observations())], [1, COUNT]);
  assert(world.writes() <= 1 + 24, `${world.writes()} writes`);
});

Deno.test("one event every 50 s for 10 min, alternating between two replicas: 1 Observation, occurrences 13", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const time = new TestClock();
  await using a = await world.replica("a", { clock: time });
  await using b = await world.replica("b", { clock: time });
  for (let event = 0; event < 13; event++) {
    const at = new Date(time.now()).toISOString();
    const { status } = await (event % 2 === 0 ? a : b).post("/falco/webhook", alert("shop", 0, at));
    assertEquals(status, 200);
    time.advance(50_000);
    // In real time 50 s are ten times what a flush takes.
    await eventually("the repeat to be flushed", () => {
      const [{ status }] = world.observations() as [JsonObject];
      return event === 0 || (isObject(status) && status.lastSeenAt === at);
    });
  }
  assertEquals([world.server.count(STORED_TYPE), occurrencesOf(world.observations())], [1, 13]);
});

/** Real time, and what was added. */
class TestClock implements Clock {
  #addedMs = 0;
  now = () => Date.now() + this.#addedMs;
  monotonic = () => performance.now() + this.#addedMs;
  advance(ms: number): void {
    this.#addedMs += ms;
  }
}

/** Posts bodies one by one, in turns to each replica, as their senders would. */
async function postInTurns(replicas: readonly TestApp[], bodies: readonly unknown[]): Promise<void> {
  for (const [index, body] of bodies.entries()) {
    const replica = replicas[index % replicas.length];
    assertEquals((await replica?.post("/falco/webhook", body))?.status, 200);
  }
}

Deno.test("a stream of bursts, alert by alert to two replicas in turns: exactly its identities, every alert counted", async () => {
  const { alerts, identities, namespaces } = falcoStream({ identities: 300, endAt: Date.now() });
  assertEquals(alerts.length, 1_000);
  await using world = await startDevWorld({ namespaces });
  {
    await using a = await world.replica("a", { env: UNLIMITED });
    await using b = await world.replica("b", { env: UNLIMITED });
    await postInTurns([a, b], alerts);
    const books = await Promise.all([a, b].map(({ url }) => closedBooks(url)));
    const created = books.reduce((sum, { falco }) => sum + (falco?.created ?? 0), 0);
    assertEquals(created, identities);
  }
  assertEquals([world.server.count(STORED_TYPE), occurrencesOf(world.observations())], [
    identities,
    alerts.length,
  ]);
});

Deno.test("500 alerts of Falco's own rules: exactly their 154 identities, every alert counted", async () => {
  const alerts = await loadDocuments("sources/falco/stream-500.ndjson.gz");
  await using world = await startDevWorld();
  {
    await using a = await world.replica("a");
    await using b = await world.replica("b");
    await postInTurns([a, b], alerts);
    for (const { url } of [a, b]) await closedBooks(url);
  }
  assertEquals([world.server.count(STORED_TYPE), occurrencesOf(world.observations())], [154, 500]);
});

Deno.test("a create whose answer is lost is created once and counted once", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const { server } = world;
  await using a = await world.replica("a");
  using lost = server.faults.add({
    verb: "create",
    path: "/observations",
    times: 3,
    effect: { kind: "reset", applied: true },
  });
  const { status, body } = await a.post("/falco/webhook", [0, 1, 2].map((index) => alert("shop", index)));
  assertEquals([status, body.created, body.deduped], [200, 3, 0]);
  assertEquals([lost.hits, server.count(STORED_TYPE)], [3, 3]);
});

Deno.test("an Observation whose namespace is missing or deleted is stored in the controller's namespace", async () => {
  await using world = await startDevWorld();
  await using a = await world.replica("a");
  const { status, body } = await a.post("/falco/webhook", [alert("nowhere", 1)]);
  assertEquals([status, body.created], [200, 1]);
  assertEquals(world.server.objects(STORED_TYPE, "zen-system").length, 1);
});

Deno.test("an Observation deleted by hand in its open window is created again by the next event", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await using a = await world.replica("a");
  await a.post("/falco/webhook", [alert("shop", 1)]);
  const [stored] = world.observations() as [JsonObject];
  await world.api.delete(OBSERVATIONS, String(metadataOf(stored).name), { namespace: "shop" });
  await eventually("the next event to create", async () => {
    const { body } = await a.post("/falco/webhook", [alert("shop", 1)]);
    return body.created === 1;
  });
  assertEquals(world.server.count(STORED_TYPE), 1);
});
