/**
 * The chart with its default values in Pods of two nodes, under a steady load of alerts, through what happens to a cluster.
 * No accepted alert is lost or doubled. `deno task test:node` starts it. The steps build on each other.
 */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { dirname } from "node:path";
import { VERSION } from "../../src/version.ts";
import {
  IMAGES_VARIABLE,
  type Node,
  readyNodes,
  SKIP_VARIABLE,
  startNodeCluster,
  untilReady,
} from "../../scripts/node/cluster.ts";
import { NEXT_TAG, PAUSE_IMAGE } from "../../scripts/node/images.ts";
import { isFile } from "../../scripts/support/files.ts";
import { print } from "../../scripts/support/script.ts";
import { textTable } from "../../scripts/support/table.ts";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject } from "../../src/model/json.ts";
import { alert } from "../support/alerts.ts";
import { readPage } from "../support/docs.ts";
import { eventually } from "../support/eventually.ts";
import { Shell } from "../support/shell.ts";
import { openWorkplace } from "../support/workplace.ts";
import { AlertLoad } from "./load.ts";
import { NAME, NAMESPACE, type Pod, podStates, Release, Usage } from "./release.ts";

const images = Deno.env.get(IMAGES_VARIABLE);
const skipped = images ? undefined : Deno.env.get(SKIP_VARIABLE) ?? "start it with deno task test:node";

/** Alerts a second, in all steps. */
const PER_SECOND = 20;
/** Taken before and after what happens, at least. */
const ENOUGH = 40;
const OUTAGE_MS = 20_000;
const MANY = 10_000;

/** The release that the page on day two adds. */
const SHARD = { name: "zen-watcher-payments", namespace: "zen-payments" };
const dayTwo = (await readPage("docs/day-two.md")).blocks.filter(({ role }) => role === "sh day-two");

const startedAt = performance.now();
const cluster = images ? await startNodeCluster(images) : undefined;
const release = cluster && new Release(cluster, await ensureTool("helm"));
if (cluster) say(`two nodes are Ready after ${seconds(startedAt)} s`);

const rows: string[][] = [];
let token = "";
/** Steps that have begun. */
let begun = 0;

const hasMetrics = images && await isFile(`${images}/metrics-server.tar`);
const noMetrics = hasMetrics ? undefined : "metrics-server is not built: deno task test:node --all";

Deno.test.afterAll(async () => {
  if (rows.length > 0) {
    const heads = [
      "step",
      "accepted",
      "503",
      "no answer",
      "lost",
      "doubled",
      "longest s",
      "step s",
      "MiB",
      "millicores",
    ];
    say(
      `\n${PER_SECOND} alerts a second; memory: largest working set of a Pod; CPU: all Pods together\n${
        textTable(heads, rows)
      }`,
    );
  }
  await cluster?.[Symbol.asyncDispose]();
});

/** A step; ignored by name where there is no cluster, or where `lacks` says what else is missing. */
function step(name: string, body: (release: Release) => Promise<void>, lacks = skipped): void {
  Deno.test({
    name: lacks === undefined ? name : `${name} (skipped: ${lacks})`,
    ignore: lacks !== undefined,
    // The cluster's programs are started once, and end after the last step.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () => {
      if (begun++ > 0 && token === "") throw new Error("Cannot run this step: the chart is not installed");
      return body(release!);
    },
  });
}

