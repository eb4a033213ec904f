import { assertEquals } from "@std/assert";
import {
  type ApiServer,
  apiServer,
  type ScriptedWatch,
  type Seen,
  status,
} from "../../tests/support/api_server.ts";
import { isApply, listed, object, observe, REPORTS, script, told } from "../../tests/support/watch_script.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { fixedConnection, type KubeObject } from "./api.ts";
import { backoff } from "./retry.ts";
import { createKubeClient } from "./client.ts";
import { reasonOf, type Watch, watch, type WatchState } from "./watch.ts";

const limits = ({ seen }: ApiServer) =>
  seen.filter(({ query }) => !query.has("watch")).map(({ query }) => query.get("limit"));

Deno.test("watch() lists page by page, then watches from the list's resourceVersion", async () => {
  const { asked, answer } = script(
    [() => listed("4", [object("a", "1")], "more"), () => listed("5", [object("b", "2")])],
    [(stream) => {
      stream.send("MODIFIED", object("a", "6"));
      stream.send("DELETED", object("b", "7"));
      stream.send("ADDED", object("c", "8"));
    }],
  );
  await using server = apiServer(answer);
  const { told, states } = await observe(server, isApply("c"), { namespace: "ns", labelSelector: "x=y" });
  assertEquals(told, ["init", "apply a", "apply b", "synced 5", "apply a", "delete b", "apply c"]);
  assertEquals(asked, ["list", "list more", "watch 5"]);
  assertEquals(states, ["listing", "synced"]);
  assertEquals(server.seen[0]!.path, "/apis/example.test/v1/namespaces/ns/reports");
  assertEquals(String(server.seen[0]!.query), "labelSelector=x%3Dy&limit=500");
  assertEquals(server.seen[2]!.query.get("allowWatchBookmarks"), "true");
  assertEquals(server.seen[2]!.query.get("timeoutSeconds"), "319");
});

Deno.test("watch() drops managedFields and names the kind of listed objects", async () => {
  const item = { metadata: { name: "a", managedFields: [{ manager: "kubectl" }] } };
  const { answer } = script([() => listed("1", [item])], [
    (stream) =>
      stream.send("ADDED", { kind: "Own", apiVersion: "own/v1", metadata: { name: "b", managedFields: [] } }),
  ]);
  await using server = apiServer(answer);
  const objects: KubeObject[] = [];
  await observe(server, (event) => {
    if (event.type === "apply") objects.push(event.object);
    return isApply("b")(event);
  });
  assertEquals(objects, [
    { metadata: { name: "a" }, apiVersion: "example.test/v1", kind: "Report" },
    { kind: "Own", apiVersion: "own/v1", metadata: { name: "b" } },
  ]);
});

Deno.test("watch() resumes after the server ends a watch, from the last bookmark, without a new list", async () => {
  const { asked, answer } = script([() => listed("5", [])], [
    (stream) => {
      stream.send("BOOKMARK", object("", "17"));
      stream.end();
    },
    (stream) => stream.send("ADDED", object("a", "18")),
  ]);
  await using server = apiServer(answer);
  const { told } = await observe(server, isApply("a"));
  assertEquals(told, ["init", "synced 5", "apply a"]);
  assertEquals(asked, ["list", "watch 5", "watch 17"]);
});

Deno.test("watch() relists after 410, as an answer or as a frame, and resumes from the new resourceVersion", async () => {
  const { asked, answer } = script([
    () => listed("5", [object("a", "1")]),
    () => listed("20", []),
    () => listed("30", []),
  ], [
    () => status(410, { reason: "Expired" }),
    (stream) => stream.send("ERROR", { kind: "Status", code: 410, reason: "Gone", message: "too old" }),
    (stream) => stream.send("ADDED", object("z", "31")),
  ]);
  await using server = apiServer(answer);
  const { told } = await observe(server, isApply("z"));
  assertEquals(told, [
    "init",
    "apply a",
    "synced 5",
    "failing: expired",
    "init",
    "synced 20",
    "failing: expired",
    "init",
    "synced 30",
    "apply z",
  ]);
  assertEquals(asked, ["list", "watch 5", "list", "watch 20", "list", "watch 30"]);
});

Deno.test("watch() waits between pages that hold nothing, which an API server may send without end", async () => {
  const empty = () => listed("4", [], "more");
  const { answer } = script([empty, empty, empty, () => listed("5", [object("a", "1")])], []);
  await using server = apiServer(answer);
  const { told, waits } = await observe(server, (event) => event.type === "synced");
  assertEquals(told, ["init", "apply a", "synced 5"]);
  assertEquals(waits, [250, 500, 1_000]);
});

