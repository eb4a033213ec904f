/** The ends of pushed findings: only the sender tells of them, so none may be lost. */
import { assertEquals } from "@std/assert";
import type { FakeCall } from "../../tests/support/fake_kube.ts";
import { apiError, FakeKube } from "../../tests/support/fake_kube.ts";
import { Replica, type ReplicaOptions } from "../../tests/support/replica.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";

const ALERT = { identity: { alertname: "DiskFull" } };
const END = { ...ALERT, resolved: true };

for (const [name, together] of [["in one request", true], ["in another request", false]] as const) {
  Deno.test(`an alert that fires while its end is looked up is stored (${name})`, async () => {
    const time = new VirtualTime();
    const kube = new FakeKube(() => time.now());
    // The index has gaps: whether the end is of something stored, only a list can say.
    const replica = new Replica(kube, { time, unlisted: true });
    const listing = Promise.withResolvers<void>();
    kube.script = { before: ({ verb }: FakeCall) => verb === "list" ? listing.promise : undefined };
    try {
      const taken = together
        ? [replica.take([END, ALERT], { kind: "finding" })]
        : [replica.take([END], { kind: "finding" }), replica.take([ALERT], { kind: "finding" })];
      await settled();
      listing.resolve();
      await Promise.all(taken);
      assertEquals(kube.stored.length, 1);
      assertEquals(replica.books.map(({ outcomes }) => outcomes.map(({ kind }) => kind).join()), [
        "filtered",
        "created",
      ]);
    } finally {
      listing.resolve();
      await replica.kill();
    }
  });
}

const PUSHED = { kind: "finding" } as const;

async function withReplicas(
  test: (it: { time: VirtualTime; kube: FakeKube; first: Replica; second: Replica }) => Promise<void>,
  steps: NonNullable<ReplicaOptions["steps"]> = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const first = new Replica(kube, { time });
  const second = new Replica(kube, { time, steps });
  try {
    await test({ time, kube, first, second });
  } finally {
    await first.kill();
    await second.kill();
  }
}

const phases = (kube: FakeKube) => kube.stored.map(({ status }) => status?.phase);

for (
  const [why, steps] of [["", {}], [", with no room for more", { admits: () => "refused" as const }]] as const
) {
  Deno.test(`an end reaches a replica whose watch has not shown the finding yet${why}`, () =>
    withReplicas(async ({ time, kube, first, second }) => {
      second.lagging = true;
      await first.take([ALERT], PUSHED);
      const { received, deduped } = await second.take([END], PUSHED);
      assertEquals([received, deduped, kube.count("get"), kube.count("list")], [1, 1, 1, 0]);
      await time.advance(1_000);
      assertEquals(phases(kube), ["Resolved"]);
      assertEquals(second.books.map(({ outcomes }) => outcomes.length), [1]);
    }, steps));
}

Deno.test("an end finds what went to our own namespace, its own being gone", () =>
  withReplicas(async ({ time, kube, first, second }) => {
    kube.missingNamespaces.add("shop");
    second.lagging = true;
    const alert = { ...ALERT, resource: { kind: "Pod", name: "web", namespace: "shop" } };
    await first.take([alert], PUSHED);
    assertEquals(kube.stored.map(({ metadata }) => metadata.namespace), ["zen-system"]);
    assertEquals((await second.take([{ ...alert, resolved: true }], PUSHED)).deduped, 1);
    await time.advance(1_000);
    assertEquals(phases(kube), ["Resolved"]);
  }));

Deno.test("the end of a finding that is not stored is filtered and costs one request", () =>
  withReplicas(async ({ kube, first, second }) => {
    const { byReason } = await second.take([END], PUSHED);
    assertEquals([byReason.filtered, kube.calls.map(({ verb }) => verb)], [{ not_relevant: 1 }, ["get"]]);
    assertEquals([second.dedup.inFlight, (await first.take([ALERT], PUSHED)).created], [0, 1]);
  }));

Deno.test("an object of that name that is not this finding is not ended", () =>
  withReplicas(async ({ time, kube, first, second }) => {
    second.lagging = true;
    await first.take([ALERT], PUSHED);
    const [stored] = kube.stored;
    kube.put({ ...stored!, metadata: { ...stored!.metadata, labels: {} } });
    assertEquals((await second.take([END], PUSHED)).byReason.filtered, { not_relevant: 1 });
    await time.advance(1_000);
    assertEquals(phases(kube), ["Active"]);
  }));

Deno.test("an end that cannot be looked up before the deadline is failed{unavailable}: its sender comes again", () =>
  withReplicas(async ({ time, kube, second }) => {
    kube.script = {
      before: ({ verb }) => {
        if (verb === "get") throw apiError("get", 503, "ServiceUnavailable");
      },
    };
    const deadline = new AbortController();
    const taken = second.take([END], { ...PUSHED, signal: deadline.signal });
    await time.advance(60_000);
    deadline.abort();
    assertEquals((await taken).byReason.failed, { unavailable: 1 });
  }));

Deno.test("an alert that fires again and ends before the first of it is written is Resolved", () =>
  withReplicas(async ({ time, kube, first }) => {
    await first.take([ALERT], PUSHED);
    await first.take([END], PUSHED);
    await time.advance(1_000);
    assertEquals(phases(kube), ["Resolved"]);
    await first.take([ALERT], PUSHED);
    await first.take([END], PUSHED);
    await time.advance(6_000);
    assertEquals(phases(kube), ["Resolved"]);
  }));

Deno.test("an end finds its finding Active again, though this replica's watch still says Resolved", () =>
  withReplicas(async ({ time, kube, first, second }) => {
    await first.take([ALERT], PUSHED);
    await first.take([END], PUSHED);
    await time.advance(1_000);
    second.lagging = true;
    await first.take([ALERT], PUSHED);
    await time.advance(1_000);
    assertEquals(phases(kube), ["Active"]);
    await second.take([END], PUSHED);
    await time.advance(1_000);
    assertEquals(phases(kube), ["Resolved"]);
  }));

/** How many seconds after the start each finding was last seen, by its status. */
const lastSeenSeconds = (kube: FakeKube) =>
  kube.stored.map(({ status }) => (Date.parse(status?.lastSeenAt ?? "") - Date.UTC(2026, 0, 1)) / 1_000);

Deno.test("an end that another replica takes sets lastSeenAt to the last report that any replica took", () =>
  withReplicas(async ({ time, kube, first, second }) => {
    await first.take([ALERT], PUSHED);
    await time.advance(300_000);
    await second.take([ALERT], PUSHED);
    await time.advance(300_000);
    await first.take([ALERT], PUSHED);
    await time.advance(60_000);
    assertEquals(kube.count("patch/status"), 0, "repeats are not written while the TTL is far");
    await second.take([END], PUSHED);
    await time.advance(10_000);
    assertEquals([phases(kube), lastSeenSeconds(kube)], [["Resolved"], [600]]);
    await time.advance(60_000);
    assertEquals(kube.count("patch/status"), 2);
  }));

Deno.test("an end that lies before the last report of another replica bounds lastSeenAt", () =>
  withReplicas(async ({ time, kube, first, second }) => {
    await first.take([ALERT], PUSHED);
    await time.advance(600_000);
    await first.take([ALERT], PUSHED);
    const resolvedAt = new Date(time.now() - 200_000).toISOString();
    await second.take([{ ...END, resolvedAt }], PUSHED);
    await time.advance(10_000);
    assertEquals([phases(kube), lastSeenSeconds(kube)], [["Resolved"], [400]]);
  }));
