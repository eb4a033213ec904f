import { assert, assertEquals, assertRejects } from "@std/assert";
import type { JsonObject } from "../core/json.ts";
import { type DevCluster, type Fault, startDevCluster } from "./mod.ts";

const JSON_HEADERS = { "content-type": "application/json" };
const CONFIG_MAPS = "/api/v1/namespaces/default/configmaps";

Deno.test("faults: a status is answered so many times, with its Retry-After, and counted", async () => {
  await using cluster = startDevCluster();
  using fault = cluster.faults.add({
    verb: "create",
    path: CONFIG_MAPS,
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
  assertEquals(names(cluster), ["c"]);
});

Deno.test("faults: a reset breaks the answer off, before or after the request is applied", async () => {
  await using cluster = startDevCluster();
  cluster.faults.add({ verb: "create", times: 1, effect: { kind: "reset" } });
  await assertRejects(() => post(cluster, "before").then((response) => response.text()));
  cluster.faults.add({ verb: "create", times: 1, effect: { kind: "reset", applied: true } });
  await assertRejects(() => post(cluster, "after").then((response) => response.text()));
  assertEquals(names(cluster), ["after"]);
});

Deno.test("faults: hang answers only by the end of the server, latency answers later", async () => {
  await using cluster = startDevCluster();
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "hang" } });
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "latency", latencyMs: 1 } });
  const hung = assertRejects(() => fetch(cluster.url + CONFIG_MAPS).then((response) => response.text()));
  await until(() => cluster.requests.calls.length === 1);
  const late = await fetch(cluster.url + CONFIG_MAPS);
  assertEquals((await late.json()).items, []);
  await cluster.stop();
  await hung;
});

Deno.test("faults: deny is a 403, and the access review says so", async () => {
  await using cluster = startDevCluster();
  using _ = cluster.faults.add({ verb: ["list", "watch"], path: "/secrets", effect: { kind: "deny" } });
  const refused = await fetch(`${cluster.url}/api/v1/secrets`);
  assertEquals([refused.status, (await refused.json()).reason], [403, "Forbidden"]);
  const allowed = async (verb: string) => {
    const spec = { resourceAttributes: { verb, resource: "secrets", version: "v1", namespace: "default" } };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const response = await send(cluster, path, { kind: "SelfSubjectAccessReview", spec });
    return (await response.json()).status.allowed;
  };
  assertEquals([await allowed("list"), await allowed("create")], [false, true]);
});

Deno.test("faults: 410, a garbled body and an error strike lists", async () => {
  await using cluster = startDevCluster();
  const effects: [Fault["effect"], number][] = [[{ kind: "gone" }, 410], [{ kind: "error" }, 500]];
  for (const [effect, code] of effects) {
    cluster.faults.add({ verb: "list", times: 1, effect });
    const response = await fetch(cluster.url + CONFIG_MAPS);
    assertEquals([response.status, (await response.json()).code], [code, code]);
  }
  cluster.faults.add({ verb: "list", times: 1, effect: { kind: "garbled" } });
  await assertRejects(
    () => fetch(cluster.url + CONFIG_MAPS).then((response) => response.json()),
    SyntaxError,
  );
});

