import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { LABELS, type Observation } from "../model/observation.ts";
import { ApiError, NetworkError } from "../kube/api.ts";
import { createSpacing, DueQueue } from "../kube/retry.ts";
import { mergeDeltas } from "./repeats.ts";
import { NO_CHANGE, type StatusDelta, statusPatch } from "./updates.ts";
import { apiError, type FakeCall, FakeKube } from "../../tests/support/fake_kube.ts";
import { storedObservation } from "../../tests/support/observation.ts";
import { Replica, type ReplicaOptions, type TakeOptions } from "../../tests/support/replica.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

async function withReplica(
  test: (it: { time: VirtualTime; kube: FakeKube; replica: Replica; another(): Replica }) => Promise<void>,
  options: Partial<ReplicaOptions> = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const replicas: Replica[] = [];
  const another = () => {
    const replica = new Replica(kube, { time, ...options });
    replicas.push(replica);
    return replica;
  };
  try {
    await test({ time, kube, replica: another(), another });
  } finally {
    for (const replica of replicas) await replica.kill();
  }
}

const ALERT = { identity: { rule: "Terminal shell in container" } };
const FINDING: TakeOptions = { kind: "finding", pushed: false, source: { name: "trivy" } };

function status(kube: FakeKube) {
  assertEquals(kube.stored.length, 1);
  return kube.stored[0]?.status ?? {};
}

/** Resolves the one finding there is, as the leader's lifecycle does. */
async function resolveIt(replica: Replica, kube: FakeKube, at: number): Promise<void> {
  const { metadata: { namespace = "", name = "", uid } } = kube.stored[0]!;
  const fingerprint = kube.stored[0]?.metadata.labels?.[LABELS.fingerprint] ?? "";
  const delta = {
    occurrences: 0,
    firstSeenAt: Infinity,
    lastSeenAt: -Infinity,
    resolved: { at, reason: "NotReported" },
  } as const;
  const target = { namespace, name, uid, fingerprint };
  assertEquals(
    await replica.store.updates.addToStatus(target, delta, new AbortController().signal),
    "written",
  );
}

Deno.test("a thousand repeats: one Observation, occurrences 1000, at most a few dozen status writes", () =>
  withReplica(async ({ time, kube, replica }) => {
    for (let event = 0; event < 1_000; event++) {
      await replica.take([ALERT]);
      if (event % 10 === 9) await time.advance(1_000);
    }
    await replica.stop();
    assertEquals(status(kube).occurrences, 1_000);
    assert(kube.count("patch/status") <= 25, `${kube.count("patch/status")} writes`);
    assertEquals(kube.count("create"), 1);
  }));

Deno.test("lastSeenAt is flushed within 5 s, or a quarter of a shorter window", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    await replica.take([ALERT]);
    await time.advance(4_700);
    assertEquals(kube.count("patch/status"), 0);
    await time.advance(600);
    assertEquals(kube.count("patch/status"), 1);
    const short = { source: { windowMs: 8_000 } };
    await replica.take([{ identity: { rule: "another" } }], short);
    await replica.take([{ identity: { rule: "another" } }], short);
    await time.advance(2_300);
    assertEquals(kube.count("patch/status"), 2);
  }));

Deno.test("replicas hold deltas and add them up, also when they write at once", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    const replicas = [replica, another(), another()];
    await replica.take([ALERT]);
    for (const each of replicas) await each.take([ALERT, ALERT]);
    await time.advance(5_400);
    assertEquals(status(kube).occurrences, 7);
  }));

Deno.test("repeats with aggregation off move lastSeenAt, not occurrences", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    await time.advance(30_000);
    await replica.take([ALERT]);
    await time.advance(5_400);
    assertEquals(status(kube).occurrences, 1);
    assertEquals(status(kube).lastSeenAt, "2026-01-01T00:00:30.000Z");
  }, { countRepeats: false }));

Deno.test("an unchanged report read again writes nothing", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    await replica.take([ALERT], FINDING);
    for (let round = 0; round < 5; round++) {
      await time.advance(3_600_000);
      await replica.take([ALERT], FINDING);
      await another().take([ALERT], FINDING);
    }
    await time.advance(60_000);
    assertEquals(kube.calls.map(({ verb }) => verb), ["create"]);
  }));

