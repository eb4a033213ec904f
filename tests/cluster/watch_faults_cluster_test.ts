import { assert, assertEquals } from "@std/assert";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { startFaultProxy } from "../support/fault_proxy.ts";
import { churn, Informed, report, transportTo } from "./watching.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";

const cluster = await startEnvtest();
const target = { hostname: "127.0.0.1", port: Number(new URL(cluster.url).port) };
// The suite's own server is gone with the last test, not only with the process.
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());

Deno.test("watch() survives resets in the middle of 2,000 changes: nothing missed, nothing doubled", async () => {
  const namespace = await cluster.createNamespace("reset");
  await using proxy = await startFaultProxy(target);
  using direct = transportTo(cluster);
  using proxied = transportTo(cluster, { server: `https://127.0.0.1:${proxy.port}` });
  await using informed = new Informed(proxied, namespace);
  await informed.sync();
  const written = await churn(direct, namespace, {
    count: 500,
    rounds: 3,
    onWrite: (count) => {
      if (count % 400 === 0) proxy.reset();
    },
  });
  const healedMs = await informed.catchUp(direct, namespace);
  report("reset", {
    written,
    breaks: proxy.counts.reset,
    lists: informed.lists,
    doubled: informed.doubled,
    healedMs,
  });
  assert(proxy.counts.reset >= 3, "connections were reset");
  assertEquals(informed.lists, 1, "a reset needs no new list");
  assertEquals(informed.doubled, 0);
});

Deno.test("watch() leaves a half-open connection after its idle guard and catches up", async () => {
  const namespace = await cluster.createNamespace("half-open");
  await using proxy = await startFaultProxy(target);
  using direct = transportTo(cluster);
  using proxied = transportTo(cluster, {
    server: `https://127.0.0.1:${proxy.port}`,
    requestDeadlineMs: 1_000,
  });
  await using informed = new Informed(proxied, namespace, { idleMs: 1_000 });
  await informed.sync();
  await churn(direct, namespace, { count: 50, rounds: 0 });
  await informed.catchUp(direct, namespace);

  proxy.freeze();
  const written = await churn(direct, namespace, { count: 50, rounds: 4 });
  await eventually("the idle guard", () => informed.errors.includes("timeout"));
  assert(informed.told.size <= 50, "nothing passes a frozen proxy");
  proxy.resume();
  const healedMs = await informed.catchUp(direct, namespace);
  report("half-open", { written, lists: informed.lists, doubled: informed.doubled, healedMs });
  assertEquals(informed.doubled, 0);
});

Deno.test("watch() waits out an API server that cannot be reached", async () => {
  const namespace = await cluster.createNamespace("away");
  await using proxy = await startFaultProxy(target);
  using direct = transportTo(cluster);
  using proxied = transportTo(cluster, { server: `https://127.0.0.1:${proxy.port}` });
  await using informed = new Informed(proxied, namespace);
  await informed.sync();
  proxy.refuse();
  proxy.reset();
  const written = await churn(direct, namespace, { count: 200, rounds: 1 });
  await eventually("several refusals", () => proxy.counts.refused >= 3);
  proxy.resume();
  const healedMs = await informed.catchUp(direct, namespace);
  report("refused", { written, refused: proxy.counts.refused, lists: informed.lists, healedMs });
  assertEquals(informed.doubled, 0);
  assert(informed.errors.every((reason) => reason === "unreachable"), informed.errors.join());
});

Deno.test("watch() relists after the 410 of a server whose history begins later", async () => {
  const namespace = await cluster.createNamespace("expired");
  await using proxy = await startFaultProxy(target);
  using direct = transportTo(cluster);
  using proxied = transportTo(cluster, { server: `https://127.0.0.1:${proxy.port}` });
  await using informed = new Informed(proxied, namespace);
  await informed.sync();
  proxy.refuse();
  proxy.reset();
  const written = await churn(direct, namespace, { count: 50, rounds: 1 });
  // A new server process has no history: the version of the watch is older than all it has.
  await cluster.restartApiServer();
  proxy.resume();
  const healedMs = await informed.catchUp(direct, namespace);
  report("410", { written, lists: informed.lists, healedMs });
  assert(informed.errors.includes("expired"), informed.errors.join());
  assertEquals(informed.lists, 2);
});

