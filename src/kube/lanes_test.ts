import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { apiServer, watchStream } from "../../tests/support/api_server.ts";
import { type KubeObject, NetworkError, type ResourceType } from "./api.ts";
import { type Endpoint, fixedConnection } from "./auth/connection.ts";
import { createKubeClient } from "./client.ts";

const PODS: ResourceType = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
const POD: KubeObject = { metadata: { name: "a" } };
const pem = (name: string) =>
  Deno.readTextFileSync(new URL(`../../tests/fixtures/tls/${name}`, import.meta.url));
const TLS = { cert: pem("server.pem"), key: pem("server.key") };
const CA = pem("ca.pem");

Deno.test("transport reads and watches over one connection", async () => {
  const stream = watchStream();
  stream.send("ADDED", POD);
  await using server = apiServer(
    ({ query }) => query.has("watch") ? stream.response : Response.json(POD),
    TLS,
  );
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: CA }));
  await api.get(PODS, "first");
  for await (const _frame of api.watch(PODS)) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => api.get(PODS, `pod-${index}`)));
    break;
  }
  await stream.left;
  assertEquals(new Set(server.seen.map(({ port }) => port)).size, 1);
});

Deno.test("transport sends bodies over connections that are used again, and as HTTP/1.1", async () => {
  await using server = apiServer(({ body }) => Response.json(body ?? POD), TLS);
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: CA }));
  await api.get(PODS, "a");
  for (let index = 0; index < 5; index++) await api.create(PODS, POD);
  const ports = server.seen.map(({ port }) => port);
  assertEquals(new Set(ports.slice(1)).size, 1);
  assertNotEquals(ports[1], ports[0]);
  // A Host header is HTTP/1.1's; HTTP/2 has a pseudo header in its place.
  assertEquals(server.seen.map(({ headers }) => headers.has("host")), [false, true, true, true, true, true]);
});

Deno.test("transport refuses a server of another authority", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: pem("other_ca.pem") }));
  await assertRejects(() => api.get(PODS, "a"), NetworkError, "certificate");
  assertEquals(server.seen.length, 0);
});

Deno.test("transport trusts every certificate of a bundle", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: `${pem("other_ca.pem")}${CA}` }));
  assertEquals((await api.get(PODS, "a")).metadata.name, "a");
});

Deno.test("transport takes a new connection after a request ran out of time; the old one finishes its watch", async () => {
  const stream = watchStream();
  const limit = new AbortController();
  await using server = apiServer(({ query, path }) => {
    if (query.has("watch")) return stream.response;
    if (!path.endsWith("/stuck")) return Response.json(POD);
    limit.abort(new NetworkError("Cannot get the stuck pod: nothing came", { fault: "timeout" }));
    return new Promise<Response>(() => {});
  }, TLS);
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: CA }));
  stream.send("ADDED", POD);
  const names: (string | undefined)[] = [];
  for await (const frame of api.watch<KubeObject>(PODS)) {
    if (frame.type === "ERROR") break;
    names.push(frame.object.metadata.name);
    if (names.length === 2) break;
    await assertRejects(() => api.get(PODS, "stuck", { signal: limit.signal }), NetworkError, "nothing came");
    await api.get(PODS, "after");
    stream.send("MODIFIED", { metadata: { name: "b" } });
  }
  const [watched, stuck, after] = server.seen.map(({ port }) => port);
  assertEquals(names, ["a", "b"]);
  assertEquals(stuck, watched);
  assertNotEquals(after, watched);
});

Deno.test("transport connects anew only when the certificates change", async () => {
  await using server = apiServer(() => Response.json(POD), TLS);
  let endpoint: Endpoint = { server: server.url, caPem: CA, authorization: "Bearer 1" };
  using api = createKubeClient({
    description: "test",
    namespace: undefined,
    endpoint: () => Promise.resolve(endpoint),
  });
  await api.get(PODS, "a");
  endpoint = { ...endpoint, authorization: "Bearer 2" };
  await api.get(PODS, "a");
  endpoint = { ...endpoint, certPem: pem("client.pem"), keyPem: pem("client.key") };
  await api.get(PODS, "a");
  const [first, second, third] = server.seen.map(({ port }) => port);
  assertEquals(second, first);
  assertNotEquals(third, first);
});

Deno.test("transport opens another connection for watches beyond what one can carry", async () => {
  const streams = Array.from({ length: 65 }, () => watchStream());
  await using server = apiServer(
    ({ query }) =>
      query.has("watch") ? streams[Number(query.get("timeoutSeconds")) - 1]!.response : Response.json(POD),
    TLS,
  );
  using api = createKubeClient(fixedConnection({ server: server.url, caPem: CA }));
  await api.get(PODS, "a");
  for (const stream of streams) stream.send("ADDED", POD);
  const watches = streams.map((_stream, index) =>
    api.watch(PODS, { timeoutSeconds: index + 1 })[Symbol.asyncIterator]()
  );
  for (const watch of watches) assertEquals((await watch.next()).value?.type, "ADDED");
  const ports = server.seen.map(({ port }) => port);
  assertEquals(new Set(ports).size, 2);
  assertEquals(ports.filter((port) => port === ports[0]).length, 65);
  await api.get(PODS, "a");
  assertEquals(server.seen.at(-1)!.port, ports[0]);
  for (const watch of watches) await watch.return?.();
  await Promise.all(streams.map(({ left }) => left));
  assert(server.seen.length === 67);
});
