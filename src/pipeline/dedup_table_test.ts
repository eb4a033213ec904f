/** The table of cases of the product contract (identity, dedup, repeats), row by row, in its words. */
import { assert, assertEquals } from "@std/assert";
import { ANNOTATIONS, LABELS } from "../model/observation.ts";
import { createRateLimiter } from "./limits.ts";
import { NetworkError } from "../kube/api.ts";
import { apiError, FakeKube } from "../../tests/support/fake_kube.ts";
import { Replica, type ReplicaOptions } from "../../tests/support/replica.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

interface World extends AsyncDisposable {
  readonly time: VirtualTime;
  readonly kube: FakeKube;
  replica(options?: Partial<ReplicaOptions>): Replica;
}

function world(): World {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const replicas: Replica[] = [];
  return {
    time,
    kube,
    replica(options = {}) {
      const replica = new Replica(kube, { time, ...options });
      replicas.push(replica);
      return replica;
    },
    async [Symbol.asyncDispose]() {
      for (const replica of replicas) await replica.kill();
    },
  };
}

const ALERT = { identity: { rule: "Terminal shell in container" } };
const W = 60_000;

function only<T>(items: readonly T[]): T {
  assertEquals(items.length, 1);
  return items[0] as T;
}

function outcomes(replica: Replica): string[] {
  return replica.books.map(({ outcomes }) => {
    const outcome = only(outcomes);
    return outcome.kind === "filtered" || outcome.kind === "failed"
      ? `${outcome.kind}{${outcome.reason}}`
      : outcome.kind;
  });
}

Deno.test("one event every 50 s for 10 min, alternating between two replicas: 1 Observation, occurrences 13", async () => {
  await using it = world();
  const replicas = [it.replica(), it.replica()];
  for (let event = 0; event < 13; event++) {
    await replicas[event % 2]!.take([ALERT]);
    await it.time.advance(50_000);
  }
  const observation = only(it.kube.stored);
  assertEquals(observation.status?.occurrences, 13);
  assertEquals(observation.status?.lastSeenAt, new Date(it.time.now() - 50_000).toISOString());
});

Deno.test("twins at both replicas at once: both POST -1: 201 and 409 → created + deduped", async () => {
  await using it = world();
  const [a, b] = [it.replica(), it.replica()];
  await Promise.all([a.take([ALERT]), b.take([ALERT])]);
  assertEquals([...outcomes(a), ...outcomes(b)].sort(), ["created", "deduped"]);
  assert(only(it.kube.stored).metadata.name?.endsWith("-1"));
  assertEquals(it.kube.count("create"), 2);
  await it.time.advance(5_200);
  assertEquals(only(it.kube.stored).status?.occurrences, 2);
});

Deno.test("clean restart in the middle: still 1", async () => {
  await using it = world();
  const first = it.replica();
  await first.take([ALERT]);
  await it.time.advance(40_000);
  await first.take([ALERT]);
  await first.stop();
  await it.time.advance(40_000);
  const second = it.replica();
  await second.take([ALERT]);
  await second.stop();
  assertEquals(outcomes(second), ["deduped"]);
  assertEquals(only(it.kube.stored).status?.occurrences, 3);
});

Deno.test("kill -9 inside the flush interval: counts of the interval lost, at most one extra Observation per key", async () => {
  await using it = world();
  const first = it.replica();
  await first.take([ALERT]);
  await it.time.advance(50_000);
  await first.take([ALERT]);
  await first.kill();
  await it.time.advance(30_000);
  const second = it.replica();
  await second.take([ALERT]);
  await second.take([ALERT]);
  await it.time.advance(5_200);
  assertEquals(it.kube.stored.map(({ status }) => status?.occurrences), [1, 2]);
});