Deno.test("KubeClient survives GOAWAY in the middle of 3,000 writes", async () => {
  await using leaving = await startEnvtest({ goawayChance: 0.02 });
  const namespace = await leaving.createNamespace("goaway");
  await using proxy = await startFaultProxy({
    hostname: "127.0.0.1",
    port: Number(new URL(leaving.url).port),
  });
  using proxied = transportTo(leaving, { server: `https://127.0.0.1:${proxy.port}` });
  await using informed = new Informed(proxied, namespace);
  await informed.sync();
  const written = await churn(proxied, namespace, { count: 1_000, rounds: 2 });
  const healedMs = await informed.catchUp(proxied, namespace);
  const { accepted } = proxy.counts;
  report("GOAWAY", {
    written,
    connections: accepted,
    lists: informed.lists,
    doubled: informed.doubled,
    healedMs,
  });
  assert(accepted > 5, `the server sent GOAWAY: ${accepted} connections`);
  assertEquals(informed.doubled, 0);
});

Deno.test("API server killed twice in the middle of 5,000 changes: nothing missed, nothing doubled", async () => {
  const namespace = await cluster.createNamespace("killed");
  using api = transportTo(cluster);
  await using informed = new Informed(api, namespace);
  await informed.sync();
  const restarts: Promise<number>[] = [];
  const restart = async () => {
    await cluster.killApiServer("SIGKILL");
    await cluster.startApiServer();
    return performance.now();
  };
  const written = await churn(api, namespace, {
    count: 1_000,
    rounds: 4,
    onWrite: (count) => {
      if (count === 1_500 || count === 3_500) restarts.push(restart());
    },
  });
  await Promise.all(restarts);
  const healedMs = await informed.catchUp(api, namespace);
  const { items } = await api.list(CONFIG_MAPS, { namespace });
  report("kill -9", {
    written,
    restarts: restarts.length,
    lists: informed.lists,
    doubled: informed.doubled,
    healedMs,
  });
  assertEquals(restarts.length, 2);
  assertEquals(items.length, 1_000);
  assert(items.every((item) => (item["data"] as Record<string, string>)["round"] === "4"));
  assertEquals(informed.doubled, 0);
});

Deno.test("after etcd was killed and started again the watcher sees later changes", async () => {
  const namespace = await cluster.createNamespace("etcd");
  using api = transportTo(cluster);
  await using informed = new Informed(api, namespace);
  await informed.sync();
  await churn(api, namespace, { count: 50, rounds: 0 });
  await cluster.killEtcd("SIGKILL");
  await cluster.startEtcd();
  const written = await churn(api, namespace, { count: 100, rounds: 1 });
  const healedMs = await informed.catchUp(api, namespace);
  report("etcd kill -9", { written, lists: informed.lists, doubled: informed.doubled, healedMs });
  assertEquals(informed.view.size, 100);
});

Deno.test("watch() relists after etcd was restored from an older copy", async () => {
  await using restored = await startEnvtest();
  const namespace = await restored.createNamespace("restored");
  const [data, copy] = [`${restored.folder}/etcd`, `${restored.folder}/etcd-copy`];
  const offline = async (change: () => Promise<void>) => {
    await restored.killApiServer();
    await restored.killEtcd();
    await change();
    await restored.startEtcd();
    await restored.startApiServer();
  };
  using api = transportTo(restored);
  await churn(api, namespace, { count: 20, rounds: 0 });
  await offline(() => copyFolder(data, copy));
  await using informed = new Informed(api, namespace, { idleMs: 2_000 });
  await informed.sync();
  const written = await churn(api, namespace, { count: 200, rounds: 4 });
  await informed.catchUp(api, namespace);
  assertEquals(informed.view.size, 200);

  await offline(async () => {
    await Deno.remove(data, { recursive: true });
    await Deno.rename(copy, data);
  });
  const healedMs = await informed.catchUp(api, namespace);
  report("etcd restored", { written, lists: informed.lists, healedMs });
  assert(informed.errors.includes("rewound"), informed.errors.join());
  assertEquals(informed.view.size, 20);
});

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
