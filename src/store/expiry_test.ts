import { assert, assertEquals } from "@std/assert";
import { ApiError } from "../kube/api.ts";
import { DAY_MS } from "../model/time.ts";
import type { FindingState } from "./findings.ts";
import { apiError, FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica, type LeadingReplicaOptions } from "../../tests/support/leader.ts";
import { type ObservationFields, storedObservation } from "../../tests/support/observation.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const NEVER = new AbortController().signal;

interface It {
  readonly time: VirtualTime;
  readonly kube: FakeKube;
  readonly leader: LeadingReplica;
}

async function leading(
  objects: (now: number) => readonly ObservationFields[],
  test: (it: It) => Promise<void>,
  options: Partial<LeadingReplicaOptions> = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  for (const fields of objects(time.now())) kube.put(storedObservation(fields));
  const leader = new LeadingReplica({ time, kube, ...options });
  try {
    await test({ time, kube, leader });
  } finally {
    await leader.kill();
  }
}

async function deleted({ metrics }: LeadingReplica): Promise<Record<string, number>> {
  const { values } = await metrics.observationsDeleted.get();
  return Object.fromEntries(values.map(({ labels, value }) => [`${labels.source} ${labels.reason}`, value]));
}

async function errors({ metrics }: LeadingReplica): Promise<string[]> {
  const { values } = await metrics.gcErrors.get();
  return values.filter(({ value }) => value > 0).map(({ labels, value }) =>
    `${labels.operation} ${labels.error_type} ${value}`
  );
}

const OLD = { source: "falco", kind: "occurrence", generation: 1 } as const;

Deno.test("an occurrence expires when its TTL has passed since its creation, even if it was repeated", () =>
  leading(
    (now) => [
      {
        ...OLD,
        id: 1,
        ttlSeconds: 3_600,
        createdAt: now - 3_600_000,
        status: { lastSeenAt: "2026-01-01T00:00:00Z" },
      },
      { ...OLD, id: 2, ttlSeconds: 3_600, createdAt: now - 3_599_000 },
    ],
    async ({ time, kube, leader }) => {
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals([await collected, kube.stored.length, leader.index.size], [1, 1, 1]);
      assertEquals(await deleted(leader), { "falco expired": 1 });
    },
  ));

Deno.test("an Observation without ttlSecondsAfterCreation has the default TTL", () =>
  leading(
    (now) => [7, 6.99].map((days, id) => ({ ...OLD, id, createdAt: now - days * DAY_MS })),
    async ({ time, kube, leader }) => {
      for (const object of kube.stored) {
        const { ttlSecondsAfterCreation: _ttl, ...spec } = object.spec;
        kube.put({ ...object, spec });
      }
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals(await collected, 1);
    },
  ));

const FINDING_CASES: readonly (readonly [FindingState, "Active" | "Resolved", string, boolean])[] = [
  ["reported", "Active", "an Active finding that its source still reports lives on", false],
  ["unknown", "Active", "none expires before its source's first complete evaluation", false],
  ["unknown", "Resolved", "nor does a Resolved one", false],
  ["ended", "Active", "one that ended is Resolved first", false],
  ["unseen", "Active", "so is one that nothing reports any more", false],
  ["absent", "Active", "one of an uninstalled resource does not count as reported", true],
  ["reported", "Resolved", "a Resolved one outlives its own TTL", false],
  ["ended", "Resolved", "also one that ended", false],
];

for (const [state, phase, title, expires] of FINDING_CASES) {
  Deno.test(`GC: ${title} (${state}, ${phase})`, () =>
    leading(
      (now) => [{
        source: "trivy",
        ttlSeconds: 3_600,
        createdAt: now - 2 * 3_600_000,
        status: {
          phase,
          ...(phase === "Resolved" && { resolvedAt: new Date(now - 3_600_000).toISOString() }),
        },
      }],
      async ({ time, kube, leader }) => {
        const collected = leader.expiry.collect(NEVER);
        await time.advance(1_000);
        await collected;
        assertEquals(kube.stored.length, expires ? 0 : 1);
      },
      { stateOf: () => state },
    ));
}