Deno.test("a finding that returns is Active again, as the same object with one more occurrence", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    const other = another();
    await replica.take([ALERT], FINDING);
    await resolveIt(replica, kube, time.now());
    assertEquals(status(kube).phase, "Resolved");
    await time.advance(1_000);
    await replica.take([ALERT, ALERT], FINDING);
    await other.take([ALERT], FINDING);
    await time.advance(2_000);
    const { phase, occurrences, resolvedAt, resolvedReason, reopenedAt } = status(kube);
    assertEquals({ phase, occurrences, resolvedAt, resolvedReason, reopenedAt }, {
      phase: "Active",
      occurrences: 2,
      resolvedAt: undefined,
      resolvedReason: undefined,
      reopenedAt: "2026-01-01T00:00:01.000Z",
    });
    await time.advance(60_000);
    await resolveIt(replica, kube, time.now());
    assertEquals(status(kube).reopenedAt, "2026-01-01T00:00:01.000Z", "a second end does not undo it");
  }));

Deno.test("a finding that returns with aggregation off is Active again, and not counted", () =>
  withReplica(async ({ time, kube, replica }) => {
    const off: TakeOptions = { ...FINDING, source: { name: "trivy" } };
    await replica.take([ALERT], off);
    await resolveIt(replica, kube, time.now());
    await replica.take([ALERT], off);
    await time.advance(2_000);
    assertEquals([status(kube).phase, status(kube).occurrences], ["Active", 1]);
  }, { countRepeats: false }));

Deno.test("a pushed finding that is stored is resolved at once when its tool says so", () =>
  withReplica(async ({ time, kube, replica }) => {
    const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
    const early = await replica.take([{ ...ALERT, resolved: true }], pushed);
    assertEquals(early.byReason.filtered, { not_relevant: 1 });
    await replica.take([ALERT], pushed);
    const { deduped } = await replica.take([{ ...ALERT, resolved: true }], pushed);
    await time.advance(1_000);
    assertEquals([deduped, status(kube).phase], [1, "Resolved"]);
    await replica.take([{ ...ALERT, resolved: true }], pushed);
    await time.advance(1_000);
    assertEquals(kube.count("patch/status"), 1, "said twice, written once");
  }));

Deno.test("a pushed finding is resolved at the time that its tool says", () =>
  withReplica(async ({ time, kube, replica }) => {
    const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
    await replica.take([ALERT], pushed);
    await time.advance(60_000);
    const endedAt = time.now() - 20_000;
    await replica.take([{ ...ALERT, resolved: true, resolvedAt: endedAt }], pushed);
    await time.advance(1_000);
    const { phase, resolvedAt = "", resolvedReason } = status(kube);
    assertEquals([phase, Date.parse(resolvedAt), resolvedReason], [
      "Resolved",
      Math.floor(endedAt / 1_000) * 1_000,
      "SaidResolved",
    ]);
  }));

Deno.test("a pushed finding that its tool resolves was last seen when it was last pushed", () =>
  withReplica(async ({ time, kube, replica }) => {
    const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
    await replica.take([ALERT], pushed);
    await time.advance(3_600_000);
    await replica.take([ALERT], pushed);
    const pushedAt = time.now();
    await time.advance(1_800_000);
    await replica.take([{ ...ALERT, resolved: true, resolvedAt: time.now() }], pushed);
    await time.advance(1_000);
    const { lastSeenAt = "", resolvedAt = "" } = status(kube);
    assert(Math.abs(Date.parse(lastSeenAt) - pushedAt) <= 1_000, lastSeenAt);
    assert(Date.parse(resolvedAt) >= pushedAt + 1_800_000, resolvedAt);
  }));

Deno.test("the end of a pushed finding resolves it while the index is incomplete", async () => {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
  const first = new Replica(kube, { time });
  await first.take([ALERT], pushed);
  const second = new Replica(kube, { time, unlisted: true });
  await second.take([{ ...ALERT, resolved: true }], pushed);
  await time.advance(1_000);
  assertEquals(status(kube).phase, "Resolved");
  await first.kill();
  await second.kill();
});

