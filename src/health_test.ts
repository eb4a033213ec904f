import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { settled, VirtualTime } from "../tests/support/virtual_time.ts";
import { createCaches } from "./app/caches.ts";
import { createLeader } from "./app/leader.ts";
import { createShared } from "./app/shared.ts";
import { Health } from "./health.ts";
import { ApiError, type KubeObject, NetworkError, type ResourceType } from "./kube/api.ts";
import type { KubeClient } from "./kube/client.ts";
import { createConditions } from "./kube/conditions.ts";
import { every } from "./kube/retry.ts";
import { type Runnable, RunnableGroup, untilAborted } from "./lifecycle.ts";
import { INGESTERS } from "./mapped/kinds.ts";
import type { Beat } from "./model/beat.ts";
import { readSettings } from "./settings.ts";
import { createMetrics } from "./telemetry/metrics.ts";

/** Runs tasks in virtual time, observed by a health. */
async function play(
  tasksOf: (time: VirtualTime) => readonly Runnable[],
  test: (world: { time: VirtualTime; health: Health; stop: () => Promise<void> }) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const health = new Health(time, createMetrics());
  const group = new RunnableGroup(tasksOf(time), health);
  group.start();
  await settled();
  try {
    await test({ time, health, stop: () => group.stop() });
  } finally {
    await group.stop();
  }
}

Deno.test("health names the task that is stuck, and since when; a task that waits for work is not", async () => {
  const task = (name: string, round: (beat: Beat) => void): Runnable => ({
    name,
    run(signal, beat) {
      round(beat);
      return untilAborted(signal);
    },
  });
  await play(() => [
    task("stuck", (beat) => beat.of("reader").within(10_000)),
    task("slow", (beat) => beat.within(3_600_000)),
    task("waiting", (beat) => {
      beat.within(10_000);
      beat.idle();
    }),
  ], async ({ time, health, stop }) => {
    await time.advance(10_000);
    assert(health.live().ok);
    await time.advance(5_000);
    const { ok, reasons, checks } = health.live();
    assert(!ok);
    assertEquals(reasons, ["stuck: reader has been stuck for 15 s: a round takes at most 10 s"]);
    assertEquals(checks, { stuck: false, "stuck: reader": false, slow: true, waiting: true });
    await stop();
    assert(health.live().ok, "a task that was stopped is not stuck");
  });
});

Deno.test("health names the task, and the loop of a task, that never began to beat", async () => {
  await play(() => [
    { name: "silent", run: untilAborted },
    {
      name: "half silent",
      run(signal, beat) {
        beat.of("one").idle();
        beat.of("other");
        return untilAborted(signal);
      },
    },
  ], async ({ time, health }) => {
    await time.advance(60_000);
    assert(health.live().ok);
    await time.advance(1_000);
    const { reasons, checks } = health.live();
    assertEquals(reasons.map((reason) => reason.split(" has been")[0]), [
      "silent: start",
      "half silent: other: start",
    ]);
    assertEquals([checks["silent"], checks["half silent"]], [false, false]);
  });
});

Deno.test("a task whose work comes every ten minutes is alive before its first", async () => {
  let works = 0;
  await play((time) => [{
    name: "rare",
    run: (signal, beat) => every(600_000, () => void works++, { signal, beat, sleep: time.sleep }),
  }], async ({ time, health }) => {
    await time.advance(300_000);
    assertEquals([health.live().reasons, works], [[], 0]);
    await time.advance(400_000);
    assertEquals([health.live().reasons, works], [[], 1]);
  });
});

Deno.test("health names the task whose work of every second failed", async () => {
  const broken = () => {
    throw new Error("Cannot count");
  };
  await play((time) => [{
    name: "broken",
    run: (signal, beat) => every(1_000, broken, { signal, beat, sleep: time.sleep }),
  }], async ({ time, health }) => {
    assert(health.live().ok);
    await time.advance(1_000);
    assertEquals(health.live().reasons, ["broken has ended"]);
  });
});

/**
 * An API server that answers what the Lease needs, so that this program leads, and everything else as `answer` says. A
 * request ends when its signal aborts.
 */