Deno.test("watch() starts the list over when its continue token expires", async () => {
  const { asked, answer } = script([
    () => listed("5", [object("a", "1")], "more"),
    () => status(410, { reason: "Expired" }),
    () => listed("9", [object("b", "8")]),
  ], []);
  await using server = apiServer(answer);
  const { told } = await observe(server, (event) => event.type === "synced");
  assertEquals(told, ["init", "apply a", "failing: expired", "init", "apply b", "synced 9"]);
  assertEquals(asked, ["list", "list more", "list"]);
});

Deno.test("watch() retries errors forever with growing waits, and reports the state of the resource", async () => {
  const refusals = [500, 503, 429, 403, 404, 401, 401].map((code) => () => status(code));
  const { answer } = script([...refusals, () => new Response("{"), () => listed("1", [])], []);
  await using server = apiServer(answer);
  const { told, states, waits } = await observe(server, (event) => event.type === "synced");
  assertEquals(told.filter((word) => word !== "init"), [
    "failing: server",
    "failing: server",
    "failing: throttled",
    "forbidden: forbidden",
    "absent: absent",
    "failing: unauthorized",
    "failing: garbled",
    "synced 1",
  ]);
  assertEquals(waits, [250, 500, 1_000, 250, 500, 2_000, 4_000]);
  assertEquals(states.filter((state) => state !== "listing"), [
    "failing",
    "failing",
    "failing",
    "forbidden",
    "absent",
    "failing",
    "failing",
    "synced",
  ]);
});

Deno.test("watch() honours the Retry-After of a list and of an ERROR frame", async () => {
  const { answer } = script([() => status(429, {}, { "retry-after": "2" }), () => listed("1", [])], [
    (stream) => stream.send("ERROR", { code: 429, details: { retryAfterSeconds: 3 } }),
    (stream) => stream.send("ADDED", object("a", "2")),
  ]);
  await using server = apiServer(answer);
  const waits = backoff({ random: () => 0 });
  assertEquals((await observe(server, isApply("a"), { backoff: waits })).waits, [2_000, 3_000]);
});

Deno.test("watch() waits as ever where the Retry-After of an ERROR frame is no number", async () => {
  const refused = ["soon", {}, null, -5].map((retryAfterSeconds) => (stream: ScriptedWatch) =>
    stream.send("ERROR", { code: 429, details: { retryAfterSeconds } })
  );
  const { answer } = script([() => listed("1", [])], [
    ...refused,
    (stream) => stream.send("ADDED", object("a", "2")),
  ]);
  await using server = apiServer(answer);
  assertEquals((await observe(server, isApply("a"))).waits, [250, 500, 1_000, 2_000]);
});

Deno.test("watch() resumes from its resourceVersion after a broken connection, and reports synced again", async () => {
  const { asked, answer } = script([() => listed("5", []), () => listed("6", [])], [
    (stream) => {
      stream.send("ADDED", object("a", "6"));
      stream.send("BOOKMARK", object("", "6"));
    },
    () => status(503),
    (stream) => stream.send("ADDED", object("b", "7")),
  ]);
  await using server = apiServer(answer);
  const { told, states } = await observe(server, isApply("b"), { idleMs: 400 });
  assertEquals(told, ["init", "synced 5", "apply a", "failing: timeout", "failing: server", "apply b"]);
  assertEquals(asked, ["list", "watch 5", "list", "watch 6", "watch 6"]);
  assertEquals(
    server.seen[2]!.query.get("limit"),
    "1",
    "the list after the silence reads the revision alone",
  );
  assertEquals(states, ["listing", "synced", "failing", "synced"]);
});

Deno.test("watch() renews a quiet watch of a resource without bookmarks, and relists without an error when its version expired", async () => {
  const metrics = createMetrics();
  const { asked, answer } = script([() => listed("5", []), () => listed("8", []), () => listed("9", [])], [
    () => {},
    () => status(410, { reason: "Expired" }),
    (stream) => stream.send("ADDED", object("a", "10")),
  ]);
  await using server = apiServer(answer);
  const { told, states } = await observe(server, isApply("a"), { idleMs: 400, metrics });
  assertEquals(told, ["init", "synced 5", "init", "synced 9", "apply a"]);
  assertEquals(asked, ["list", "watch 5", "list", "watch 5", "list", "watch 9"]);
  assertEquals(states, ["listing", "synced", "listing", "synced"]);
  const { values } = await metrics.watchReconnects.get();
  assertEquals(values.map(({ labels, value }) => [labels.reason, value]), [["silent", 1], ["expired", 1]]);
});

