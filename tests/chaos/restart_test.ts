/** The program as a process of its own: killed in the middle of its work, and told to stop. */
import { assert, assertEquals } from "@std/assert";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { createNamespaces, installCrds } from "../../scripts/support/feed.ts";
import { isObject } from "../../src/model/json.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { LEASES } from "../../src/kube/lease.ts";
import { alert, alertedPods, sendAlerts, wantedPods } from "../support/alerts.ts";
import { accountsOf, closedBooks } from "../support/books.ts";
import { eventually } from "../support/eventually.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { startTestCluster, type TestCluster } from "../support/test_cluster.ts";

const OBSERVATIONS = "observations.zen.kube-zen.io";
const LEASE = "zen-watcher-leader-election";
const NAMESPACE = "shop";
const ALERTS = 300;
const REPORTS = 30;
const FOUND = 6;

/** A server with our CRDs, and the file the program finds it by. */
class Cluster implements AsyncDisposable {
  readonly server: TestCluster;
  readonly api: KubeClient;
  readonly #folder: string;

  constructor(server: TestCluster, folder: string) {
    this.server = server;
    this.#folder = folder;
    this.api = createKubeClient(fixedConnection({ server: server.url }));
  }

  /**
   * Starts the program under one Pod name each time, as a container that is restarted in its Pod. The lease of a killed
   * one has run out by then: tests need not wait the 15 s.
   */
  async controller(env: Readonly<Record<string, string>> = {}): Promise<Controller> {
    if (holder(this.server) !== "") {
      const at = { type: "merge", namespace: "zen-system" } as const;
      await this.api.patch(LEASES, LEASE, { spec: { holderIdentity: "" } }, at);
    }
    return await startController({
      kubeconfig: `${this.#folder}/kubeconfig`,
      env: { POD_NAME: "zen-watcher-0", DISCOVERY_INTERVAL: "1s", ...env },
    });
  }

  /** `namespace/name` of everything stored, in order. */
  names(): string[] {
    return this.server.objects(OBSERVATIONS).map(({ metadata }) => {
      assert(isObject(metadata));
      return `${metadata.namespace}/${metadata.name}`;
    }).sort();
  }

