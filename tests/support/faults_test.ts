import { assert, assertEquals, assertRejects } from "@std/assert";
import { CONFIG_MAPS_PATH, configMapNames, post, postTo, remove, watching } from "./config_maps.ts";
import type { Fault } from "./faults.ts";
import { startTestCluster } from "./test_cluster.ts";

Deno.test("faults: a status is answered so many times, with its Retry-After, and counted", async () => {
  await using cluster = startTestCluster();
  using fault = cluster.faults.add({
    verb: "create",
    path: CONFIG_MAPS_PATH,
    times: 2,
    effect: { kind: "status", status: 503, retryAfterSeconds: 7 },
  });
  const codes = [];
  for (const name of ["a", "b", "c"]) {
    const response = await post(cluster, name);
    codes.push(response.status);
    const body = await response.json();
    if (response.status === 503) {
      assertEquals([body.kind, body.reason, response.headers.get("retry-after")], [
        "Status",
        "ServiceUnavailable",
        "7",
      ]);
    }
  }
  assertEquals([codes, fault.hits], [[503, 503, 201], 2]);
  assertEquals(cluster.requests.count({ verb: "create", path: "configmaps" }), 3);
  assertEquals(configMapNames(cluster), ["c"]);
});

Deno.test("faults: a reset breaks the answer off, before or after the request is applied", async () => {
  await using cluster = startTestCluster();
  cluster.faults.add({ verb: "create", times: 1, effect: { kind: "reset" } });
  await assertRejects(() => post(cluster, "before").then((response) => response.text()));
  cluster.faults.add({ verb: "create", times: 1, effect: { kind: "reset", applied: true } });
  await assertRejects(() => post(cluster, "after").then((response) => response.text()));
  assertEquals(configMapNames(cluster), ["after"]);
});

Deno.test("faults: hang answers only by the end of the server, latency answers later", async () => {
  await using cluster = startTestCluster();
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "hang" } });
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "latency", latencyMs: 1 } });
  const hung = assertRejects(() => fetch(cluster.url + CONFIG_MAPS_PATH).then((response) => response.text()));
  await until(() => cluster.requests.calls.length === 1);
  const late = await fetch(cluster.url + CONFIG_MAPS_PATH);
  assertEquals((await late.json()).items, []);
  await cluster.stop();
  await hung;
});

Deno.test("faults: deny makes requests 403, and the access review denies them", async () => {
  await using cluster = startTestCluster();
  using _ = cluster.faults.add({ verb: ["list", "watch"], path: "/secrets", effect: { kind: "deny" } });
  const refused = await fetch(`${cluster.url}/api/v1/secrets`);
  assertEquals([refused.status, (await refused.json()).reason], [403, "Forbidden"]);
  const allowed = async (verb: string) => {
    const spec = { resourceAttributes: { verb, resource: "secrets", version: "v1", namespace: "default" } };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const response = await postTo(cluster, path, { kind: "SelfSubjectAccessReview", spec });
    return (await response.json()).status.allowed;
  };
  assertEquals([await allowed("list"), await allowed("create")], [false, true]);
});

Deno.test("faults: 410, a garbled body and an error strike lists", async () => {
  await using cluster = startTestCluster();
  const effects: [Fault["effect"], number][] = [[{ kind: "gone" }, 410], [{ kind: "error" }, 500]];
  for (const [effect, code] of effects) {
    cluster.faults.add({ verb: "list", times: 1, effect });
    const response = await fetch(cluster.url + CONFIG_MAPS_PATH);
    assertEquals([response.status, (await response.json()).code], [code, code]);
  }
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "garbled" } });
  await assertRejects(
    () => fetch(cluster.url + CONFIG_MAPS_PATH).then((response) => response.json()),
    SyntaxError,
  );
});

Deno.test("faults: stream effects strike a running watch at once, or after so many frames", async () => {
  await using cluster = startTestCluster();
  const cases: [Fault["effect"], string[]][] = [
    [{ kind: "reset" }, ["BROKEN"]],
    [{ kind: "gone" }, ["ERROR 410", "END"]],
    [{ kind: "error", status: { code: 418 } }, ["ERROR 418", "END"]],
  ];
  for (const [effect, expected] of cases) {
    await using watch = await watching(cluster);
    await (await post(cluster, "seen")).body?.cancel();
    assertEquals(await watch.next(), "ADDED seen");
    cluster.faults.add({ verb: "watch", times: 1, effect });
    for (const each of expected) assertEquals(await watch.next(), each);
    await remove(cluster, "seen");
  }
  using fault = cluster.faults.add({ verb: "watch", after: 2, effect: { kind: "gone" } });
  await using watch = await watching(cluster);
  for (const name of ["one", "two", "three"]) await (await post(cluster, name)).body?.cancel();
  assertEquals([await watch.next(), await watch.next(), await watch.next()], [
    "ADDED one",
    "ADDED two",
    "ERROR 410",
  ]);
  assertEquals(fault.hits, 1);
});

Deno.test("faults: a garbled frame is the real one cut short, and the watch continues", async () => {
  await using cluster = startTestCluster();
  await using watch = await watching(cluster);
  cluster.faults.add({ verb: "watch", times: 1, effect: { kind: "garbled" } });
  for (const name of ["one", "two"]) await (await post(cluster, name)).body?.cancel();
  assertEquals([await watch.next(), await watch.next()], ["GARBLED", "ADDED two"]);
});

Deno.test("faults: a silent watch sends nothing more, no bookmark either", async () => {
  await using cluster = startTestCluster({ bookmarkMs: 1 });
  await using watch = await watching(cluster, "&allowWatchBookmarks=true");
  assert((await watch.next()).startsWith("BOOKMARK"));
  const fault = cluster.faults.add({ verb: "watch", times: 1, effect: { kind: "silent" } });
  let last = "";
  const ended = (async () => {
    while (last !== "BROKEN" && last !== "END") last = await watch.next();
  })();
  await until(() => fault.hits === 1);
  await (await post(cluster, "unseen")).body?.cancel();
  await using other = await watching(cluster, "&resourceVersion=0");
  assertEquals(await other.next(), "ADDED unseen");
  assert(!last.startsWith("ADDED"));
  await cluster.stop();
  await ended;
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
