import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type ApiServer,
  apiServer,
  type ScriptedWatch,
  status,
  watchStream,
} from "../../tests/support/api_server.ts";
import { LEASE_PATH, leaseServer } from "../../tests/support/lease_server.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { fixedConnection, type KubeApi } from "./api.ts";
import {
  createLeaderElection,
  holderIdentity,
  type LeaderElectionOptions,
  type LeaderWork,
  microTime,
  NotLeaderError,
  readRecord,
} from "./lease.ts";
import { sleep } from "./retry.ts";
import { createKubeClient } from "./client.ts";

function virtualTime() {
  let monotonic = 0;
  let wall = Date.UTC(2025, 0, 2, 3, 4, 5, 678);
  return {
    now: () => wall,
    monotonic: () => monotonic,
    tick: (ms: number, wallMs = ms) => {
      monotonic += ms;
      wall += wallMs;
    },
  };
}

interface Started {
  readonly signal: AbortSignal;
}

/** A candidate whose leadership a test can await. Its sleeps pass at once and move its clock. */
function candidate(
  server: ApiServer,
  options: Partial<LeaderElectionOptions & LeaderWork> & { api?: KubeApi } = {},
) {
  const api = createKubeClient(fixedConnection({ server: server.url }));
  const clock = virtualTime();
  const metrics = createMetrics();
  const stop = new AbortController();
  let started = Promise.withResolvers<Started>();
  const election = createLeaderElection({
    api,
    namespace: "zen-system",
    name: "election",
    identity: "me",
    clock,
    random: () => 0,
    // Real time for the release, however busy the machine; the sleeps that share it pass at once.
    stopGraceMs: 10_000,
    sleep: async (ms, signal) => {
      // Lets the server's answers through between two steps of virtual time. An abort ends the timer.
      await sleep(0, signal);
      if (!signal?.aborted) clock.tick(ms);
    },
    metrics,
    ...options,
  });
  const running = election.run(stop.signal, {
    onStarted: (signal) => started.resolve({ signal }),
    ...options,
  });
  running.catch(() => {});
  return {
    election,
    clock,
    metrics,
    running,
    started: () => started.promise,
    again: () => started = Promise.withResolvers(),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running.catch(() => {});
      api.close();
    },
    stop: () => stop.abort(),
  };
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });

const value = async (metric: { get(): Promise<{ values: { value: number }[] }> }) =>
  (await metric.get()).values[0]?.value;

Deno.test("leader election creates the lease, renews it and releases it when stopped", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  await using me = candidate(server);
  const { signal } = await me.started();
  assert(me.election.isLeader());
  me.election.assertLeader();
  assertEquals(me.election.leader(), "me");
  assertEquals(await value(me.metrics.isLeader), 1);
  assertEquals(await value(me.metrics.leaderTransitions), 1);
  while (state.changes.length < 4) await new Promise((resolve) => setTimeout(resolve));
  const [created, renewed] = state.changes;
  assertEquals(created, {
    holderIdentity: "me",
    leaseDurationSeconds: 15,
    acquireTime: "2025-01-02T03:04:05.678000Z",
    renewTime: "2025-01-02T03:04:05.678000Z",
    leaseTransitions: 0,
  });
  assertEquals(renewed, { ...created!, renewTime: "2025-01-02T03:04:07.678000Z" });
  assert(!signal.aborted);
  me.stop();
  await me.running;
  assert(signal.aborted);
  assert(!me.election.isLeader());
  assertThrows(() => me.election.assertLeader(), NotLeaderError, '"me" does not lead');
  assertEquals(await value(me.metrics.isLeader), 0);
  assertEquals(state.record()?.holderIdentity, "");
  assertEquals(state.record()?.leaseDurationSeconds, 1);
});

