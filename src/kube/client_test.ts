import {
  assert,
  assertEquals,
  assertObjectMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { apiServer, status, watchStream } from "../../tests/support/api_server.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import {
  ApiError,
  type Connection,
  type Endpoint,
  fixedConnection,
  type KubeObject,
  NetworkError,
  type ResourceType,
} from "./api.ts";
import { createKubeClient, type KubeClientOptions } from "./client.ts";

const PODS: ResourceType = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
const OURS: ResourceType = {
  group: "zen.kube-zen.io",
  version: "v1",
  plural: "observations",
  kind: "Observation",
  namespaced: true,
};
const POD: KubeObject = { apiVersion: "v1", kind: "Pod", metadata: { name: "a", namespace: "ns" } };

function clientOf(server: { url: string }, options: KubeClientOptions = {}) {
  return createKubeClient(fixedConnection({ server: server.url }), options);
}

Deno.test("page() gives up an answer that comes byte by byte when its deadline is over", async () => {
  const stream = watchStream();
  await using server = apiServer(() => stream.response);
  using api = clientOf(server, { requestDeadlineMs: 100 });
  const trickle = setInterval(() => stream.raw(" "), 10);
  const stop = new AbortController();
  const end = setTimeout(() => stop.abort(new Error("it was still read")), 3_000);
  try {
    const error = await assertRejects(() => api.page(PODS, { signal: stop.signal }), NetworkError);
    assertEquals(error.fault, "timeout");
  } finally {
    clearInterval(trickle);
    clearTimeout(end);
  }
});

Deno.test("KubeClient builds the path, query and body of each kind of request", async () => {
  await using server = apiServer(({ query }) =>
    Response.json(query.has("limit") ? { metadata: { resourceVersion: "1" }, items: null } : POD)
  );
  using api = createKubeClient(fixedConnection({ server: `${server.url}/base/`, authorization: "Bearer t" }));
  const list = await api.list(OURS, {
    limit: 5,
    continue: "a b",
    labelSelector: "x in (y)",
    fieldSelector: "",
  });
  await api.get(PODS, "a/b", { namespace: "ns" });
  await api.create(PODS, POD);
  await api.replace(PODS, POD, { subresource: "status" });
  await api.patch(PODS, "a", { spec: null }, { type: "merge", namespace: "ns" });
  await api.patch(PODS, "a", [{ op: "add" }], { type: "json", namespace: "ns", dryRun: true });
  await api.delete(PODS, "a", { namespace: "ns", preconditions: { uid: "u" } });
  assertEquals(list.items, []);
  assertEquals(server.seen.map(({ method, path, query }) => `${method} ${path}?${query}`), [
    "GET /base/apis/zen.kube-zen.io/v1/observations?labelSelector=x+in+%28y%29&limit=5&continue=a+b",
    "GET /base/api/v1/namespaces/ns/pods/a%2Fb?",
    "POST /base/api/v1/namespaces/ns/pods?fieldManager=zen-watcher",
    "PUT /base/api/v1/namespaces/ns/pods/a/status?fieldManager=zen-watcher",
    "PATCH /base/api/v1/namespaces/ns/pods/a?fieldManager=zen-watcher",
    "PATCH /base/api/v1/namespaces/ns/pods/a?fieldManager=zen-watcher&dryRun=All",
    "DELETE /base/api/v1/namespaces/ns/pods/a?",
  ]);
  assertEquals(server.seen.map(({ headers }) => headers.get("content-type")).slice(2), [
    "application/json",
    "application/json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/json",
  ]);
  assertEquals(server.seen[2]!.body, POD);
  assertObjectMatch(server.seen[6]!.body, { kind: "DeleteOptions", preconditions: { uid: "u" } });
  assert(server.seen.every(({ headers }) => headers.get("authorization") === "Bearer t"));
});

Deno.test("KubeClient turns a Status into an ApiError with the wait it asks for", async () => {
  const answers = [
    () => status(429, { message: "too many", reason: "TooManyRequests" }, { "retry-after": "7" }),
    () => status(503, { details: { retryAfterSeconds: 3 } }),
    () => status(503, {}, { "retry-after": "Thu, 01 Jan 1970 00:00:05 GMT" }),
    () => new Response("404 page not found\n", { status: 404 }),
    () => new Response(null, { status: 302, headers: { location: "https://elsewhere.test/" } }),
  ];
  await using server = apiServer((_seen, index) => answers[index]!());
  using api = clientOf(server, { clock: { now: () => 1_000, monotonic: () => 0 } });
  const errors: ApiError[] = [];
  for (const _ of answers) {
    errors.push(await assertRejects(() => api.get(PODS, "a", { namespace: "ns" }), ApiError));
  }
  assertEquals(errors.map((error) => [error.status, error.reason, error.retryAfterMs]), [
    [429, "TooManyRequests", 7_000],
    [503, "", 3_000],
    [503, "", 4_000],
    [404, "", undefined],
    [302, "", undefined],
  ]);
  assertEquals(errors[0]!.message, 'Cannot get pods "ns/a": too many (HTTP 429 TooManyRequests)');
  assertStringIncludes(errors[3]!.message, "404 page not found");
});