Deno.test("a firing that follows its resolution leaves the finding Active", () =>
  withReplica(async ({ time, kube, replica }) => {
    const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
    await replica.take([ALERT], pushed);
    await replica.take([{ ...ALERT, resolved: true }], pushed);
    await replica.take([ALERT], pushed);
    await time.advance(6_000);
    assertEquals([status(kube).phase, status(kube).occurrences], ["Active", 1]);
  }));

Deno.test("a pushed finding's lastSeenAt keeps up with its TTL, not with each repeat", () =>
  withReplica(async ({ time, kube, replica }) => {
    const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager", ttlSeconds: 7_200 } };
    for (let minute = 0; minute < 60; minute++) {
      await replica.take([ALERT], pushed);
      await time.advance(60_000);
    }
    // Written each time that a tenth of the TTL, 12 minutes, has passed.
    assertEquals(kube.count("patch/status"), 4);
    assertEquals(status(kube).occurrences, 1, "a repeat of a finding is no occurrence");
  }));

Deno.test("the content of a finding is replaced when its report changes", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([{ ...ALERT, message: "old", details: { a: { b: 1, c: 2 }, d: [1] } }], FINDING);
    await replica.take([{ ...ALERT, message: "new", details: { a: { c: 3 } } }], FINDING);
    await time.advance(6_000);
    const { message, details } = kube.stored[0]?.spec ?? {};
    assertEquals({ message, details: { ...details } }, { message: "new", details: { a: { c: 3 } } });
    await replica.take([{ ...ALERT, message: "new", details: { a: { c: 3 } } }], FINDING);
    await time.advance(60_000);
    assertEquals(kube.count("patch"), 1);
  }));

Deno.test("two reports that differ about one finding do not replace its content again and again", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    const says = (who: Replica, origin: string, message: string) =>
      who.take([{ ...ALERT, message }], { ...FINDING, origin });
    await says(replica, "report-a", "a says");
    await says(replica, "report-b", "b says");
    await time.advance(60_000);
    assertEquals(kube.stored[0]?.spec.message, "a says", "the report that it was made from keeps its words");
    for (let round = 0; round < 24; round++) {
      await says(replica, "report-a", "a says");
      await time.advance(round % 2 ? 200 : 20_000);
      await says(replica, "report-b", "b says");
      await time.advance(3_600_000);
    }
    assert(kube.count("patch") <= 1, `${kube.count("patch")} writes in a day`);
    // A process that starts does not know whose words are stored: it may replace them once.
    const before = kube.count("patch");
    const restarted = another();
    for (let round = 0; round < 3; round++) {
      await says(restarted, "report-a", "a says");
      await says(restarted, "report-b", "b says");
      await time.advance(3_600_000);
    }
    assert(kube.count("patch") <= before + 1, `${kube.count("patch")} writes`);
  }));

Deno.test("when the report whose content is stored is no longer read, another report replaces it", () =>
  withReplica(async ({ time, kube, replica }) => {
    const says = (origin: string, message: string) =>
      replica.take([{ ...ALERT, message }], { ...FINDING, origin });
    await says("report-a", "first");
    await says("report-a", "a says");
    await time.advance(6_000);
    await says("report-b", "b says");
    await time.advance(6_000);
    assertEquals(kube.stored[0]?.spec.message, "a says");
    await time.advance(3 * 3_600_000);
    await says("report-b", "b says");
    await time.advance(6_000);
    assertEquals(kube.stored[0]?.spec.message, "b says");
  }));

Deno.test("status writes are kept while the API server is unreachable", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    await replica.take([ALERT]);
    kube.script = {
      before: () => {
        throw new NetworkError("Cannot reach it");
      },
    };
    await time.advance(20_000);
    await replica.take([ALERT]);
    kube.script = {};
    await time.advance(20_000);
    assertEquals(status(kube).occurrences, 3);
    assertEquals(replica.store.repeats.size, 0);
  }));