Deno.test("replica clocks ± 5 min: no effect where the event has a time", async () => {
  await using it = world();
  const slow = it.replica({ clock: it.time.skewed(-300_000) });
  const fast = it.replica({ clock: it.time.skewed(300_000) });
  for (let event = 0; event < 6; event++) {
    const detectedAt = new Date(it.time.now()).toISOString();
    await (event % 2 ? fast : slow).take([{ ...ALERT, detectedAt }]);
    await it.time.advance(40_000);
  }
  assertEquals(only(it.kube.stored).status?.occurrences, 6);
});

Deno.test("409, same full fingerprint: finding, or window open → deduped", async () => {
  await using it = world();
  const [a, b] = [it.replica(), it.replica({ unlisted: true })];
  await a.take([ALERT]);
  await a.take([{ ...ALERT, identity: { cve: 1 } }], { kind: "finding" });
  await it.time.advance(W);
  await b.take([ALERT]);
  await b.take([{ ...ALERT, identity: { cve: 1 } }], { kind: "finding" });
  assertEquals(outcomes(b), ["deduped", "deduped"]);
  assertEquals(it.kube.stored.length, 2);
});

Deno.test("409, same full fingerprint: closed → find the newest, then n+1", async () => {
  await using it = world();
  const a = it.replica();
  for (let generation = 1; generation <= 3; generation++) {
    await a.take([ALERT]);
    await it.time.advance(10 * W);
  }
  const b = it.replica({ unlisted: true });
  await b.take([ALERT]);
  assertEquals(outcomes(b), ["created"]);
  assertEquals(it.kube.stored.map(({ metadata }) => metadata.name?.slice(-2)), ["-1", "-2", "-3", "-4"]);
  assertEquals(it.kube.count("list"), 1, "the index was incomplete: found by its label");
});

Deno.test("409, same full fingerprint: ≤ 5 rounds, then failed{name_conflict}", async () => {
  await using it = world();
  const b = it.replica({ unlisted: true });
  // The holder of the name is gone at each read, and back at each create.
  await it.replica().take([ALERT]);
  const holder = only(it.kube.stored);
  it.kube.script = {
    before: ({ verb }) => {
      if (verb === "get") it.kube.remove("zen-system", holder.metadata.name ?? "");
      else if (it.kube.stored.length === 0) it.kube.put(holder);
    },
  };
  await b.take([ALERT]);
  assertEquals(outcomes(b), ["failed{name_conflict}"]);
  assertEquals(it.kube.count("create"), 1 + 5);
});

for (
  const [whose, spoil] of [
    ["other fingerprint", { annotations: { [ANNOTATIONS.fingerprint]: "f".repeat(64) } }],
    ["not managed by zen-watcher", { labels: { [LABELS.managedBy]: "somebody" } }],
  ] as const
) {
  Deno.test(`409, ${whose}: failed{name_conflict}, ERROR`, async () => {
    await using it = world();
    await it.replica().take([ALERT]);
    const { metadata, ...rest } = only(it.kube.stored);
    const stranger = it.kube.put({
      ...rest,
      metadata: {
        ...metadata,
        labels: { ...metadata.labels, ...("labels" in spoil ? spoil.labels : {}) },
        annotations: { ...metadata.annotations, ...("annotations" in spoil ? spoil.annotations : {}) },
      },
    });
    const b = it.replica({ unlisted: true });
    await b.take([ALERT]);
    assertEquals(outcomes(b), ["failed{name_conflict}"]);
    const outcome = b.books[0]?.outcomes[0];
    assert(outcome?.kind === "failed" && outcome.message?.includes("is not this finding"));
    await it.time.advance(10_000);
    assertEquals(it.kube.stored, [stranger], "left as it was");
  });
}

Deno.test("create sent, answer lost, retry gets 409: annotation event-id is ours → created", async () => {
  await using it = world();
  const a = it.replica();
  let lost = 0;
  it.kube.script = {
    after: ({ verb }) => {
      if (verb === "create" && lost++ === 0) throw new NetworkError("Cannot create: reset");
    },
  };
  const taken = a.take([ALERT]);
  await it.time.advance(1_000);
  await taken;
  assertEquals(outcomes(a), ["created"]);
  assertEquals(only(it.kube.stored).status?.occurrences, 1);
});