/** Sends alerts while `happens`, and fails where one that was accepted is lost or doubled. */
async function underLoad(
  name: string,
  happens: (release: Release) => Promise<void>,
  options: { settle?: boolean } = {},
) {
  const { settle = true } = options;
  const namespace = name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  await cluster!.expect("POST", "/api/v1/namespaces", { body: { metadata: { name: namespace } } });
  const load = new AlertLoad({
    url: await release!.url(),
    token: () => token,
    namespace,
    perSecond: PER_SECOND,
  });
  const usage = new Usage(release!);
  const startedAt = performance.now();
  let stepSeconds = "";
  try {
    await taken(load, ENOUGH);
    const happenedAt = performance.now();
    await happens(release!);
    stepSeconds = seconds(happenedAt);
    if (settle) await release!.untilReady();
    await taken(load, load.taken + ENOUGH);
  } finally {
    const used = await usage.stop();
    const sent = await load.stop();
    const stored = await release!.storedAlerts(namespace);
    const there = new Set(stored);
    const lost = [...sent.accepted].filter((index) => !there.has(`pod-${index}`)).length;
    const doubled = stored.length - there.size;
    rows.push([
      name,
      ...[sent.accepted.size, sent.refused, sent.unanswered, lost, doubled].map(String),
      ...[(sent.longestMs / 1_000).toFixed(1), stepSeconds || `failed after ${seconds(startedAt)}`],
      ...[used.memoryMib, used.millicores].map(String),
    ]);
    say(`${name}: ${rows.at(-1)?.slice(1).join(" | ")}`);
    assertEquals(
      { lost, doubled, unexpected: sent.unexpected },
      { lost: 0, doubled: 0, unexpected: [] },
      name,
    );
  }
}

async function taken(load: AlertLoad, count: number): Promise<void> {
  await eventually(`${count} alerts to be taken`, () => load.taken >= count, { timeoutMs: 120_000 });
}

step("helm install with default values is Ready and stores an alert", async (release) => {
  const installedAt = performance.now();
  await release.install();
  const shown = await release.token();
  await release.cluster.expect("POST", "/api/v1/namespaces", { body: { metadata: { name: "first" } } });
  const load = new AlertLoad({
    url: await release.url(),
    token: () => shown,
    namespace: "first",
    perSecond: 5,
  });
  await taken(load, 1);
  say(`from helm install to the first stored alert: ${seconds(installedAt)} s`);
  await release.untilReady();
  say(`from helm install to all Pods Ready: ${seconds(installedAt)} s`);
  const waits = (await release.pods()).map(({ startedMs, readyMs }) => `${(readyMs - startedMs) / 1_000} s`);
  say(`from a container's start to its Pod Ready, in whole seconds: ${waits.join(", ")}`);
  const { accepted, unexpected } = await load.stop();
  const stored = await release.storedAlerts("first");
  assertEquals([stored.length, new Set(stored).size, unexpected], [accepted.size, accepted.size, []]);
  token = shown;
  const pods = await release.pods();
  assertEquals(pods.map(({ node }) => node).sort(), ["n1", "n2"], "one on each node");
});

step("helm test finds every right that the program needs", async (release) => {
  assertMatch(await release.helm("test", NAME), /Phase: +Succeeded/);
});

step("a rollout loses and doubles no alert", () => underLoad("rollout", (release) => release.rollOut()));

step("an upgrade and a rollback lose and double no alert", async () => {
  await underLoad("upgrade", (release) => release.upgrade(`image.tag=${NEXT_TAG}`));
  assertEquals(await imageTag(), NEXT_TAG);
  await underLoad("rollback", async (release) => {
    await release.helm("rollback", NAME, "1", "--wait", "--timeout=3m");
  });
  assertEquals(await imageTag(), VERSION);
});

step("SIGKILL of a follower and of the leader loses and doubles no alert", async () => {
  await underLoad("SIGKILL of a follower", async (release) => {
    const leader = await release.leader();
    const follower = (await release.pods()).find(({ name }) => name !== leader.name);
    await release.kill(follower!);
  });
  await underLoad("SIGKILL of the leader", async (release) => {
    await release.kill(await release.leader());
    await release.leader();
  });
});

step("draining each node in turn loses and doubles no alert, and the budget keeps a Pod Ready", async () => {
  await underLoad("drain of n2, then n1", async (release) => {
    let refused = 0;
    for (const node of ["n2", "n1"]) {
      await cordon(node, true);
      refused += await evictAll(release, node);
      await eventually(`every Pod to be gone from ${node}`, async () => {
        return (await release.pods()).every((pod) => pod.node !== node);
      }, { timeoutMs: 120_000 });
      await release.untilReady();
      await cordon(node, false);
    }
    say(`evictions refused by the PodDisruptionBudget: ${refused}`);
    assert(refused > 0, "two Pods of one node were never evicted together");
  });
  await underLoad("rollout to spread the Pods", (release) => release.rollOut());
});