for (const verb of ["get", "patch"] as const) {
  Deno.test(`repeats are kept when the answer to a ${verb} is about another object`, () =>
    withReplica(async ({ time, kube, replica }) => {
      await replica.take([ALERT, ALERT]);
      const answer = storedObservation({ id: "another", source: "falco", kind: "occurrence", generation: 1 });
      let mixedUp = 0;
      kube.script = {
        mixUp: (call) => call.verb === verb && mixedUp++ === 0 ? { answer, isCarriedOut: false } : undefined,
      };
      await time.advance(20_000);
      assertEquals([status(kube).occurrences, mixedUp > 1], [2, true]);
      assertEquals([...replica.index.entries()].length, 1, "the other object is not noted");
    }));
}

/** Patches are answered so, but for those of objects that `but` names. */
function refusing(error: () => Error, but?: (name: string) => boolean) {
  return {
    before: ({ verb, name }: FakeCall) => {
      if (verb === "patch" && !but?.(name)) throw error();
    },
  };
}

const errorsOf = (replica: Replica) => replica.logged.filter(({ level }) => level === "ERROR").length;

Deno.test("status writes that cannot succeed are given up with an ERROR", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    kube.script = refusing(() => apiError("patch", 422, "Invalid"));
    await replica.take([ALERT]);
    await time.advance(6_000);
    assertEquals([replica.store.repeats.size, errorsOf(replica)], [0, 1]);
  }));

const DENIALS: readonly (readonly [string, () => Error])[] = [
  ["RBAC", () => apiError("patch", 403, "Forbidden")],
  [
    "an admission policy",
    () =>
      apiError("patch", 422, "Invalid", {
        message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
      }),
  ],
];

for (const [by, error] of DENIALS) {
  Deno.test(`a status write refused by ${by} is kept until it is allowed, and others go on meanwhile`, () =>
    withReplica(async ({ time, kube, replica }) => {
      const pushed: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };
      await replica.take([ALERT], pushed);
      const [refused] = kube.stored;
      kube.script = refusing(error, (name) => name !== refused?.metadata.name);
      await replica.take([{ ...ALERT, resolved: true }], pushed);
      for (let minute = 0; minute < 30; minute++) {
        await replica.take([{ identity: { rule: "another" } }]);
        await replica.take([{ ...ALERT, resolved: true }], pushed);
        await time.advance(60_000);
      }
      const tries = kube.calls.filter(({ verb, name }) =>
        verb === "patch" && name === refused?.metadata.name
      );
      assert(tries.length <= 60, `${tries.length} tries in half an hour`);
      assertEquals(replica.store.repeats.size, 1);
      assert(errorsOf(replica) <= 30, `${errorsOf(replica)} lines in half an hour`);
      kube.script = {};
      await time.advance(301_000);
      const phase = kube.stored.find(({ metadata }) => metadata.name === refused?.metadata.name)?.status
        ?.phase;
      assertEquals([phase, replica.store.repeats.size], ["Resolved", 0]);
    }));
}

Deno.test("refused work fills at most half of the queue", async () => {
  const time = new VirtualTime();
  const done: string[] = [], dropped: string[] = [];
  const queue = new DueQueue<string>({
    clock: time,
    maxSize: 8,
    concurrency: 1,
    spacing: createSpacing({ clock: time, perSecond: 1_000, sleep: time.sleep }),
    sleep: time.sleep,
    merge: (_older, newer) => newer,
    dropped: (item) => dropped.push(item),
    work: (key) => {
      if (key.startsWith("refused")) return Promise.resolve("refused");
      done.push(key);
      return Promise.resolve("done");
    },
  });
  const stop = new AbortController();
  const running = queue.run(stop.signal);
  for (let index = 0; index < 6; index++) queue.add(`refused ${index}`, `${index}`, 0);
  await time.advance(1_000);
  assertEquals([queue.size, queue.refused, dropped.length], [4, 4, 2]);
  assert(queue.add("allowed", "", 0));
  await time.advance(1_000);
  assertEquals([done, queue.size], [["allowed"], 4]);
  for (const key of ["refused 0", "refused 1", "refused 2", "refused 3"]) queue.drop(key);
  assertEquals([queue.size, queue.refused], [0, 0]);
  stop.abort();
  await running;
});