Deno.test("create sent, answer lost, retry gets 409: event-id is another's → deduped", async () => {
  await using it = world();
  const [a, b] = [it.replica(), it.replica()];
  a.lagging = true;
  let lost = 0;
  it.kube.script = {
    // a's request never arrives, b's does.
    before: async ({ verb }) => {
      if (verb !== "create" || lost++ > 0) return;
      await b.take([ALERT]);
      throw new NetworkError("Cannot create: reset");
    },
  };
  const taken = a.take([ALERT]);
  await it.time.advance(1_000);
  await taken;
  assertEquals([outcomes(a), outcomes(b)], [["deduped"], ["created"]]);
  await it.time.advance(5_200);
  assertEquals(only(it.kube.stored).status?.occurrences, 2);
});

Deno.test("Observation deleted in an open window: key cleared; the next event creates", async () => {
  await using it = world();
  const a = it.replica();
  await a.take([ALERT]);
  const { metadata } = only(it.kube.stored);
  it.kube.remove(metadata.namespace ?? "", metadata.name ?? "");
  await it.time.advance(1_000);
  await a.take([ALERT]);
  assertEquals(outcomes(a), ["created", "created"]);
  assertEquals(only(it.kube.stored).metadata.name, metadata.name);
});

Deno.test("repeat flushed to a deleted object: delta dropped, key cleared, nothing re-created", async () => {
  await using it = world();
  const a = it.replica();
  await a.take([ALERT]);
  await a.take([ALERT]);
  a.lagging = true;
  const { metadata } = only(it.kube.stored);
  it.kube.remove(metadata.namespace ?? "", metadata.name ?? "");
  await it.time.advance(6_000);
  assertEquals(it.kube.stored, []);
  assertEquals(a.store.repeats.size, 0);
  await a.take([ALERT]);
  assertEquals(outcomes(a), ["created", "deduped", "created"]);
  a.catchUp();
  assertEquals(a.index.size, 1, "the old object's end does not end the new one");
});

Deno.test("repeat flushed to an object of another uid: delta dropped, the new object is left alone", async () => {
  await using it = world();
  const a = it.replica();
  await a.take([ALERT]);
  await a.take([ALERT]);
  a.lagging = true;
  const { metadata, spec } = only(it.kube.stored);
  it.kube.remove(metadata.namespace ?? "", metadata.name ?? "");
  const { uid: _uid, ...same } = metadata;
  it.kube.put({ metadata: same, spec });
  await it.time.advance(6_000);
  assertEquals(only(it.kube.stored).status?.occurrences, 1);
  a.catchUp();
  assertEquals(a.index.size, 1);
});

Deno.test("audit batch sent again after 80 s: every event deduped", async () => {
  await using it = world();
  const a = it.replica();
  const batch = Array.from({ length: 20 }, (_, auditID) => ({ identity: { auditID } }));
  const audit = { source: { name: "audit", windowMs: Infinity } };
  await a.take(batch, audit);
  await it.time.advance(80_000);
  await a.take(batch, audit);
  assertEquals(outcomes(a), [...batch.map(() => "created"), ...batch.map(() => "deduped")]);
  await it.time.advance(10_000);
  assertEquals(it.kube.count("patch/status"), 0, "a repeat adds nothing");
  assert(it.kube.stored.every(({ metadata }) => metadata.name?.endsWith("-1")), "no generations");
});

