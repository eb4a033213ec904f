/** The same state read again: after three restarts and a resync not one Observation is added, not one status written. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { isObject, type JsonObject } from "../src/model/json.ts";
import type { Account } from "../src/telemetry/metrics.ts";
import { evaluationsOf, type TestApp } from "./support/app.ts";
import { closedBooks, statusOf } from "./support/books.ts";
import { type DevWorld, occurrencesOf, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { loadObjects } from "./support/load_fixture.ts";

/** What tools really wrote, and the source that reads it. */
const STATE: readonly (readonly [source: string, file: string])[] = [
  ["trivy", "trivy/real/trivy-vulnerabilityreport/scb-kind-replicaset-7d7fbd4597-48.json"],
  ["trivy", "trivy/real/trivy-configauditreport/dd-configauditreport-many.json"],
  ["trivy", "trivy/real/trivy-exposedsecretreport/scb-juice-shop-v10.2.0-secrets.json"],
  ["trivy", "trivy/real/trivy-rbac-infra/scb-kind-rbacassessmentreports-list.json"],
  ["kyverno", "kyverno/real/kyverno-policyreport/run-chain-deployment-paymentservice.json"],
  ["kyverno", "kyverno/real/kyverno-policyreport/run-chain-replicaset-paymentservice.json"],
  ["kyverno", "kyverno/real/kyverno-policyreport/sc-kyverno-clusterpolicyreport.json"],
  ["kyverno", "kyverno/real/openreports/run-single-report.json"],
  ["kube-bench", "kube-bench/real/kube-bench/configmap-node-1.json"],
  ["checkov", "checkov/real/checkov/configmap-kubernetes-goat.json.gz"],
];
const SOURCES = [...new Set(STATE.map(([source]) => source))];
/** So short that each restart sees two full evaluations at least. */
const RESYNC = { RESYNC_INTERVAL: "500ms", CONFIGMAP_POLL_INTERVAL_SECONDS: "1" };

type Books = Readonly<Record<string, Account>>;

/** Waits until each source read `events` at least and nothing is in flight. */
async function read(app: TestApp, wanted: (source: string) => number): Promise<Books> {
  return await eventually("every source to be read", async () => {
    const books = await closedBooks(app.url);
    for (const source of Object.keys(books)) {
      const seen = books[source]?.events ?? 0;
      if (seen < wanted(source)) throw new Error(`${seen} of ${wanted(source)} events of ${source}`);
    }
    return SOURCES.every((source) => (books[source]?.events ?? 0) >= Math.max(1, wanted(source))) && books;
  }, { timeoutMs: 120_000 });
}

/** True once every list of every source was evaluated. */
async function evaluatedOnce(app: TestApp): Promise<boolean> {
  const { sources } = await statusOf(app.url);
  for (const source of SOURCES) {
    const { state, resources = { one: state } } = isObject(sources) && isObject(sources[source])
      ? sources[source]
      : {};
    const states = Object.values(isObject(resources) ? resources : {});
    if (state !== "synced" || states.includes("listing")) return false;
    const lists = states.filter((each) => each === "synced").length;
    if (await evaluationsOf(app, source) < lists) return false;
  }
  return true;
}

/** Runs a replica of one name, as a restarted Pod's: the lease is its own. */
async function withReplica(
  world: DevWorld,
  env: Readonly<Record<string, string>>,
  work: (app: TestApp) => Promise<void>,
): Promise<void> {
  await using app = await world.replica("zen-watcher-0", { env });
  await work(app);
}