Deno.test("leader election waits for another's lease by its own clock, whatever times the record has", async () => {
  const state = leaseServer({
    holderIdentity: "other",
    renewTime: microTime(0),
    acquireTime: microTime(0),
    leaseTransitions: 4,
  });
  await using server = apiServer(state.answer);
  await using me = candidate(server);
  await me.started();
  assert(me.clock.monotonic() >= 15_000, `took over after ${me.clock.monotonic()} ms`);
  assert(me.clock.monotonic() < 18_000, `took over after ${me.clock.monotonic()} ms`);
  assertEquals(state.record()?.leaseTransitions, 5);
  assertEquals(await value(me.metrics.leaderTransitions), 1);
});

Deno.test("leader election starts its wait again whenever the record changes", async () => {
  const state = leaseServer({ holderIdentity: "other", renewTime: "1" });
  let renewals = 0;
  await using server = apiServer((seen) => {
    const isRead = seen.method === "GET" && seen.path === `${LEASE_PATH}/election`;
    if (isRead && renewals < 20) state.set({ renewTime: String(++renewals) });
    return state.answer(seen);
  });
  await using me = candidate(server);
  await me.started();
  // 20 reads 2 s apart, each of a changed record, and then the 15 s of silence.
  assert(me.clock.monotonic() >= 19 * 2_000 + 15_000, `took over after ${me.clock.monotonic()} ms`);
});

Deno.test("leader election takes over as soon as the lease is released or deleted, long before the next try", async () => {
  for (const free of ["release", "delete"] as const) {
    const state = leaseServer({ holderIdentity: "other" });
    const watched = Promise.withResolvers<ScriptedWatch>();
    await using server = apiServer(async (seen) => {
      if (!seen.query.has("watch")) return await state.answer(seen);
      const stream = watchStream();
      stream.raw("\n");
      watched.resolve(stream);
      return stream.response;
    });
    // Sleeps that only a wake ends: nothing but the watch can bring the takeover.
    await using me = candidate(server, {
      sleep: (_ms, signal) =>
        new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true })),
    });
    const stream = await watched.promise;
    if (free === "release") {
      state.set({ holderIdentity: "" });
      stream.send("MODIFIED", { metadata: { name: "election" }, spec: { holderIdentity: "" } });
    } else {
      state.remove();
      stream.send("DELETED", { metadata: { name: "election" }, spec: { holderIdentity: "other" } });
    }
    await me.started();
    assertEquals(state.record()?.holderIdentity, "me");
    const watch = server.seen.find(({ query }) => query.has("watch"))!;
    assertEquals(watch.query.get("fieldSelector"), "metadata.name=election");
  }
});

Deno.test("leader election stops leading when renewals fail up to the deadline, and leads again afterwards", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  await using me = candidate(server);
  const { signal } = await me.started();
  const refusedAt = me.clock.monotonic();
  state.refuse(() => status(503));
  await untilAborted(signal);
  assert(signal.reason instanceof NotLeaderError);
  assert(!me.election.isLeader());
  assert(me.clock.monotonic() >= refusedAt + 10_000 - 2_000, "it tried until 10 s after its last renewal");
  me.again();
  state.refuse(undefined);
  await me.started();
  assert(me.election.isLeader());
  assertEquals(state.record()?.leaseTransitions, 0, "its own lease is no transition");
});

Deno.test("leader election notices at once that the process was suspended past its deadline", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  const asleep = (_ms: number, signal?: AbortSignal) =>
    new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
  await using me = candidate(server, { sleep: asleep });
  await me.started();
  me.clock.tick(9_999);
  me.election.assertLeader();
  me.clock.tick(1);
  assertThrows(() => me.election.assertLeader(), NotLeaderError);
});

Deno.test("leader election stops by the wall clock if the monotonic clock stopped while the machine was paused", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  const asleep = (_ms: number, signal?: AbortSignal) =>
    new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
  await using me = candidate(server, { sleep: asleep });
  await me.started();
  me.clock.tick(0, 15_000);
  assertThrows(() => me.election.assertLeader(), NotLeaderError);
});