Deno.test("watch() relists when a silent watch waits for a revision above that of a restored server", async () => {
  const { asked, answer } = script(
    [() => listed("500", []), () => listed("60", []), () => listed("61", [])],
    [
      () => {},
      (stream) => stream.send("ADDED", object("a", "62")),
    ],
  );
  await using server = apiServer(answer);
  const { told } = await observe(server, isApply("a"), { idleMs: 400 });
  assertEquals(told, ["init", "synced 500", "failing: rewound", "init", "synced 61", "apply a"]);
  assertEquals(asked, ["list", "watch 500", "list", "list", "watch 61"]);
});

Deno.test("watch() relists when the revision of a frame goes backwards, but not for a deleted object's own version", async () => {
  const { asked, answer } = script([() => listed("100", []), () => listed("70", [])], [
    (stream) => {
      stream.send("ADDED", object("a", "101"));
      stream.send("DELETED", object("b", "42"));
      stream.send("MODIFIED", object("a", "69"));
    },
    (stream) => stream.send("ADDED", object("c", "71")),
  ]);
  await using server = apiServer(answer);
  const { told } = await observe(server, isApply("c"));
  assertEquals(told, [
    "init",
    "synced 100",
    "apply a",
    "delete b",
    "failing: rewound",
    "init",
    "synced 70",
    "apply c",
  ]);
  assertEquals(asked, ["list", "watch 100", "list", "watch 70"]);
});

Deno.test("watch() compares no versions that are not numbers", async () => {
  const { answer } = script([() => listed("b-2", [])], [
    (stream) => stream.send("ADDED", object("a", "a-1")),
  ]);
  await using server = apiServer(answer);
  assertEquals((await observe(server, isApply("a"))).told, ["init", "synced b-2", "apply a"]);
});