Deno.test("faults: stream effects strike a running watch at once, or after so many frames", async () => {
  await using cluster = startDevCluster();
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

Deno.test("faults: a garbled frame is the real one cut, and the watch goes on", async () => {
  await using cluster = startDevCluster();
  await using watch = await watching(cluster);
  cluster.faults.add({ verb: "watch", times: 1, effect: { kind: "garbled" } });
  for (const name of ["one", "two"]) await (await post(cluster, name)).body?.cancel();
  assertEquals([await watch.next(), await watch.next()], ["GARBLED", "ADDED two"]);
});

Deno.test("faults: a silent watch sends nothing more, no bookmark either", async () => {
  await using cluster = startDevCluster({ bookmarkMs: 1 });
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

Deno.test("stop() breaks connections and keeps the data; restart() serves it on the same port", async () => {
  await using cluster = startDevCluster();
  await (await post(cluster, "kept")).body?.cancel();
  await using watch = await watching(cluster);
  await cluster.stop();
  assert(["BROKEN", "END"].includes(await watch.next()));
  await assertRejects(() => fetch(cluster.url));
  await cluster.restart();
  const list = await (await fetch(cluster.url + CONFIG_MAPS)).json();
  assertEquals(list.items.length, 1);
  assertEquals(list.metadata.resourceVersion, String(cluster.revision));
});

Deno.test("compact() makes older watches and continued lists start over with 410", async () => {
  await using cluster = startDevCluster();
  for (const name of ["a", "b", "c"]) await (await post(cluster, name)).body?.cancel();
  const first = await (await fetch(`${cluster.url}${CONFIG_MAPS}?limit=1`)).json();
  const token = encodeURIComponent(first.metadata.continue);
  const next = await (await fetch(`${cluster.url}${CONFIG_MAPS}?limit=1&continue=${token}`)).json();
  assertEquals(next.items[0].metadata.name, "b");
  await remove(cluster, "c");
  cluster.compact();
  await (await post(cluster, "d")).body?.cancel();
  const gone = await fetch(`${cluster.url}${CONFIG_MAPS}?limit=1&continue=${token}`);
  assertEquals([gone.status, (await gone.json()).reason], [410, "Expired"]);
  await using watch = await watching(cluster, `&resourceVersion=${first.metadata.resourceVersion}`);
  assertEquals([await watch.next(), await watch.next()], ["ERROR 410", "END"]);
});

Deno.test("history is bounded: a watch that falls behind it gets 410", async () => {
  await using cluster = startDevCluster({ maxChanges: 10 });
  const from = cluster.revision;
  for (let index = 0; index < 30; index++) await (await post(cluster, `n${index}`)).body?.cancel();
  await using behind = await watching(cluster, `&resourceVersion=${from}`);
  assertEquals(await behind.next(), "ERROR 410");
  await using close = await watching(cluster, `&resourceVersion=${cluster.revision - 2}`);
  assertEquals([await close.next(), await close.next()], ["ADDED n28", "ADDED n29"]);
});

Deno.test("__proto__ in a body, a patch or a JSON pointer changes no prototype", async () => {
  await using cluster = startDevCluster();
  const body =
    '{"metadata":{"name":"p","__proto__":{"polluted":"1"}},"__proto__":{"polluted":"1"},"data":{"__proto__":"1"}}';
  await (await fetch(cluster.url + CONFIG_MAPS, { method: "POST", headers: JSON_HEADERS, body })).body
    ?.cancel();
  const patch = async (type: string, text: string) => {
    const headers = { "content-type": `application/${type}-patch+json` };
    const response = await fetch(`${cluster.url}${CONFIG_MAPS}/p`, { method: "PATCH", headers, body: text });
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

function names(cluster: DevCluster): unknown[] {
  return cluster.objects("configmaps").map(({ metadata }) => (metadata as JsonObject).name);
}

function post(cluster: DevCluster, name: string): Promise<Response> {
  return send(cluster, CONFIG_MAPS, { metadata: { name } });
}

function send(cluster: DevCluster, path: string, body: JsonObject): Promise<Response> {
  return fetch(cluster.url + path, { method: "POST", headers: JSON_HEADERS, body: JSON.stringify(body) });
}

async function remove(cluster: DevCluster, name: string): Promise<void> {
  await (await fetch(`${cluster.url}${CONFIG_MAPS}/${name}`, { method: "DELETE" })).body?.cancel();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A watch whose frames are told as `TYPE name`, `ERROR code`, `GARBLED`, `END` or `BROKEN`. */
async function watching(cluster: DevCluster, query = "&resourceVersion=" + cluster.revision) {
  const response = await fetch(`${cluster.url}${CONFIG_MAPS}?watch=1${query}`);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  return {
    async next(): Promise<string> {
      while (!rest.includes("\n")) {
        const read = await reader.read().catch(() => undefined);
        if (!read) return "BROKEN";
        if (read.done) return "END";
        rest += read.value;
      }
      const line = rest.slice(0, rest.indexOf("\n"));
      rest = rest.slice(line.length + 1);
      try {
        const { type, object } = JSON.parse(line);
        return `${type} ${object.code ?? object.metadata.name}`;
      } catch {
        return "GARBLED";
      }
    },
    [Symbol.asyncDispose]: () => reader.cancel().catch(() => {}),
  };
}