step("a node that is cut off loses and doubles no alert", async (release) => {
  await release.leadOn("n2");
  await underLoad("node cut off", async (release) => {
    const node = second();
    say(`cut off: ${rolesOn(await release.pods(), await release.leader(), node)}`);
    await node.cut();
    await untilReady(release.cluster, 1);
    const leader = await release.leader();
    await node.join();
    await untilReady(release.cluster, 2);
    say(`leader while it was cut off: on ${leader.node}`);
  });
});

step("a kubelet that is killed and comes back loses and doubles no alert", async () => {
  await underLoad("kubelet stopped", async (release) => {
    const node = second();
    await node.killKubelet();
    await untilReady(release.cluster, 1);
    assertEquals(await readyNodes(release.cluster), ["n1"]);
    await node.startKubelet();
    await untilReady(release.cluster, 2);
  });
});

step("20 s without an API server lose and double no alert", async () => {
  await underLoad("API server killed for 20 s", async ({ cluster }) => {
    await cluster.killApiServer();
    await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));
    await cluster.startApiServer();
    await untilReady(cluster, 2);
  });
});

step("with a memory limit of 128 MiB the Pods take the load and are not killed", async (release) => {
  await release.upgrade("resources.limits.memory=128Mi");
  const before = (await release.pods()).map(({ restarts }) => restarts);
  await underLoad("memory limit 128 MiB", async () => {
    await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));
  });
  assertEquals((await release.pods()).map(({ restarts }) => restarts), before);
});

step(
  "the limits that the commands of day two raise reach every program, and no alert is lost or doubled",
  async (release) => {
    await underLoad("limits raised", async () => {
      assertMatch(await follow("OBSERVATION_MAX_TOTAL=100000"), /successfully rolled out/);
    });
    for (const pod of await release.pods()) {
      const [pid] = await release.processes(pod, NAME);
      const environment = (await Deno.readTextFile(`/proc/${pid}/environ`)).split("\0");
      for (const limit of ["OBSERVATION_MAX_TOTAL=100000", "OBSERVATION_MAX_BYTES=512MiB"]) {
        assert(environment.includes(limit), `${limit} is not in ${pod.name}`);
      }
    }
  },
);

step(
  "a token that the commands of day two rotate is taken by every Pod, the old one by none, and no Pod restarts",
  async (release) => {
    const before = await release.pods();
    await follow("TOKEN=$(openssl");
    const rotated = await release.token();
    assertNotEquals(rotated, token);
    // The kubelet writes a changed Secret into its volumes about once a minute.
    await eventually("every Pod to take the new token alone", async () => {
      for (const { address } of await release.pods()) {
        const answers = await Promise.all([rotated, token].map((each) => answerTo(address, each)));
        if (answers.join() !== "200,401") return false;
      }
      return true;
    }, { timeoutMs: 180_000 });
    token = rotated;
    assertEquals(await release.pods(), before);
  },
);