function apiThat(answer: () => Promise<never>, { leads = true } = {}): KubeClient {
  let lease: KubeObject | undefined;
  const ask = (...args: readonly unknown[]): Promise<never> => {
    const { signal } = args.at(-1) as { readonly signal?: AbortSignal };
    return Promise.race([
      answer(),
      ...(signal ? [untilAborted(signal).then(() => Promise.reject(signal.reason))] : []),
    ]);
  };
  const store = (type: ResourceType, object: KubeObject, options: object) =>
    type.plural === "leases" && leads ? Promise.resolve(lease = object) : ask(options);
  async function* follow(_type: ResourceType, options: object) {
    yield await ask(options);
  }
  const fake = {
    get: ({ plural }: ResourceType, _name: string, options: object) =>
      plural !== "leases" || !leads
        ? ask(options)
        : lease
        ? Promise.resolve(lease)
        : Promise.reject(NOT_FOUND),
    create: store,
    replace: store,
    list: ask,
    page: ask,
    patch: ask,
    delete: ask,
    getPath: ask,
    listBytes: follow,
    watch: follow,
    close() {},
    [Symbol.dispose]() {},
  };
  return fake as unknown as KubeClient;
}

/** Runs the program's own groups in virtual time, with the longest waits. */
async function playProgram(
  api: KubeClient,
  test: (world: { time: VirtualTime; health: Health }) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const recording = new AbortController();
  const shared = createShared({
    settings: readSettings(() => undefined),
    connect: () => api,
    recording: recording.signal,
    clock: time,
    sleep: time.sleep,
    random: () => 1,
  });
  const { settings, states, health } = shared;
  const caches = createCaches(shared);
  const feeding = { settings, states, intake: caches.intake, payloadError() {}, noteEvents() {} };
  const leader = createLeader(shared, { caches, feeding });
  leader.pulled.set(caches.sources.all);
  caches.group.start();
  leader.group.start();
  await settled();
  try {
    await test({ time, health });
  } finally {
    await leader.group.stop();
    await caches.group.stop();
    recording.abort();
  }
}

const NOT_FOUND = new ApiError("get", 404, {});
const FAULTS: Readonly<Record<string, () => Error>> = {
  "does not answer": () => new NetworkError("Cannot list: connection refused", { fault: "unreachable" }),
  "refuses everything": () => new ApiError("list", 403, {}),
  "asks for long waits": () => new ApiError("list", 503, {}, 3_600_000),
  "serves none of the resources": () => NOT_FOUND,
};
for (const [fault, error] of Object.entries(FAULTS)) {
  for (const leads of [true, false]) {
    const whose = leads ? "the leader" : "a follower";
    Deno.test(`health of ${whose} is never down for an API server that ${fault}, however long`, async () => {
      const api = apiThat(() => Promise.reject(error()), { leads });
      await playProgram(api, async ({ time, health }) => {
        for (let minutes = 0; minutes < 60; minutes++) {
          await time.advance(60_000);
          assertEquals(health.live().reasons, [], `after ${minutes} minutes`);
        }
        const running = Object.keys(health.live().checks).filter((name) => !name.includes(": "));
        assertEquals(running.includes("expiry"), leads, `${running}`);
      });
    });
  }
}

/** Loops that send requests, or wait for their answers, from the start. */
const ASKING: Readonly<Record<string, readonly string[]>> = {
  "a follower": [
    "index",
    "readiness",
    "exceptions: watch",
    "discovery",
    "filters: ConfigMap",
    "filters: stored filters",
    "ingesters: Ingester",
    "ingesters: ObservationMapping",
    "leader election",
  ],
  "the leader": ["index", "pulled feeds: kube-bench configmaps", "pulled feeds: checkov configmaps"],
};
for (const [whose, loops] of Object.entries(ASKING)) {
  Deno.test(`health of ${whose} is down for each task whose request never ends`, async () => {
    const api = apiThat(() => new Promise(() => {}), { leads: whose === "the leader" });
    await playProgram(api, async ({ time, health }) => {
      await time.advance(400_000);
      const { reasons } = health.live();
      for (const loop of loops) assertStringIncludes(reasons.join("\n"), `${loop} has been stuck for`);
    });
  });
}

Deno.test("health is down for conditions whose write never ends", async () => {
  const metadata = { name: "a", namespace: "zen-system", uid: "u", generation: 1 };
  await play((time) => {
    const api = apiThat(() => new Promise(() => {}));
    const conditions = createConditions({ api, clock: time, sleep: time.sleep, isLeader: () => true });
    conditions.set(INGESTERS, { kind: "Ingester", metadata }, {
      status: "True",
      reason: "InForce",
      message: "",
      observedGeneration: 1,
    });
    return [{ name: "conditions", run: (signal, beat) => conditions.run(signal, beat) }];
  }, async ({ time, health }) => {
    await time.advance(400_000);
    assertStringIncludes(health.live().reasons.join("\n"), "conditions has been stuck for");
  });
});