Deno.test("leader election stops when another holds the lease, and does not change that lease", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  await using me = candidate(server, { sleep: (_ms, signal) => sleep(0, signal) });
  const { signal } = await me.started();
  state.set({ holderIdentity: "thief" });
  await untilAborted(signal);
  me.stop();
  await me.running;
  assertEquals(state.record()?.holderIdentity, "thief");
  assertEquals(me.election.leader(), "thief");
  assertEquals(await value(me.metrics.leaderTransitions), 2);
});

Deno.test("leader election continues when its lease was changed or deleted", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  await using me = candidate(server);
  const { signal } = await me.started();
  const renewedAfter = async (change: () => void) => {
    change();
    const count = state.changes.length;
    while (state.changes.length < count + 2) await new Promise((resolve) => setTimeout(resolve));
    assertEquals(state.record()?.holderIdentity, "me");
  };
  await renewedAfter(() => state.set({}));
  await renewedAfter(() => state.remove());
  assert(!signal.aborted);
});

Deno.test("leader election releases the lease after the stop interrupted a renewal", async () => {
  const state = leaseServer();
  const renewed = Promise.withResolvers<void>();
  const later = Promise.withResolvers<void>();
  let cut = false;
  await using server = apiServer(async (seen) => {
    const response = await state.answer(seen);
    if (seen.method === "PUT" && !cut) {
      // Applied, but its answer does not arrive.
      cut = true;
      renewed.resolve();
      await later.promise;
    }
    return response;
  });
  await using me = candidate(server);
  await renewed.promise;
  me.stop();
  await me.running;
  later.resolve();
  assertEquals(state.record()?.holderIdentity, "");
});

Deno.test("leader election releases the lease and fails when the leader's work fails", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  await using me = candidate(server, { onStarted: () => Promise.reject(new Error("no informers")) });
  await assertRejects(() => me.running, Error, "no informers");
  assertEquals(state.record()?.holderIdentity, "");
});

Deno.test("leader election releases the lease though the work does not end in time", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  const work = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  await using me = candidate(server, {
    onStarted: () => {
      began.resolve();
      return work.promise;
    },
  });
  await began.promise;
  me.stop();
  await me.running;
  assertEquals(state.record()?.holderIdentity, "");
  work.resolve();
});

Deno.test("leader election lets one of two candidates lead at a time, and the other after it", async () => {
  const state = leaseServer();
  await using server = apiServer(state.answer);
  let leading = 0;
  const sleep = (_ms: number, signal?: AbortSignal) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 5);
      signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  const options = (identity: string) => {
    const led = Promise.withResolvers<void>();
    return {
      led: led.promise,
      identity,
      sleep,
      onStarted(signal: AbortSignal) {
        assertEquals(++leading, 1);
        signal.addEventListener("abort", () => leading--);
        led.resolve();
      },
    };
  };
  const [a, b] = [options("a"), options("b")];
  await using first = candidate(server, a);
  await using second = candidate(server, b);
  await Promise.race([a.led, b.led]);
  const leader = first.election.isLeader() ? first : second;
  leader.stop();
  await Promise.all([a.led, b.led]);
  await leader.running;
  assertEquals(state.record()?.leaseTransitions, 1);
});

Deno.test("holderIdentity() gives two processes of one Pod name two identities", () => {
  const [one, other] = [holderIdentity("zen-watcher-0"), holderIdentity("zen-watcher-0")];
  assertMatch(one, /^zen-watcher-0_[0-9a-f-]{36}$/);
  assertNotEquals(one, other);
});

Deno.test("readRecord() reads an invalid record as a free lease, microTime() has six digits", () => {
  const lease = {
    metadata: {},
    spec: { holderIdentity: 7, leaseDurationSeconds: -1, leaseTransitions: "x" },
  };
  assertEquals(readRecord(lease).holderIdentity, "");
  assertEquals(readRecord({ metadata: {} }).leaseTransitions, 0);
  assertMatch(microTime(0), /^1970-01-01T00:00:00\.000000Z$/);
});