Deno.test("flush tries refused status writes once more and logs what is lost", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT, ALERT]);
    kube.script = refusing(() => apiError("patch", 403, "Forbidden"));
    await time.advance(10_000);
    const before = kube.count("patch/status");
    assert(before > 0);
    await replica.store.repeats.flush(new AbortController().signal);
    assertEquals(kube.count("patch/status"), before + 1);
    assertEquals(replica.logged.at(-1)?.message.startsWith("Status writes are left undone"), true);
    kube.script = {};
    await replica.store.repeats.flush(new AbortController().signal);
    assertEquals(status(kube).occurrences, 2);
  }));

Deno.test("flush at shutdown writes what is not due yet", () =>
  withReplica(async ({ kube, replica }) => {
    await replica.take([ALERT, ALERT, ALERT]);
    await replica.store.repeats.flush(new AbortController().signal);
    assertEquals(status(kube).occurrences, 3);
  }));

Deno.test("flush ends with its signal while the API server is unreachable", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT, ALERT]);
    kube.script = {
      before: () => {
        throw new NetworkError("Cannot reach it");
      },
    };
    const limit = new AbortController();
    const flushed = replica.store.repeats.flush(limit.signal);
    await time.advance(3_000);
    limit.abort();
    await flushed;
    assertEquals(replica.store.repeats.size, 1);
  }));

Deno.test("mergeDeltas() adds counts, and keeps the later of a return and a resolution", () => {
  const seen = { occurrences: 2, firstSeenAt: 10, lastSeenAt: 20 };
  const reopened = { at: 35, occurrences: 1 } as const;
  const returned = { occurrences: 0, firstSeenAt: Infinity, lastSeenAt: 30, reopened };
  const ended = { at: 40, reason: "ReportGone" } as const;
  const resolved = { occurrences: 1, firstSeenAt: 5, lastSeenAt: -Infinity, resolved: ended };
  assertEquals(mergeDeltas(seen, returned), {
    occurrences: 2,
    firstSeenAt: 10,
    lastSeenAt: 30,
    reopened,
  });
  assertEquals(mergeDeltas(returned, resolved), {
    occurrences: 1,
    firstSeenAt: 5,
    lastSeenAt: 30,
    resolved: ended,
  });
  assertEquals(mergeDeltas(resolved, returned), {
    occurrences: 1,
    firstSeenAt: 5,
    lastSeenAt: 30,
    reopened,
  });
});

Deno.test("a status that would not change is not written", () => {
  const observation = storedObservation({ createdAt: 1_000_000 });
  const at = { occurrences: 0, firstSeenAt: 1_000_000, lastSeenAt: 1_000_000 };
  assertEquals(statusPatch(observation, at, { now: 0 }), undefined);
  assertEquals(
    statusPatch(observation, { ...at, reopened: { at: 5, occurrences: 1 } }, { now: 0 }),
    undefined,
  );
  const resolved = storedObservation({ createdAt: 1_000_000, status: { phase: "Resolved" } });
  assertEquals(
    statusPatch(resolved, { ...at, resolved: { at: 5, reason: "NotReported" } }, { now: 0 }),
    undefined,
  );
});

/** What a Kubernetes Event's informer hands in at every resync. */
const KEPT = { pushed: false, source: { windowMs: 3_600_000 } };

Deno.test("an act stored in an object counts when it happens, not when it is read again", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    const at = (offsetMs: number) => ({
      ...ALERT,
      detectedAt: new Date(time.now() + offsetMs).toISOString(),
    });
    const first = at(-60_000);
    const second = at(-30_000);
    await replica.take([first], KEPT);
    for (let resync = 0; resync < 3; resync++) {
      await replica.take([first], KEPT);
      await time.advance(10_000);
    }
    assertEquals(kube.calls.map(({ verb }) => verb), ["create"], "reading it again writes nothing");
    await replica.take([second], KEPT);
    await time.advance(10_000);
    assertEquals(status(kube).occurrences, 2);
    const writes = kube.count("patch/status");
    const successor = another();
    for (const each of [replica, successor]) await each.take([first, second], KEPT);
    await time.advance(10_000);
    assertEquals([status(kube).occurrences, kube.count("patch/status")], [2, writes]);
    assertEquals(kube.stored.length, 1);
  }));

