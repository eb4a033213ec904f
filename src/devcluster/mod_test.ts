import { assert, assertEquals, assertRejects } from "@std/assert";
import { CONFIG_MAPS_PATH, JSON_HEADERS, post, remove, watching } from "../../tests/support/config_maps.ts";
import { startTestCluster } from "../../tests/support/test_cluster.ts";

Deno.test("stop() breaks connections and keeps the data; restart() serves it on the same port", async () => {
  await using cluster = startTestCluster();
  await (await post(cluster, "kept")).body?.cancel();
  await using watch = await watching(cluster);
  await cluster.stop();
  assert(["BROKEN", "END"].includes(await watch.next()));
  await assertRejects(() => fetch(cluster.url));
  await cluster.restart();
  const list = await (await fetch(cluster.url + CONFIG_MAPS_PATH)).json();
  assertEquals(list.items.length, 1);
  assertEquals(list.metadata.resourceVersion, String(cluster.revision));
});

Deno.test("compact() makes older watches and continued lists start over with 410", async () => {
  await using cluster = startTestCluster();
  for (const name of ["a", "b", "c"]) await (await post(cluster, name)).body?.cancel();
  const first = await (await fetch(`${cluster.url}${CONFIG_MAPS_PATH}?limit=1`)).json();
  const token = encodeURIComponent(first.metadata.continue);
  const next = await (await fetch(`${cluster.url}${CONFIG_MAPS_PATH}?limit=1&continue=${token}`)).json();
  assertEquals(next.items[0].metadata.name, "b");
  await remove(cluster, "c");
  cluster.compact();
  await (await post(cluster, "d")).body?.cancel();
  const gone = await fetch(`${cluster.url}${CONFIG_MAPS_PATH}?limit=1&continue=${token}`);
  assertEquals([gone.status, (await gone.json()).reason], [410, "Expired"]);
  await using watch = await watching(cluster, `&resourceVersion=${first.metadata.resourceVersion}`);
  assertEquals([await watch.next(), await watch.next()], ["ERROR 410", "END"]);
});

Deno.test("history is bounded: a watch that falls behind it gets 410", async () => {
  await using cluster = startTestCluster({ maxChanges: 10 });
  const from = cluster.revision;
  for (let index = 0; index < 30; index++) await (await post(cluster, `n${index}`)).body?.cancel();
  await using behind = await watching(cluster, `&resourceVersion=${from}`);
  assertEquals(await behind.next(), "ERROR 410");
  await using close = await watching(cluster, `&resourceVersion=${cluster.revision - 2}`);
  assertEquals([await close.next(), await close.next()], ["ADDED n28", "ADDED n29"]);
});

Deno.test("__proto__ in a body, a patch or a JSON pointer changes no prototype", async () => {
  await using cluster = startTestCluster();
  const body =
    '{"metadata":{"name":"p","__proto__":{"polluted":"1"}},"__proto__":{"polluted":"1"},"data":{"__proto__":"1"}}';
  await (await fetch(cluster.url + CONFIG_MAPS_PATH, { method: "POST", headers: JSON_HEADERS, body })).body
    ?.cancel();
  const patch = async (type: string, text: string) => {
    const headers = { "content-type": `application/${type}-patch+json` };
    const response = await fetch(`${cluster.url}${CONFIG_MAPS_PATH}/p`, {
      method: "PATCH",
      headers,
      body: text,
    });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(
    await patch("merge", '{"__proto__":{"polluted":"1"},"metadata":{"__proto__":{"polluted":"1"}}}'),
    200,
  );
  assertEquals(await patch("json", '[{"op":"add","path":"/__proto__/polluted","value":"1"}]'), 422);
  assertEquals(Reflect.get({}, "polluted"), undefined);
});

Deno.test("the development cluster stays under 1,500 lines, blank ones and comments counted", async () => {
  let lines = 0;
  for await (const { name } of Deno.readDir(new URL(".", import.meta.url))) {
    if (name.endsWith("_test.ts")) continue;
    lines += (await Deno.readTextFile(new URL(name, import.meta.url))).split("\n").length - 1;
  }
  assert(lines < 1500, `${lines} lines`);
});