Deno.test("KubeClient says network error where no useful answer came", async () => {
  const answers = ["{", "[]", '{"metadata":{},"items":[{"no":"metadata"}]}'];
  await using server = apiServer((_seen, index) => new Response(answers[index]));
  using api = clientOf(server);
  for (const _ of answers) {
    const error = await assertRejects(() => api.list(PODS), NetworkError, "Cannot list pods");
    assertEquals(error.fault, "garbled");
  }
  const closed = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const url = `http://127.0.0.1:${closed.addr.port}`;
  closed.close();
  using refused = clientOf({ url });
  assertEquals((await assertRejects(() => refused.list(PODS), NetworkError)).fault, "unreachable");
});

Deno.test("KubeClient gives up a request at its deadline, also in the middle of a body", async () => {
  const streams = [watchStream(), watchStream()];
  await using server = apiServer((_seen, index) => streams[index]!.response);
  streams[1]!.raw('{"metadata":');
  using api = clientOf(server, { requestDeadlineMs: 30 });
  for (const stream of streams) {
    const error = await assertRejects(() => api.get(PODS, "a"), NetworkError, "nothing came for 30 ms");
    assertEquals(error.fault, "timeout");
    await stream.left;
  }
});

Deno.test("KubeClient refuses an answer over its bound", async () => {
  await using server = apiServer(() =>
    Response.json({ metadata: {}, items: [], padding: "x".repeat(5_000) })
  );
  using api = clientOf(server, { maxBodyBytes: 1_000 });
  assertEquals((await assertRejects(() => api.list(PODS), NetworkError)).fault, "too_large");
});

Deno.test("KubeClient reads a page whose items are parsed in turn, once, and refuses one over its bound", async () => {
  const broken =
    '{"metadata":{"continue":"next"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":x}}]}';
  await using server = apiServer(({ query }) =>
    query.get("limit") === "1"
      ? new Response(broken)
      : Response.json({ metadata: { resourceVersion: "7" }, items: [POD, { ...POD, spec: { text: "]}" } }] })
  );
  using api = clientOf(server);
  const { items, metadata, bytes } = await api.page(PODS);
  assertEquals([items.length, metadata, bytes], [2, { resourceVersion: "7" }, 215]);
  assertEquals([...items], [POD, { ...POD, spec: { text: "]}" } }]);
  assertEquals([...items], []);
  assertEquals(
    (await assertRejects(() => api.page(PODS, { maxBytes: 100 }), NetworkError)).fault,
    "too_large",
  );
  const partly = await api.page(PODS, { limit: 1 });
  const [first] = partly.items;
  assertEquals([first?.metadata.name, partly.metadata.continue], ["a", "next"]);
  assertEquals(assertThrows(() => [...partly.items], NetworkError).fault, "garbled");
});

Deno.test("KubeClient aborts with the caller's reason", async () => {
  const stop = new AbortController();
  await using server = apiServer(() => {
    stop.abort(new Error("enough"));
    return new Promise<Response>(() => {});
  });
  using api = clientOf(server);
  await assertRejects(() => api.get(PODS, "a", { signal: stop.signal }), Error, "enough");
  await assertRejects(() => api.get(PODS, "b", { signal: stop.signal }), Error, "enough");
  assertEquals(server.seen.length, 1);
});

Deno.test("KubeClient reloads credentials once on 401 and sends the request again", async () => {
  const fresh: (boolean | undefined)[] = [];
  let token = "old";
  const connection = (server: string): Connection => ({
    description: "test",
    namespace: undefined,
    endpoint(options): Promise<Endpoint> {
      fresh.push(options?.fresh);
      if (options?.fresh) token = "new";
      return Promise.resolve({ server, authorization: `Bearer ${token}` });
    },
  });
  await using server = apiServer(({ headers, body }) =>
    headers.get("authorization") === "Bearer new"
      ? Response.json(body)
      : status(401, { reason: "Unauthorized" })
  );
  using api = createKubeClient(connection(server.url));
  assertEquals((await api.create(PODS, POD)).metadata.name, "a");
  assertEquals(fresh, [false, true]);
  assertEquals(server.seen.map(({ body }) => body), [POD, POD]);
});

Deno.test("KubeClient reports a 401 that fresh credentials do not resolve, after two requests", async () => {
  await using server = apiServer(() => status(401));
  using api = clientOf(server);
  assertEquals((await assertRejects(() => api.get(PODS, "a"), ApiError)).status, 401);
  assertEquals(server.seen.length, 2);
});