Deno.test("the same Trivy, Kyverno, kube-bench and Checkov state after three restarts and resyncs: nothing added, nothing written", async () => {
  await using world = await startDevWorld();
  const objects = (await Promise.all(STATE.map(([, file]) => loadObjects(`sources/${file}`)))).flat();
  await world.create(objects);
  let once: Books = {};
  await withReplica(world, {}, async (app) => {
    await eventually("the first evaluation to end", () => evaluatedOnce(app), { timeoutMs: 120_000 });
    once = await closedBooks(app.url);
  });
  const versions = world.versions();
  const created = Object.values(once).reduce((sum, account) => sum + account.created, 0);
  assertEquals(created, versions.size);
  assert(versions.size > 250, `${versions.size} Observations`);
  world.server.requests.clear();
  for (let restart = 0; restart < 3; restart++) {
    await withReplica(world, RESYNC, async (app) => {
      const books = await read(app, (source) => 2 * (once[source]?.events ?? 0));
      for (const [source, { created, deduped, events }] of Object.entries(books)) {
        assertEquals([created, deduped], [0, events], source);
      }
    });
  }
  assertEquals(world.writes(), 0);
  assertEquals(world.versions(), versions);
});

Deno.test("Kubernetes' warning Events read again at resyncs and restarts add neither Observations nor counts", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const manifest = await Deno.readTextFile(new URL("../examples/kubernetes-events.yaml", import.meta.url));
  const ingester: unknown = parse(manifest);
  assert(isObject(ingester) && isObject(ingester.spec));
  // Without filters the program warns of that by an Event, which would be read too.
  const filters = { metadata: { name: "zen-watcher-filter", namespace: "zen-system" } };
  const data = { "filter.json": JSON.stringify({ sources: {} }) };
  await world.create([{ apiVersion: "v1", kind: "ConfigMap", ...filters, data }]);
  await world.create([{ ...ingester, spec: { ...ingester.spec, window: "60s" } }]);
  const now = Date.now();
  const at = (minutesAgo: number) => new Date(now - minutesAgo * 60_000).toISOString().slice(0, 19) + "Z";
  // The second tells the same act again half a minute later; the third is of another Pod, long ago.
  const events = [
    warning("web.1", { pod: "web", lastTimestamp: at(10) }),
    warning("web.2", { pod: "web", lastTimestamp: at(9.5) }),
    warning("db.1", { pod: "db", lastTimestamp: at(55) }),
  ];
  await world.create(events);
  await withReplica(world, {}, async (app) => {
    await eventually("the Events to be read", async () => {
      return (await closedBooks(app.url))["kubernetes-events"]?.events === 3;
    });
  });
  assertEquals([world.versions().size, occurrencesOf(world.observations())], [2, 3]);
  const versions = world.versions();
  world.server.requests.clear();
  for (let restart = 0; restart < 3; restart++) {
    await withReplica(world, RESYNC, async (app) => {
      await eventually("three full evaluations", async () => {
        return ((await closedBooks(app.url))["kubernetes-events"]?.events ?? 0) >= 9;
      });
    });
  }
  assertEquals(world.writes(), 0);
  assertEquals(world.versions(), versions);
  await withReplica(world, RESYNC, async (app) => {
    const type = await world.typeOf({ apiVersion: "v1", kind: "Event" });
    const again = { lastTimestamp: at(9), count: 3 };
    await world.api.patch(type, "web.2", again, { namespace: "shop", type: "merge" });
    const before = (await closedBooks(app.url))["kubernetes-events"]?.events ?? 0;
    await eventually("the Events to be read again, twice", async () => {
      return ((await closedBooks(app.url))["kubernetes-events"]?.events ?? 0) >= before + 7;
    });
  });
  assertEquals([world.versions().size, occurrencesOf(world.observations())], [2, 4], "an act that is new");
});

function warning(name: string, { pod, lastTimestamp }: { pod: string; lastTimestamp: string }): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name, namespace: "shop" },
    involvedObject: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: pod },
    type: "Warning",
    reason: "BackOff",
    message: "Back-off restarting failed container",
    source: { component: "kubelet", host: "node-1" },
    firstTimestamp: lastTimestamp,
    lastTimestamp,
    count: 1,
  };
}
