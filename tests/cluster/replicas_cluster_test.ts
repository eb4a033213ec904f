/** Replicas as real processes on a real API server: one Observation for each finding, whichever replica gets it and whatever restarts. */
import { assert, assertEquals } from "@std/assert";
import type { Account } from "../../src/telemetry/metrics.ts";
import { Fleet } from "../chaos/fleet.ts";
import { yamlFiles } from "../support/crds.ts";
import { printLine } from "../chaos/form.ts";
import { RealGround } from "../chaos/ground.ts";
import { storedIn } from "../chaos/stored.ts";
import { alert } from "../support/alerts.ts";
import { closedBooks } from "../support/books.ts";
import { occurrencesOf } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { falcoStream } from "../support/falco_stream.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import {
  addCounts,
  checkovResults,
  kubeBenchResults,
  policyReports,
  trivyReports,
} from "../support/tools.ts";

const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const COUNT = 1_000;
const UNLIMITED = { WEBHOOK_RATE_LIMIT: "100000", WEBHOOK_RATE_BURST: "100000" };

type Books = Readonly<Record<string, Account>>;

async function post(url: string, body: unknown): Promise<Record<string, number>> {
  const response = await fetch(`${url}/falco/webhook`, { method: "POST", body: JSON.stringify(body) });
  const answer = await response.json();
  assertEquals(response.status, 200, JSON.stringify(answer));
  return answer;
}

async function postToAll(urls: readonly string[], alerts: readonly unknown[]): Promise<number[]> {
  const sums = [0, 0];
  for (let start = 0; start < alerts.length; start += 50) {
    const answers = await Promise.all(urls.map((url) => post(url, alerts.slice(start, start + 50))));
    for (const { created = 0, deduped = 0 } of answers) {
      sums[0]! += created;
      sums[1]! += deduped;
    }
  }
  return sums;
}

async function countIn(ground: RealGround, namespace: string): Promise<number> {
  let count = 0;
  for await (const _observation of storedIn(ground.api, namespace)) count++;
  return count;
}

Deno.test("two processes given 1,000 occurrences at once, killed with -9 and started again: still 1,000", async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground);
  const members = [await fleet.start(0), await fleet.start(1)];
  const namespace = await ground.namespace("replicas");
  const time = new Date().toISOString();
  const alerts = Array.from({ length: COUNT }, (_, index) => alert(namespace, index, time));
  assertEquals(await postToAll(fleet.urls, alerts), [COUNT, COUNT]);
  await fleet.closed();
  assertEquals(await countIn(ground, namespace), COUNT);
  for (const member of members) await fleet.end(member, "SIGKILL");
  for (const place of [0, 1]) await fleet.start(place);
  assertEquals(await postToAll(fleet.urls, alerts), [0, 2 * COUNT]);
  assertEquals(await countIn(ground, namespace), COUNT);
});

Deno.test("a thousand repeats of one alert: one Observation, occurrences 1000, at most a few dozen status writes", async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground, UNLIMITED);
  const members = [await fleet.start(0), await fleet.start(1)];
  const namespace = await ground.namespace("repeats");
  const now = Date.now();
  for (let repeat = 0; repeat < COUNT; repeat++) {
    const url = fleet.urls[repeat % 2] ?? "";
    await post(url, alert(namespace, 0, new Date(now + repeat).toISOString()));
  }
  for (const member of members) await fleet.end(member, "SIGTERM");
  const stored = await Array.fromAsync(storedIn(ground.api, namespace));
  assertEquals([stored.length, seen(stored)], [1, COUNT]);
  const writes = await ground.writes(0);
  const statusWrites = writes.filter(({ subresource }) => subresource === "status").length;
  printLine(`${COUNT} repeats at two replicas: ${statusWrites} status writes`);
  assert(statusWrites >= 1 && statusWrites <= 36, `${statusWrites} status writes`);
});