Deno.test("both stages of a program's session, at two replicas or around a restart: one act", async () => {
  await using it = world();
  const audit = { source: { name: "audit", windowMs: 3_600_000 } };
  const started = (auditID: number) => ({
    identity: { act: 1 },
    request: { auditID },
    detectedAt: new Date(it.time.now()).toISOString(),
  });
  const [a, b] = [it.replica(), it.replica()];
  const first = started(1);
  await a.take([first], audit);
  await it.time.advance(70_000);
  const second = started(2);
  await b.take([{ ...first, isLaterStage: true }, second], audit);
  await it.time.advance(5_200);
  assertEquals(only(it.kube.stored).status?.occurrences, 2);
  await b.stop();
  await it.replica().take([{ ...second, isLaterStage: true }], audit);
  await it.time.advance(5_200);
  assertEquals(only(it.kube.stored).status?.occurrences, 2);
  await it.time.advance(3_600_000);
  await a.take([{ ...started(3), isLaterStage: true }], audit);
  assertEquals(it.kube.stored.length, 2, "an act whose first stage was not sent is stored");
});

Deno.test("audit batch of a program's acts sent again: nothing is counted twice, by the replica that saw it", async () => {
  await using it = world();
  const a = it.replica();
  const audit = { source: { name: "audit", windowMs: 3_600_000 } };
  const batch = Array.from({ length: 10 }, (_, auditID) => ({ identity: { act: 1 }, request: { auditID } }));
  it.kube.script = {
    before() {
      throw apiError("create", 422, "Invalid");
    },
  };
  await a.take(batch, audit);
  it.kube.script = {};
  await a.take(batch, audit);
  await it.time.advance(80_000);
  await a.take(batch, audit);
  await it.time.advance(10_000);
  assertEquals(outcomes(a), [
    ...batch.map(() => "failed{invalid}"),
    ...batch.map((_, index) => index === 0 ? "created" : "deduped"),
    ...batch.map(() => "deduped"),
  ]);
  assertEquals(only(it.kube.stored).status?.occurrences, 10);
});

Deno.test("audit batch that arrives ten hours late: the acts keep their own times on the replica that only sees what is stored", async () => {
  await using it = world();
  const at = (hours: number) => ({
    identity: { act: 1 },
    detectedAt: new Date(it.time.now() + hours * 3_600_000).toISOString(),
  });
  const audit = { source: { name: "audit", windowMs: 3_600_000 } };
  const acts = [at(-10), at(-9.5), at(-7)];
  for (const act of acts) await it.replica().take([act], audit);
  await it.time.advance(10_000);
  assertEquals(
    it.kube.stored.map(({ metadata: { name }, status }) => [name?.slice(-2), status?.occurrences]),
    [["-1", 2], ["-2", 1]],
  );
  assertEquals(it.kube.stored[0]?.status?.firstSeenAt, acts[0]?.detectedAt);
  assertEquals(it.kube.stored[0]?.status?.lastSeenAt, acts[1]?.detectedAt);
});

Deno.test("batch larger than the burst, retried: each retry advances; ends all written, none doubled", async () => {
  await using it = world();
  const rate = createRateLimiter({
    clock: it.time,
    rate: { perSecond: 10, burst: 50 },
    timer: it.time.timer,
  });
  const a = it.replica({ rate });
  const batch = Array.from({ length: 200 }, (_, index) => ({ identity: { index } }));
  const written: number[] = [];
  for (let attempt = 0; written.at(-1) !== 200; attempt++) {
    assert(attempt < 10, `no progress: ${written}`);
    const deadline = new AbortController();
    const taken = a.take(batch, { signal: deadline.signal, source: { windowMs: 600_000 } });
    await it.time.advance(5_000);
    deadline.abort();
    const result = await taken;
    assertEquals(result.created + result.deduped + result.filtered, 200);
    assertEquals(result.byReason.filtered.rate_limit ?? 0, result.undecided);
    written.push(it.kube.stored.length);
  }
  assertEquals(written, [...new Set(written)].sort((x, y) => x - y), "each retry advances");
  assertEquals(written[0], 100, "the burst, and five seconds at the rate");
});