Deno.test("GC deletes Observations of this shard's namespaces, whatever their label, and leaves those of other shards", () =>
  leading(
    (now) => [
      { ...OLD, id: 1, namespace: "shop", instance: "renamed", createdAt: now - 30 * DAY_MS },
      {
        ...OLD,
        id: 2,
        namespace: "zen-system",
        resource: { namespace: "shop" },
        createdAt: now - 30 * DAY_MS,
      },
      { ...OLD, id: 3, namespace: "pay", createdAt: now - 30 * DAY_MS },
      {
        ...OLD,
        id: 4,
        namespace: "zen-system",
        resource: { namespace: "pay" },
        createdAt: now - 30 * DAY_MS,
      },
    ],
    async ({ time, kube, leader }) => {
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals(await collected, 2);
      assertEquals(kube.stored.map(({ spec }) => spec.resource?.namespace), ["pay", "pay"]);
    },
    { replica: { covers: (belongsTo) => belongsTo === "shop" } },
  ));

Deno.test("a Resolved finding is deleted 30 days after resolvedAt, whatever its own TTL", () =>
  leading(
    (now) =>
      [3_600, 31_000_000].map((ttlSeconds, id) => ({
        id,
        source: "trivy",
        ttlSeconds,
        createdAt: now - 40 * DAY_MS,
        status: { phase: "Resolved", resolvedAt: new Date(now - 30 * DAY_MS + 300_000).toISOString() },
      })),
    async ({ time, leader }) => {
      assertEquals(await leader.expiry.collect(NEVER), 0);
      await time.advance(600_000);
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals(await collected, 2);
    },
    { stateOf: () => "reported" },
  ));

Deno.test("a pushed finding's TTL runs from lastSeenAt", () =>
  leading(
    (now) => [{
      source: "alertmanager",
      ttlSeconds: 3_600,
      createdAt: now - DAY_MS,
      status: { lastSeenAt: new Date(now - 3_000_000).toISOString() },
    }],
    async ({ time, leader }) => {
      assertEquals(await leader.expiry.collect(NEVER), 0);
      await time.advance(600_000);
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals(await collected, 1);
    },
  ));

Deno.test("GC does not delete an Observation that changed since it was judged, and judges it again in the next round", () =>
  leading((now) => [{ ...OLD, createdAt: now - 30 * DAY_MS }], async ({ time, kube, leader }) => {
    kube.script = {
      before: ({ verb }) => {
        if (verb === "delete") kube.put(kube.stored[0]!);
      },
    };
    const collected = leader.expiry.collect(NEVER);
    await time.advance(1_000);
    assertEquals([await collected, kube.stored.length], [0, 1]);
    assertEquals(await errors(leader), [], "no error: the server did what it was asked to");
    kube.script = {};
    const again = leader.expiry.collect(NEVER);
    await time.advance(1_000);
    assertEquals(await again, 1);
  }));

Deno.test("GC keeps its pace, also when a clock moved by a month makes everything due at once", () =>
  leading(
    (now) => Array.from({ length: 200 }, (_, id) => ({ ...OLD, id, createdAt: now })),
    async ({ time, kube, leader }) => {
      await time.advance(31 * DAY_MS);
      const collected = leader.expiry.collect(NEVER);
      await time.advance(5_000);
      assert(kube.count("delete") <= 51 && kube.count("delete") >= 49, `${kube.count("delete")} in 5 s`);
      await time.advance(20_000);
      assertEquals([await collected, kube.stored.length], [200, 0]);
    },
    { perSecond: 10 },
  ));

Deno.test("GC stops at its time-out, counts it, and continues in the next round", () =>
  leading(
    (now) => Array.from({ length: 50 }, (_, id) => ({ ...OLD, id, createdAt: now - 30 * DAY_MS })),
    async ({ time, kube, leader }) => {
      const collected = leader.expiry.collect(NEVER);
      await time.advance(3_000);
      const first = await collected;
      assert(first >= 15 && first <= 25, `${first}`);
      assertEquals(await errors(leader), ["collect timeout 1"]);
      const second = leader.expiry.collect(NEVER);
      await time.advance(2_100);
      assertEquals(kube.stored.length, 50 - first - await second);
    },
    { perSecond: 10, timeoutSeconds: 2 },
  ));

Deno.test("GC deletes nothing when another replica may hold the lease", () =>
  leading((now) => [{ ...OLD, createdAt: now - 30 * DAY_MS }], async ({ time, kube, leader }) => {
    leader.leads = false;
    const collected = leader.expiry.collect(NEVER);
    await time.advance(1_000);
    assertEquals([await collected, kube.count("delete")], [0, 0]);
  }));