Deno.test("a stream of 10,000 alerts in bursts to two replicas in turns: exactly its 3,000 identities", async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground, UNLIMITED);
  const members = [await fleet.start(0), await fleet.start(1)];
  const { alerts, identities, namespaces } = falcoStream({ identities: 3_000, endAt: Date.now() });
  await ensureNamespaces(ground.envtest, namespaces);
  const beganAt = performance.now();
  // In order, several on their way: a burst's alerts overtake each other as those of several nodes do.
  const queue = alerts.entries();
  const sender = async () => {
    for (const [index, body] of queue) await post(fleet.urls[index % 2] ?? "", body);
  };
  await Promise.all(Array.from({ length: 8 }, sender));
  const seconds = (performance.now() - beganAt) / 1_000;
  await fleet.closed();
  for (const member of members) await fleet.end(member, "SIGTERM");
  const stored = await listAll(ground.envtest, OBSERVATIONS);
  printLine(`${alerts.length} alerts in ${seconds.toFixed(1)} s: ${stored.length} Observations`);
  assertEquals([stored.length, occurrencesOf(stored)], [identities, alerts.length]);
});

Deno.test("the same Trivy, Kyverno, kube-bench and Checkov state after three restarts and resyncs: nothing added, nothing written", async () => {
  await using ground = await RealGround.start();
  const { envtest } = ground;
  await envtest.applyCrds(await yamlFiles(new URL("../../scripts/samples/crds/", import.meta.url)));
  const tools = await Promise.all([trivyReports(), policyReports(), kubeBenchResults(), checkovResults()]);
  await applyObjects(envtest, tools.flatMap(({ objects }) => objects));
  const wanted = Object.values(addCounts(...tools.map((tool) => tool.wanted))).reduce((sum, n) => sum + n, 0);

  await using first = new Fleet(ground);
  const member = await first.start(0);
  await eventually("every finding to be stored", async () => {
    const stored = (await listAll(envtest, OBSERVATIONS)).length;
    if (stored >= wanted) return true;
    throw new Error(`${stored} of ${wanted}`);
  }, { timeoutMs: 300_000 });
  const once = await quiet(member.controller.url);
  await first.end(member, "SIGTERM");
  const versions = await versionsOf(ground);
  assertEquals(versions.size, wanted);

  const since = Date.now();
  await using fleet = new Fleet(ground, { RESYNC_INTERVAL: "10s", CONFIGMAP_POLL_INTERVAL_SECONDS: "10" });
  for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
    const again = await fleet.start(0);
    await eventually("two full evaluations", async () => {
      const books: Books = await closedBooks(again.controller.url);
      for (const [source, { events }] of Object.entries(once)) {
        const seen = books[source]?.events ?? 0;
        if (seen < 2 * events) throw new Error(`${seen} of ${2 * events} events of ${source}`);
        assertEquals(books[source]?.created, 0);
      }
      return true;
    }, { timeoutMs: 300_000 });
    await fleet.end(again, signal);
  }
  assertEquals(await ground.writes(since), []);
  assertEquals(await versionsOf(ground), versions);
  printLine(`${wanted} findings read eight times over: not one written again`);
});

/** The books once they have not changed for a second and a half. */
async function quiet(url: string): Promise<Books> {
  let before = "";
  return await eventually("the first evaluation to end", async () => {
    const books = await closedBooks(url);
    const text = JSON.stringify(books);
    const settled = text === before;
    before = text;
    if (!settled) await new Promise((resolve) => setTimeout(resolve, 1_500));
    return settled && books;
  }, { timeoutMs: 300_000 });
}

async function versionsOf({ envtest }: RealGround): Promise<ReadonlyMap<string, string>> {
  const items = await listAll(envtest, OBSERVATIONS);
  return new Map(items.map(({ metadata }) => {
    const { namespace, name, resourceVersion } = metadata as Record<string, string>;
    return [`${namespace}/${name}`, resourceVersion ?? ""];
  }));
}

function seen(observations: readonly object[]): number {
  return occurrencesOf(JSON.parse(JSON.stringify(observations)));
}