  /** Writes to Observations since the log was cleared. */
  writes(): number {
    return ["create", "update", "patch", "delete"].reduce(
      (sum, verb) => sum + this.server.requests.count({ verb, path: "/observations" }),
      0,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close();
    await this.server[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

async function start(): Promise<Cluster> {
  const server = startTestCluster();
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-restart-" });
  await Deno.writeTextFile(`${folder}/kubeconfig`, server.kubeconfig());
  const cluster = new Cluster(server, folder);
  await installCrds(cluster.api);
  await createNamespaces(cluster.api, ["zen-system", NAMESPACE]);
  return cluster;
}

Deno.test("killed with -9 in the middle of a feed and started again: the same names, none added, no status written", async (t) => {
  await using cluster = await start();
  const { server } = cluster;
  const all = ALERTS + REPORTS * FOUND;

  await t.step("nothing of the feed is missed or doubled", async () => {
    let controller = await cluster.controller();
    try {
      const feed = Promise.all([
        sendAlerts(() => controller.url, { count: ALERTS, namespace: NAMESPACE }),
        changeReports(cluster.api, { namespace: NAMESPACE, reports: [0, REPORTS], found: [0, FOUND] }),
      ]);
      for (const share of [0.2, 0.6]) {
        await eventually("a part of the feed to be stored", () => server.count(OBSERVATIONS) >= all * share);
        assert(server.count(OBSERVATIONS) < all, "it is killed in the middle");
        controller.kill("SIGKILL");
        assertEquals((await controller.exited).signal, "SIGKILL");
        controller = await cluster.controller();
      }
      const [sent] = await feed;
      assert(sent.unanswered > 0, "senders met a program that was away");
      await eventually(
        "every finding",
        () => findingsOf(server.objects(OBSERVATIONS)).length >= REPORTS * FOUND,
      );
      assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(ALERTS));
      assertEquals(findingsOf(server.objects(OBSERVATIONS)), wantedFindings(REPORTS, FOUND));
      await closedBooks(controller.url);
      controller.kill("SIGTERM");
      assertEquals((await controller.exited).code, 0);
    } finally {
      await controller[Symbol.asyncDispose]();
    }
  });

  const names = cluster.names();
  await t.step("reading everything again adds and writes nothing", async () => {
    for (const signal of ["SIGKILL", "SIGTERM"] as const) {
      server.requests.clear();
      await using controller = await cluster.controller();
      await eventually("every finding to be recognised", async () => {
        return (await accountsOf(controller.url)).trivy?.deduped === REPORTS * FOUND;
      });
      assertEquals((await accountsOf(controller.url)).trivy?.created, 0);
      controller.kill(signal);
      await controller.exited;
      assertEquals(cluster.writes(), 0);
      assertEquals(cluster.names(), names);
    }
  });
});

Deno.test("after SIGTERM the program is not ready, finishes requests, flushes counts, releases the lease and exits with 0", async () => {
  await using cluster = await start();
  const { server } = cluster;
  await using controller = await cluster.controller({ SHUTDOWN_DELAY: "1s" });
  const post = (index: number, time: string) =>
    fetch(`${controller.url}/falco/webhook`, {
      method: "POST",
      body: JSON.stringify(alert(NAMESPACE, index, time)),
    });
  const now = Date.now();
  for (const offsetMs of [-2_000, -1_000, 0]) {
    const response = await post(0, new Date(now + offsetMs).toISOString());
    assertEquals([response.status, (await response.json()).received], [200, 1]);
  }
  await eventually("the lease to be held", () => holder(server) !== "");
  using slow = server.faults.add({
    verb: "create",
    path: "/observations",
    effect: { kind: "latency", latencyMs: 1_500 },
  });
  const underWay = post(1, new Date(now).toISOString());
  await eventually("the request to be under way", () => slow.hits === 1);
  controller.kill("SIGTERM");
  const notReady = await eventually("the program to say that it stops", async () => {
    const response = await fetch(`${controller.url}/ready`);
    const answer = await response.json();
    return response.status === 503 && answer;
  });
  assertEquals(notReady.reasons, ["the program is shutting down"]);
  const live = await fetch(`${controller.url}/health`);
  await live.body?.cancel();
  assertEquals(live.status, 200, "stopping is no reason to be killed");
  const answer = await underWay;
  assertEquals([answer.status, (await answer.json()).created], [200, 1]);
  const { code, signal } = await controller.exited;
  assertEquals([code, signal], [0, null]);
  assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(2));
  const [repeated] = server.objects(OBSERVATIONS).filter(({ spec }) =>
    isObject(spec) && isObject(spec.resource) && spec.resource.name === "pod-0"
  );
  assert(repeated && isObject(repeated.status));
  assertEquals(repeated.status.occurrences, 3);
  assertEquals(holder(server), "", "the next one need not wait for the lease to run out");
});

Deno.test("after SIGTERM the program exits with 0 even if the API server is unreachable", async () => {
  await using cluster = await start();
  await using controller = await cluster.controller({ HTTP_SHUTDOWN_TIMEOUT: "1s" });
  await cluster.server.stop();
  const underWay = fetch(`${controller.url}/falco/webhook`, {
    method: "POST",
    body: JSON.stringify(alert(NAMESPACE, 0)),
  });
  await eventually("the request to be waiting", async () => {
    return (await accountsOf(controller.url)).falco?.inFlight === 1;
  });
  controller.kill("SIGTERM");
  const response = await underWay;
  await response.body?.cancel();
  assertEquals(response.status, 503);
  assertEquals((await controller.exited).code, 0);
});

function holder(server: TestCluster): string {
  const [lease] = server.objects("leases.coordination.k8s.io");
  return isObject(lease?.spec) ? String(lease.spec.holderIdentity ?? "") : "";
}