Deno.test("an act stored in an object that two leaders read counts once", () =>
  withReplica(async ({ time, kube, replica, another }) => {
    const successor = another();
    const at = (offsetMs: number) => ({
      ...ALERT,
      detectedAt: new Date(time.now() + offsetMs).toISOString(),
    });
    const [first, second] = [at(-60_000), at(-30_000)];
    await replica.take([first], KEPT);
    // The old leader has not flushed it yet when the new one reads everything.
    await replica.take([second], KEPT);
    await successor.take([first, second], KEPT);
    await time.advance(10_000);
    assertEquals(status(kube).occurrences, 2);
  }));

Deno.test("statusPatch() accepts a finding, keeps since while the exception is the same, and forgets it at its end", () => {
  const merged = (status: Observation["status"], acceptance: string, delta?: Partial<StatusDelta>) => {
    const patch = statusPatch(storedObservation({ status }), { ...NO_CHANGE, ...delta }, {
      now: Date.UTC(2026, 10, 1),
      acceptanceFor: () => acceptance,
      ...(!delta?.reopened && { followsExceptions: true }),
    });
    const body = patch?.body as { status: Record<string, unknown> } | undefined;
    return body && { phase: body.status.phase, exception: body.status.exception };
  };
  const held = { namespace: "shop", name: "held", expiresAt: "2027-01-01T00:00:00.000Z" };
  const text = `shop/held ${held.expiresAt}`;
  const now = "2026-11-01T00:00:00.000Z";
  assertEquals(merged({}, text), { phase: "Accepted", exception: { ...held, since: now } });
  const accepted = { phase: "Accepted" as const, exception: { ...held, since: "2026-10-01T00:00:00Z" } };
  assertEquals(merged(accepted, text), undefined);
  const longer = { ...held, expiresAt: "2027-02-01T00:00:00.000Z" };
  assertEquals(merged(accepted, `shop/held ${longer.expiresAt}`), {
    phase: "Accepted",
    exception: { ...longer, since: "2026-10-01T00:00:00Z" },
  });
  assertEquals(merged(accepted, `shop/other ${held.expiresAt}`), {
    phase: "Accepted",
    exception: { ...held, name: "other", since: now },
  });
  assertEquals(merged(accepted, ""), { phase: "Active", exception: null });
  // What no one can read is healed.
  assertEquals(merged({ phase: "Accepted" }, ""), { phase: "Active", exception: null });
  const resolved = { at: 5, reason: "NotReported" } as const;
  assertEquals(merged(accepted, text, { resolved }), { phase: "Resolved", exception: null });
  const gone = { phase: "Resolved", resolvedAt: now } as const;
  assertEquals(merged(gone, text), undefined);
  const reopened = { at: 5, occurrences: 1 } as const;
  assertEquals(merged(gone, text, { reopened }), {
    phase: "Accepted",
    exception: { ...held, since: now },
  });
  assertEquals(merged(gone, "", { reopened }), { phase: "Active", exception: undefined });
});

Deno.test("a status write waits as long as Retry-After asks", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT, ALERT]);
    kube.script = refusing(() => new ApiError("patch", 429, { code: 429 }, 40_000));
    await time.advance(40_000);
    assertEquals(kube.count("patch/status"), 1);
    kube.script = {};
    await time.advance(10_000);
    assertEquals(status(kube).occurrences, 2);
  }));

Deno.test("repeats of an Observation that is deleted before they are counted are logged and counted as such", () =>
  withReplica(async ({ time, kube, replica }) => {
    await replica.take([ALERT]);
    const [{ metadata: { namespace = "", name = "" } } = { metadata: {} }] = kube.stored;
    // The watch has not shown the deletion when the repeats come, and their outcome is deduped.
    replica.lagging = true;
    kube.remove(namespace, name);
    const { deduped } = await replica.take([ALERT, ALERT, ALERT]);
    await time.advance(6_000);
    assertEquals([deduped, kube.stored.length, replica.store.repeats.size], [3, 0, 0]);
    assertEquals(
      replica.logged.filter(({ message }) => message.includes("deleted before their last repeats")).length,
      1,
    );
    assertStringIncludes(
      await replica.metrics.registry.metrics(),
      'zen_watcher_repeats_uncounted_total{reason="deleted"} 3',
    );
    await replica.take([ALERT]);
    assertEquals(kube.stored.length, 1, "the next event creates it again");
  }));