Deno.test("GC counts errors by operation and type, and continues", () =>
  leading(
    (now) => Array.from({ length: 3 }, (_, id) => ({ ...OLD, id, createdAt: now - 30 * DAY_MS })),
    async ({ time, kube, leader }) => {
      const statuses = [403, 500];
      kube.script = {
        before: ({ verb }) => {
          const status = verb === "delete" ? statuses.pop() : undefined;
          if (status) throw apiError("delete", status, "");
        },
      };
      const series = async () => (await leader.metrics.gcErrors.get()).values.length;
      const before = await series();
      const collected = leader.expiry.collect(NEVER);
      await time.advance(1_000);
      assertEquals(await collected, 2, "a server's fault is tried again, a refusal is not");
      assertEquals((await errors(leader)).sort(), ["delete forbidden 1", "delete server 1"]);
      assertEquals(await series(), before, "each stood at 0 before");
    },
  ));

Deno.test("GC waits as long as the API server asks, and gives up an object after three attempts", () =>
  leading((now) => [{ ...OLD, createdAt: now - 30 * DAY_MS }], async ({ time, kube, leader }) => {
    let refusals = 2;
    kube.script = {
      before: ({ verb }) => {
        if (verb === "delete" && refusals-- > 0) throw new ApiError("delete", 429, {}, 10_000);
      },
    };
    const collected = leader.expiry.collect(NEVER);
    await time.advance(9_900);
    assertEquals(kube.count("delete"), 1);
    await time.advance(15_000);
    assertEquals([await collected, kube.count("delete")], [1, 3]);

    kube.put(storedObservation({ ...OLD, id: 2, createdAt: time.now() - 30 * DAY_MS }));
    refusals = Infinity;
    const never = leader.expiry.collect(NEVER);
    await time.advance(60_000);
    assertEquals([await never, kube.count("delete"), kube.stored.length], [0, 6, 1]);
  }));

Deno.test("GC runs at the start and at every interval, not before the index is complete", () =>
  leading(() => [], async ({ time, leader }) => {
    const end = new AbortController();
    const running = leader.expiry.run(end.signal);
    const runs = async () => (await leader.metrics.gcRuns.get()).values[0]?.value ?? 0;
    await time.advance(1_000);
    assertEquals(await runs(), 1);
    await time.advance(3 * 3_600_000);
    assertEquals(await runs(), 4);
    end.abort();
    await running;
  }));

Deno.test("a deleted Observation ends its dedup window: the next event creates one", () =>
  leading(() => [], async ({ time, kube, leader }) => {
    const long = { source: { windowMs: 30 * DAY_MS, ttlSeconds: 60 } };
    await leader.take([{}], long);
    await time.advance(61_000);
    const collected = leader.expiry.collect(NEVER);
    await time.advance(1_000);
    assertEquals(await collected, 1);
    assertEquals((await leader.take([{}], long)).created, 1);
    assertEquals(kube.stored.length, 1);
  }));

Deno.test("if an Observation is stored twice, the copy in its own namespace stays", () =>
  leading(
    () => [
      { id: 1, namespace: "shop" },
      { id: 1, namespace: "zen-system", resource: { namespace: "shop" } },
      { id: 2, namespace: "zen-system", resource: { namespace: "shop" } },
      { id: 3, namespace: "shop" },
      { id: 3, namespace: "zen-system", resource: { namespace: "pay" } },
    ],
    async ({ time, kube, leader }) => {
      const merged = leader.expiry.merge(NEVER);
      await time.advance(1_000);
      assertEquals(await merged, 1);
      assertEquals(
        kube.stored.map(({ metadata, spec }) => `${metadata.namespace} ${spec.resource?.namespace}`).sort(),
        ["shop shop", "shop shop", "zen-system pay", "zen-system shop"],
      );
      const { values } = await leader.metrics.observationsDeleted.get();
      assertEquals(values.map(({ labels }) => labels.reason), ["merged"]);
    },
  ));

Deno.test("nothing is deleted while the clocks of this process and the API server differ too much", () =>
  leading(
    (now) =>
      Array.from(
        { length: 120 },
        (_, id) => ({ ...OLD, id, namespace: "shop", createdAt: now - 30 * DAY_MS }),
      ),
    async ({ time, kube, leader }) => {
      leader.clocksAgree = false;
      const works = [
        leader.expiry.collect(NEVER),
        leader.expiry.evict(NEVER),
        leader.expiry.merge(NEVER),
      ];
      await time.advance(10_000);
      assertEquals([await Promise.all(works), kube.count("delete")], [[0, 0, 0], 0]);
      leader.clocksAgree = true;
      const collected = leader.expiry.collect(NEVER);
      leader.clocksAgree = false;
      await time.advance(10_000);
      assertEquals([await collected, kube.count("delete")], [0, 0], "nor once they do so no more");
      leader.clocksAgree = true;
      const again = leader.expiry.collect(NEVER);
      await time.advance(10_000);
      assertEquals(await again, 120);
    },
  ));