Deno.test("KubeClient says why credentials cannot be read", async () => {
  using api = createKubeClient({
    description: "test",
    namespace: undefined,
    endpoint: () => Promise.reject(new Error('Cannot read "token": gone')),
  });
  await assertRejects(
    () => api.get(PODS, "a"),
    NetworkError,
    'Cannot get pods "a": Cannot read "token": gone',
  );
});

Deno.test("KubeClient yields the frames of a watch and cuts it when the loop is left", async () => {
  const stream = watchStream();
  await using server = apiServer(() => stream.response);
  using api = clientOf(server, { requestDeadlineMs: 60_000 });
  let opened = 0;
  stream.send("ADDED", POD);
  stream.send("BOOKMARK", { metadata: { resourceVersion: "9" } });
  const frames = [];
  const onOpen = () => void opened++;
  for await (
    const frame of api.watch(PODS, {
      resourceVersion: "5",
      timeoutSeconds: 10,
      allowWatchBookmarks: true,
      onOpen,
    })
  ) {
    frames.push(frame.type);
    if (frame.type === "BOOKMARK") break;
  }
  await stream.left;
  assertEquals(frames, ["ADDED", "BOOKMARK"]);
  assertEquals(opened, 1);
  assertEquals(
    String(server.seen[0]!.query),
    "watch=true&resourceVersion=5&timeoutSeconds=10&allowWatchBookmarks=true",
  );
});

Deno.test("KubeClient ends a watch on garbled lines, lines over the bound, and errors of the request", async () => {
  const garbled = [
    "{nonsense\n",
    '{"type":"WHAT","object":{"metadata":{}}}\n',
    '{"type":"ADDED","object":{}}\n',
    "x".repeat(600),
  ];
  await using server = apiServer((_seen, index) =>
    garbled[index] ? new Response(garbled[index]) : status(410)
  );
  using api = clientOf(server, { maxLineBytes: 500 });
  const faults = [];
  for (const _ of garbled) {
    faults.push((await assertRejects(() => Array.fromAsync(api.watch(PODS)), NetworkError)).fault);
  }
  assertEquals(faults, ["garbled", "garbled", "garbled", "too_large"]);
  assertEquals((await assertRejects(() => Array.fromAsync(api.watch(PODS)), ApiError)).status, 410);
});

Deno.test("KubeClient does not set a prototype from a __proto__ key in a watch frame", async () => {
  await using server = apiServer(() =>
    new Response('{"type":"ADDED","object":{"metadata":{"name":"a"},"__proto__":{"polluted":true}}}\n')
  );
  using api = clientOf(server);
  const [frame] = await Array.fromAsync(api.watch(PODS));
  assertEquals(Object.getPrototypeOf(frame!.object), Object.prototype);
  assertEquals((frame!.object as KubeObject)["polluted"], undefined);
});

Deno.test("KubeClient refuses an answer to a create that is about another object", async () => {
  await using server = apiServer(({ body }) =>
    Response.json({ ...body as KubeObject, metadata: { name: "another" } })
  );
  using api = clientOf(server);
  const error = await assertRejects(
    () => api.create(PODS, POD),
    NetworkError,
    'the answer is about "another"',
  );
  assertEquals(error.fault, "garbled");
  // The server chooses a name where none is sent.
  const unnamed: KubeObject = { metadata: { generateName: "a-" } };
  assertEquals((await api.create(PODS, unnamed)).metadata.name, "another");
});

Deno.test("KubeClient counts requests on our own resources alone", async () => {
  const metrics = createMetrics();
  await using server = apiServer(({ path }) => path.endsWith("/gone") ? status(404) : Response.json(POD));
  using api = clientOf(server, { metrics });
  await api.create(PODS, POD);
  await api.create(OURS, POD);
  await assertRejects(() => api.get(OURS, "gone", { namespace: "ns" }), ApiError);
  const { values } = await metrics.crdOperations.get();
  assertEquals(values.map(({ labels, value }) => [labels.operation, labels.status, value]), [
    ["create", "success", 1],
    ["get", "404", 1],
  ]);
  const durations = (await metrics.crdOperationDuration.get()).values;
  assertEquals(
    durations.filter(({ metricName }) => metricName?.endsWith("_count")).map(({ value }) => value),
    [1, 1],
  );
});

Deno.test("KubeClient reads paths that are JSON and paths that are text", async () => {
  await using server = apiServer(({ path }) =>
    path === "/version" ? Response.json({ major: "1" }) : new Response("ok")
  );
  using api = clientOf(server);
  assertEquals(await api.getPath("/version"), { major: "1" });
  assertEquals(await api.getPath("/readyz"), { text: "ok" });
});