step(
  "the commands of day two move to shards, each of which stores the alerts of its namespaces",
  async (release) => {
    for (const name of ["shop", "payments"]) {
      await release.cluster.expect("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
    }
    const leases = await follow("zen-watcher-payments");
    assertMatch(leases, /zen-payments +zen-watcher-leader-election-payments/);
    const payments = new Release(release.cluster, release.program, SHARD);
    try {
      for (const [shard, namespace] of [[release, "shop"], [payments, "payments"]] as const) {
        await shard.untilReady();
        const shown = await shard.token();
        const load = new AlertLoad({ url: await shard.url(), token: () => shown, namespace, perSecond: 5 });
        await taken(load, 1);
        const { accepted, unexpected } = await load.stop();
        const stored = await shard.storedAlerts(namespace);
        assertEquals([stored.length, new Set(stored).size, unexpected], [accepted.size, accepted.size, []]);
      }
    } finally {
      await payments.helm("uninstall", SHARD.name, "--wait", "--timeout=2m");
      await release.helm("rollback", NAME, "--wait", "--timeout=3m");
    }
    await release.untilReady();
    // A rollback brings back the Secret of its revision, with the token from before it was rotated.
    token = await release.token();
  },
);

step("an autoscaler adds Pods under load, which lose and double no alert", async (release) => {
  await release.cluster.create(
    await Deno.readTextFile(new URL("../../scripts/node/metrics-server.yaml", import.meta.url)),
  );
  await underLoad("autoscaler", async () => {
    // The load is light: one percent of the requested CPU is more than enough for another Pod.
    await release.upgrade("autoscaling.enabled=true", "autoscaling.targetCPUUtilizationPercentage=5");
    await eventually("a third Pod to be Ready", async () => {
      return (await release.pods()).filter(({ ready }) => ready).length > 2;
    }, { timeoutMs: 180_000 });
  });
  await release.upgrade("autoscaling.enabled=false", "replicaCount=2");
  assertEquals((await release.pods()).length, 2);
}, skipped ?? noMetrics);

step("network policies are enforced: who may scrape, and where the Pods may connect to", async (release) => {
  for (const node of release.cluster.nodes) await node.servers.router.start();
  const [monitoring, strangers] = [await podIn("monitoring"), await podIn("strangers")];
  const metrics = portOf(await release.url(9090));
  const webhooks = portOf(await release.url());
  // The policies come into force a moment after their controller starts.
  await eventually("every Pod to reach metrics by default", () => connects(strangers, metrics));
  await underLoad("network policies", async () => {
    await release.upgrade(
      "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring",
    );
    await eventually("strangers to be kept from metrics", async () => !await connects(strangers, metrics), {
      timeoutMs: 60_000,
    });
    await eventually("the monitoring to reach metrics", () => connects(monitoring, metrics));
    assertEquals(await connects(strangers, webhooks), true);
  });
  const [pod] = await release.pods();
  const [own] = await release.processes(pod!, NAME);
  const dns = await dnsPod(release);
  assertEquals(await connects(own!, `${dns} 53`), true, "DNS is allowed");
  assertEquals(await connects(own!, "10.96.0.1 443"), true, "the API server is allowed");
  assertEquals(await connects(own!, `${dns} 8080`), false, "nothing else is");
});

step(`uninstalling and reinstalling over ${MANY} Observations loses and doubles none`, async (release) => {
  await cluster!.expect("POST", "/api/v1/namespaces", { body: { metadata: { name: "many" } } });
  const fill = new AlertLoad({
    url: await release.url(),
    token: () => token,
    namespace: "many",
    perSecond: 200,
  });
  const fillingAt = performance.now();
  await eventually(`${MANY} Observations`, async () => await release.count() >= MANY, { timeoutMs: 240_000 });
  await fill.stop();
  const before = await release.count();
  say(`${before} Observations, after ${seconds(fillingAt)} s of filling`);
  await release.helm("uninstall", NAME, "--wait", "--timeout=2m");
  // Kube-proxy sends to Pods that are going where no other is Ready, and these know the token of before.
  await eventually("every Pod to be gone", async () => (await release.pods()).length === 0, {
    timeoutMs: 90_000,
  });
  assertEquals(await release.count(), before, "after uninstalling");
  const installedAt = performance.now();
  await release.install();
  token = await release.token();
  await underLoad("reinstall", () => release.untilReady());
  say(`from helm install over ${before} Observations to Ready, under load: ${seconds(installedAt)} s`);
  const [row] = rows.slice(-1);
  assertEquals(await release.count(), before + Number(row?.[1]), "those before and the accepted ones");
});

function second(): Node {
  return release!.cluster.nodes[1];
}

function rolesOn(pods: readonly Pod[], leader: Pod, { name }: Node): string {
  const here = pods.filter(({ node }) => node === name);
  assert(here.length > 0, `no Pod is on ${name}`);
  return here.map((pod) => pod.name === leader.name ? "the leader" : "a follower").join(" and ");
}

async function imageTag(): Promise<string> {
  const path = `/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${NAME}`;
  const { body } = await cluster!.expect("GET", path);
  return JSON.stringify(body.spec).match(/"image":"[^"]*:([^":]+)"/)?.[1] ?? "";
}

/** Runs the block of docs/day-two.md that has these words, as a reader does; resolves with what it prints. */
async function follow(words: string): Promise<string> {
  const [block, ...others] = dayTwo.filter(({ text }) => text.includes(words));
  assert(block && others.length === 0, words);
  const kubeconfig = await Deno.readTextFile(cluster!.kubeconfigPath);
  await using place = await openWorkplace(kubeconfig, [dirname(release!.program)]);
  await using shell = new Shell({ cwd: place.folder, env: place.env });
  return await shell.run(block.text);
}

/** What a Pod answers to an alert with a token. */
async function answerTo(address: string, token: string): Promise<number> {
  const response = await fetch(`http://${address}:8080/falco/webhook`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify(alert("token", 0)),
  });
  await response.body?.cancel();
  return response.status;
}

async function cordon(node: string, unschedulable: boolean): Promise<void> {
  const contentType = "application/merge-patch+json";
  await cluster!.expect("PATCH", `/api/v1/nodes/${node}`, { body: { spec: { unschedulable } }, contentType });
}

/** As `kubectl drain`: evicts all Pods at once, again and again where the budget refuses. Resolves with the refusals. */
async function evictAll({ cluster }: Release, node: string): Promise<number> {
  const { body } = await cluster.expect("GET", `/api/v1/pods?fieldSelector=spec.nodeName=${node}`);
  let refused = 0;
  const pods = Array.isArray(body.items) ? body.items : [];
  await Promise.all(pods.map(async (pod) => {
    if (!isObject(pod) || !isObject(pod.metadata)) return;
    const { name, namespace } = pod.metadata;
    const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } };
    await eventually(`${name} to be evicted`, async () => {
      const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`;
      const { status } = await cluster.ask("POST", path, { body: eviction as never });
      if (status === 429) refused++;
      return status === 201 || status === 404;
    }, { timeoutMs: 120_000 });
  }));
  return refused;
}

/** Starts a Pod in a new namespace. Resolves with a process in its network. */
async function podIn(namespace: string): Promise<number> {
  await cluster!.expect("POST", "/api/v1/namespaces", { body: { metadata: { name: namespace } } });
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  const body = { metadata: { name: "probe" }, spec: { containers: [{ name: "probe", image: PAUSE_IMAGE }] } };
  // The namespace's ServiceAccount may not be there yet.
  const { body: created } = await eventually("the Pod to be admitted", async () => {
    const answer = await cluster!.ask("POST", pods, { body });
    return answer.status === 201 && answer;
  });
  const uid = isObject(created.metadata) ? String(created.metadata.uid) : "";
  return await eventually("the Pod to run", async () => (await release!.processes({ uid }, "pause"))[0], {
    timeoutMs: 60_000,
    found: () => podStates(cluster!, namespace),
  });
}

/** True where a program in the network of this process can connect. */
async function connects(pid: number, target: string): Promise<boolean> {
  const [host, port] = target.split(" ");
  const script = `exec 3<>/dev/tcp/${host}/${port}`;
  const { success } = await new Deno.Command("nsenter", {
    args: ["--target", `${pid}`, "--net", "timeout", "3", "bash", "-c", script],
    stdin: "null",
    stderr: "null",
  }).output();
  return success;
}

/** `address port`. */
function portOf(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname} ${port}`;
}

async function dnsPod({ cluster }: Release): Promise<string> {
  const { body } = await cluster.expect(
    "GET",
    "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app=kube-dns",
  );
  const [pod] = Array.isArray(body.items) ? body.items : [];
  return isObject(pod) && isObject(pod.status) ? String(pod.status.podIP) : "";
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1_000).toFixed(1);
}

function say(text: string): void {
  print(`    ${text.replaceAll("\n", "\n    ")}\n`);
}