Deno.test("relist() lists at once while watching, and after a list in progress", async () => {
  const metrics = createMetrics();
  const { asked, answer } = script([
    () => listed("5", [object("a", "1"), object("b", "2")]),
    () => listed("6", [object("b", "2")]),
    () => listed("7", []),
  ], [() => events.relist()]);
  await using server = apiServer(answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const heard: string[] = [];
  const events: Watch = watch(api, REPORTS, { signal: stop.signal, metrics });
  for await (const event of events) {
    heard.push(told(event));
    if (heard.length === 2) events.relist();
    if (heard.at(-1) === "synced 7") stop.abort();
  }
  assertEquals(heard.slice(0, 4), ["init", "apply a", "apply b", "synced 5"]);
  assertEquals(heard.slice(4), ["init", "apply b", "synced 6", "init", "synced 7"]);
  assertEquals(asked, ["list", "list", "watch 6", "list"]);
  const { values } = await metrics.watchReconnects.get();
  assertEquals(values.map(({ labels, value }) => [labels.reason, value]), [["relist", 1]]);
});

Deno.test("relistNamespace() lists that namespace while watching, and resumes from where the watch was", async () => {
  const { asked, answer } = script([
    () => listed("5", [object("a", "1")]),
    () => listed("8", [object("a", "7")], "more"),
    () => listed("9", [object("b", "9")]),
    () => listed("10", []),
  ], [
    () => events.relistNamespace("team-a"),
    (stream) => stream.send("DELETED", object("a", "10")),
  ]);
  await using server = apiServer(answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const heard: string[] = [];
  const states: WatchState[] = [];
  const onState = (state: WatchState) => states.push(state);
  const events: Watch = watch(api, REPORTS, { signal: stop.signal, labelSelector: "x=y", onState });
  for await (const event of events) {
    heard.push(told(event));
    if (heard.at(-1) === "delete a") stop.abort();
  }
  assertEquals(heard, ["init", "apply a", "synced 5", "apply a", "apply b", "delete a"]);
  assertEquals(asked, ["list", "watch 5", "list", "list more", "watch 5"]);
  assertEquals(states, ["listing", "synced"]);
  const page = server.seen.find(({ query }) => query.get("continue") === "more");
  assertEquals(page?.path, "/apis/example.test/v1/namespaces/team-a/reports");
  assertEquals(page?.query.get("labelSelector"), "x=y");
});

Deno.test("relistNamespace() tries a list that failed again, and a full list replaces it", async () => {
  const lists = [
    () => listed("5", []),
    () => status(500, {}),
    () => listed("6", [object("a", "1")]),
    () => listed("7", [object("a", "1")]),
  ];
  const { asked, answer } = script(lists, [
    () => events.relistNamespace("team-a"),
    () => {
      events.relistNamespace("team-a");
      events.relist();
    },
  ]);
  await using server = apiServer(answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const heard: string[] = [];
  const sleep = () => Promise.resolve();
  const events: Watch = watch(api, REPORTS, { signal: stop.signal, sleep });
  for await (const event of events) {
    heard.push(told(event));
    if (heard.at(-1) === "synced 7") stop.abort();
  }
  assertEquals(heard, ["init", "synced 5", "failing: server", "apply a", "init", "apply a", "synced 7"]);
  assertEquals(asked, ["list", "watch 5", "list", "list", "watch 5", "list"]);
});

Deno.test("relist() during a back-off lists when the wait is over", async () => {
  const { asked, answer } = script([() => listed("5", []), () => listed("6", [])], [() => status(503)]);
  await using server = apiServer(answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const heard: string[] = [];
  const sleep = () => Promise.resolve(events.relist());
  const events: Watch = watch(api, REPORTS, { signal: stop.signal, sleep });
  for await (const event of events) {
    heard.push(told(event));
    if (heard.at(-1) === "synced 6") stop.abort();
  }
  assertEquals(heard, ["init", "synced 5", "failing: server", "init", "synced 6"]);
  assertEquals(asked, ["list", "watch 5", "list"]);
});

Deno.test("watch() relists when a line cannot be read, since a resumed watch would get it again", async () => {
  const { asked, answer } = script([() => listed("5", []), () => listed("7", []), () => listed("9", [])], [
    (stream) => stream.raw("x".repeat(600)),
    (stream) => stream.raw("{garbled\n"),
    (stream) => stream.send("ADDED", object("a", "10")),
  ]);
  await using server = apiServer(answer);
  const { told } = await observe(server, isApply("a"), { transport: { maxLineBytes: 500 } });
  assertEquals(told, [
    "init",
    "synced 5",
    "failing: too_large",
    "init",
    "synced 7",
    "failing: garbled",
    "init",
    "synced 9",
    "apply a",
  ]);
  assertEquals(asked, ["list", "watch 5", "list", "watch 7", "list", "watch 9"]);
});

Deno.test("watch() does not count the consumer's own time as silence", async () => {
  const both = (stream: ScriptedWatch) => {
    stream.send("ADDED", object("slow", "6"));
    stream.send("ADDED", object("next", "7"));
  };
  await using server = apiServer(script([() => listed("5", [])], Array(100).fill(both)).answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const idleMs = 50;
  let after: string | undefined;
  for await (const event of watch(api, REPORTS, { signal: stop.signal, idleMs })) {
    if (after === "") {
      after = told(event);
      stop.abort();
    } else if (isApply("slow")(event)) {
      after = "";
      await new Promise((resolve) => setTimeout(resolve, 2 * idleMs));
    }
  }
  assertEquals(after, "apply next");
});

Deno.test("watch() requests a page that is too large again with fewer objects, and full pages of small objects", async () => {
  const { asked, answer } = script([
    () => listed("1", [object("a", "1")], "more"),
    () => listed("1", [object("x".repeat(2_000), "1")]),
    () => listed("1", [object("b", "1")]),
  ], [() => status(410)]);
  await using server = apiServer(answer);
  let synced = 0;
  const { told } = await observe(server, (event) => event.type === "synced" && ++synced === 2, {
    pageSize: 100,
    transport: { maxBodyBytes: 1_000 },
  });
  assertEquals(told, [
    "init",
    "apply a",
    "apply b",
    "synced 1",
    "failing: expired",
    "init",
    "synced 99",
  ]);
  assertEquals(asked, ["list", "list more", "list more", "watch 1", "list"]);
  assertEquals(limits(server), ["100", "100", "25", "100"]);
});

Deno.test("watch() reports an object that is too large for any page", async () => {
  const large = () => listed("1", [object("x".repeat(2_000), "1")]);
  const { answer } = script([large, large, () => listed("2", [])], []);
  await using server = apiServer(answer);
  const { told } = await observe(server, (event) => event.type === "synced", {
    pageSize: 4,
    transport: { maxBodyBytes: 1_000 },
  });
  assertEquals(told, ["init", "failing: too_large", "init", "synced 2"]);
  assertEquals(limits(server), ["4", "1", "1"]);
});

Deno.test("watch() fits the number of objects on a page to their size: half of 4 MiB", async () => {
  const large = (name: string): KubeObject => ({ ...object(name, "1"), data: "x".repeat(100_000) });
  const page = (first: number, count: number) =>
    Array.from({ length: count }, (_, index) => large(`item-${first + index}`));
  const { answer } = script([
    () => listed("1", page(0, 10), "a"),
    () => listed("1", page(10, 20), "b"),
    () => listed("1", [object("small", "1")], "c"),
    () => listed("1", [object("last", "1")]),
  ], []);
  await using server = apiServer(answer);
  await observe(server, (event) => event.type === "synced");
  assertEquals(limits(server), ["500", "20", "20", "500"]);
});

Deno.test("watch() resets its waits only after a watch that lived long enough", async () => {
  let now = 0;
  const lives = [0, 0, 20_000, 0];
  const { answer } = script([() => listed("5", [])], [
    ...lives.map((life) => (stream: ScriptedWatch) => {
      now += life;
      stream.send("ERROR", { code: 500 });
    }),
    (stream) => stream.send("ADDED", object("a", "6")),
  ]);
  await using server = apiServer(answer);
  const clock = { now: () => now, monotonic: () => now };
  assertEquals((await observe(server, isApply("a"), { clock })).waits, [250, 500, 250, 500]);
});

Deno.test("watch() waits before the next watch if the server ends every watch at once", async () => {
  const end = (stream: ScriptedWatch) => stream.end();
  const { answer } = script([() => listed("5", [])], [
    end,
    end,
    (stream) => stream.send("ADDED", object("a", "6")),
  ]);
  await using server = apiServer(answer);
  assertEquals((await observe(server, isApply("a"))).waits, [250, 500]);
});

Deno.test("watch() ends at once when aborted while it waits for a frame, for a back-off, or before it begins", async () => {
  const { answer } = script([() => listed("5", [])], []);
  await using server = apiServer(answer);
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const opened = (state: WatchState) => state === "synced" && queueMicrotask(() => stop.abort());
  await Array.fromAsync(watch(api, REPORTS, { signal: stop.signal, onState: opened }));
  assertEquals(await Array.fromAsync(watch(api, REPORTS, { signal: stop.signal })), []);

  await using refusing = apiServer(() => status(503));
  using denied = createKubeClient(fixedConnection({ server: refusing.url }));
  const halt = new AbortController();
  const waits = backoff({ initialMs: 3_600_000, maxMs: 3_600_000, random: () => 1 });
  for await (const event of watch(denied, REPORTS, { signal: halt.signal, backoff: waits })) {
    if (event.type === "error") setTimeout(() => halt.abort());
  }
});

Deno.test("watch() counts reconnects, shows its last activity, and is synced only when all of its namespaces are", async () => {
  const metrics = createMetrics();
  const gauge = async (name: "informerSynced" | "watchLastActivity") => (await metrics[name].get()).values;
  await using server = apiServer(({ path, query }) => {
    if (query.has("watch")) {
      return path.includes("/bad/") ? status(500) : script([], []).answer({ query } as Seen);
    }
    return path.includes("/bad/") ? status(403) : listed("5", []);
  });
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const clock = { now: () => 5_000, monotonic: () => 0 };
  const stop = new AbortController();
  const options = { signal: stop.signal, metrics, clock };
  const good = watch(api, REPORTS, { ...options, namespace: "good" });
  assertEquals((await good.next()).value?.type, "init");
  assertEquals((await good.next()).value?.type, "synced");
  assertEquals((await gauge("informerSynced")).map(({ value }) => value), [1]);
  assertEquals((await gauge("watchLastActivity")).map(({ value }) => value), [5]);
  const bad = watch(api, REPORTS, { ...options, namespace: "bad" });
  assertEquals((await bad.next()).value?.type, "init");
  assertEquals((await bad.next()).value?.type, "error");
  assertEquals((await gauge("informerSynced")).map(({ value }) => value), [0]);
  await bad.return();
  assertEquals((await gauge("informerSynced")).map(({ value }) => value), [1]);
  await good.return();
  assertEquals(await gauge("informerSynced"), []);
  const { values } = await metrics.watchReconnects.get();
  assertEquals(values.map(({ labels, value }) => [labels, value]), [
    [{ resource: "reports.example.test", reason: "forbidden" }, 1],
  ]);
});

Deno.test("reasonOf() names anything else an error", () => {
  assertEquals(reasonOf(new TypeError("x")), "error");
});
