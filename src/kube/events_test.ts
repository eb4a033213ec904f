import { assertEquals, assertNotEquals, assertObjectMatch } from "@std/assert";
import { apiServer, type Seen, status } from "../../tests/support/api_server.ts";
import { fixedConnection } from "./api.ts";
import { createEventRecorder, type EventDraft, type EventRecorderOptions } from "./events.ts";
import { createKubeClient } from "./client.ts";

const FILTER: EventDraft = {
  regarding: {
    apiVersion: "v1",
    kind: "ConfigMap",
    name: "zen-watcher-filter",
    namespace: "zen-system",
    uid: "u",
  },
  type: "Warning",
  reason: "FilterRejected",
  message: "Cannot load filters",
};

function recorderTo(server: { url: string }, options: Partial<EventRecorderOptions> = {}) {
  const api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  let monotonic = 0;
  const waits: number[] = [];
  const recorder = createEventRecorder({
    api,
    signal: stop.signal,
    instance: "pod-1",
    clock: { now: () => Date.UTC(2025, 0, 2, 3, 4, 5, 6), monotonic: () => monotonic },
    random: () => 0.5,
    sleep: (ms) => {
      waits.push(ms);
      monotonic += ms;
      return Promise.resolve();
    },
    ...options,
  });
  return { ...recorder, waits, stop: () => stop.abort(), [Symbol.dispose]: () => api.close() };
}

const calls = (seen: readonly Seen[]) =>
  seen.map(({ method, path }) => `${method} ${path.split("/").slice(4).join("/")}`);
const echo = ({ body }: Seen) => Response.json(body);

Deno.test("event recorder creates an Event that kubectl describe shows", async () => {
  await using server = apiServer(echo);
  using recorder = recorderTo(server);
  recorder.record({ ...FILTER, message: `at sources\u001b[31m: ${"x".repeat(2_000)}` });
  await recorder.flush();
  assertEquals(calls(server.seen), ["POST zen-system/events"]);
  const { message, ...event } = server.seen[0]!.body as Record<string, unknown> & { message: string };
  assertEquals(message.startsWith("at sources: xxx"), true);
  assertEquals(message.length, 1_000);
  assertObjectMatch(event, {
    metadata: { name: "zen-watcher-filter.19424f8608e8000", namespace: "zen-system" },
    involvedObject: FILTER.regarding,
    type: "Warning",
    reason: "FilterRejected",
    count: 1,
    firstTimestamp: "2025-01-02T03:04:05Z",
    lastTimestamp: "2025-01-02T03:04:05Z",
    reportingInstance: "pod-1",
  });
});

Deno.test("event recorder counts repeats in one Event, and starts another when the server has forgotten it", async () => {
  let forgotten = false;
  await using server = apiServer((seen) => forgotten && seen.method === "PATCH" ? status(404) : echo(seen));
  using recorder = recorderTo(server);
  recorder.record(FILTER);
  await recorder.flush();
  recorder.record(FILTER);
  recorder.record(FILTER);
  recorder.record({ ...FILTER, reason: "Other" });
  await recorder.flush();
  const name = (server.seen[0]!.body as { metadata: { name: string } }).metadata.name;
  assertEquals(calls(server.seen), [
    "POST zen-system/events",
    `PATCH zen-system/events/${name}`,
    "POST zen-system/events",
  ]);
  assertEquals(server.seen[1]!.body, { count: 3, lastTimestamp: "2025-01-02T03:04:05Z" });
  forgotten = true;
  recorder.record(FILTER);
  await recorder.flush();
  assertEquals(calls(server.seen).slice(3), [`PATCH zen-system/events/${name}`, "POST zen-system/events"]);
  assertEquals((server.seen[4]!.body as { count: number }).count, 1);
});

Deno.test("event recorder writes a burst and then at its limited rate", async () => {
  await using server = apiServer(echo);
  using recorder = recorderTo(server, { burst: 3, refillMs: 5_000 });
  for (let index = 0; index < 5; index++) recorder.record({ ...FILTER, message: `mistake ${index}` });
  await recorder.flush();
  assertEquals(server.seen.length, 5);
  assertEquals(recorder.waits, [5_000, 5_000]);
});

Deno.test("event recorder limits the Events that wait", async () => {
  await using server = apiServer(echo);
  using recorder = recorderTo(server, { burst: 1_000 });
  for (let index = 0; index < 150; index++) recorder.record({ ...FILTER, message: `mistake ${index}` });
  await recorder.flush();
  assertEquals(server.seen.length, 100);
});

Deno.test("event recorder retries temporary errors, gives up refused Events, and continues with the next", async () => {
  await using server = apiServer((seen, index) =>
    index === 0 ? status(503) : index === 2 ? status(403) : echo(seen)
  );
  using recorder = recorderTo(server);
  for (const reason of ["First", "Second", "Third"]) recorder.record({ ...FILTER, reason });
  await recorder.flush();
  const reasons = server.seen.map(({ body }) => (body as { reason: string }).reason);
  assertEquals(reasons, ["First", "First", "Second", "Third"]);
});

Deno.test("event recorder writes about cluster-scoped objects in the namespace default, and nothing once stopped", async () => {
  await using server = apiServer(echo);
  using recorder = recorderTo(server);
  recorder.record({ ...FILTER, regarding: { apiVersion: "v1", kind: "Node", name: "n" } });
  await recorder.flush();
  recorder.stop();
  recorder.record(FILTER);
  await recorder.flush();
  assertEquals(calls(server.seen), ["POST default/events"]);
  assertNotEquals(server.seen[0]!.body, undefined);
});
