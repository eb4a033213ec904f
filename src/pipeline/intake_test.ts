import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { systemClock } from "../model/time.ts";
import type { Drawn, DrawnEvent, EventSource, Payload } from "../model/event.ts";
import type { JsonObject } from "../model/json.ts";
import { FAIL_REASONS, type Outcome } from "../model/outcome.ts";
import { NetworkError } from "../kube/api.ts";
import { createDedup } from "./dedup.ts";
import { createIntake, MAX_EVENTS_PER_PAYLOAD, type Steps } from "./intake.ts";
import { normalize } from "./normalize.ts";
import type { ObservationStore, Recorder } from "./ports.ts";
import { createLimits, createRateLimiter, createWriteSlots, type Limits, NO_LIMITS } from "./limits.ts";
import { apiError, FakeKube } from "../../tests/support/fake_kube.ts";
import { Replica } from "../../tests/support/replica.ts";
import { DRAW_CONTEXT, EVENT_SETTINGS } from "../../tests/support/source_runtime.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { createBooks, createMetrics } from "../telemetry/metrics.ts";

const PAYLOAD: Payload = { body: null, origin: { confined: false }, receivedAt: 0 };
const NO_DEADLINE = new AbortController().signal;
const POSTED = { feed: { type: "post" }, signal: NO_DEADLINE, correlationId: "" } as const;
const WATCHED = { ...POSTED, feed: { type: "watch" } } as const;
const DRAWING = { settings: EVENT_SETTINGS, context: () => DRAW_CONTEXT };

function drawn(id: number): Drawn {
  const event: DrawnEvent = {
    category: "security",
    severity: "high",
    eventType: "test",
    message: "",
    rules: [],
    details: {},
    identity: { id },
  };
  return { event };
}

/** A source whose events are numbers. */
function source(
  name: string,
  draw: () => Iterable<Drawn>,
  kind: EventSource["kind"] = "occurrence",
): EventSource {
  return { name, kind, draw };
}

function books(): Recorder & { readonly open_: number; readonly outcomes: Outcome["kind"][] } {
  const outcomes: Outcome["kind"][] = [];
  let opened = 0;
  return {
    outcomes,
    get open_() {
      return opened - outcomes.length;
    },
    open() {
      opened++;
      return { settle: (outcome) => void outcomes.push(outcome.kind) };
    },
    payloadError() {},
  };
}

/** A store that writes when it is let. */
function heldStore() {
  const waiting: { readonly source: string; readonly write: (outcome?: Outcome) => void }[] = [];
  const store: ObservationStore = {
    write: (event, generation) =>
      new Promise((resolve) => {
        const write = (outcome: Outcome = { kind: "created" }) =>
          resolve({
            outcome,
            generation: {
              namespace: "default",
              name: `${event.fingerprint}-${generation}`,
              generation,
              firstSeenAt: event.at,
              lastSeenAt: event.at,
              active: true,
              contentHash: 0,
            },
          });
        waiting.push({ source: event.source, write });
      }),
    repeat() {},
  };
  return { store, waiting };
}

function intakeOn(
  store: ObservationStore,
  limits: Limits = NO_LIMITS,
  filter: Steps["filter"] = () => undefined,
) {
  const recorder = books();
  const dedup = createDedup({ index: { newest: () => undefined }, maxSize: 100 });
  const intake = createIntake({
    steps: { filter, inScope: () => true, admits: () => "admitted", dedup },
    limits,
    store,
    recorder,
    ...DRAWING,
  });
  return { intake, recorder, dedup };
}

Deno.test("createIntake() lets twins share one create: the first is created, the others are deduped", async () => {
  const { store, waiting } = heldStore();
  const { intake, recorder } = intakeOn(store);
  const twins = source("falco", () => [drawn(1), drawn(1), drawn(1)]);
  const taken = Promise.all([
    intake.take(twins, PAYLOAD, POSTED),
    intake.take(twins, PAYLOAD, POSTED),
  ]);
  await settled();
  assertEquals([waiting.length, recorder.open_], [1, 6]);
  waiting[0]?.write();
  const [first, second] = await taken;
  assertEquals([first.created, first.deduped, second.deduped], [1, 2, 3]);
  assertEquals([recorder.open_, waiting.length], [0, 1]);
});

Deno.test("createIntake() filters a twin once, though dedup decides it again after the shared create", async () => {
  const { store, waiting } = heldStore();
  let filtered = 0;
  const intake = createIntake({
    steps: {
      filter: () => void filtered++,
      inScope: () => true,
      admits: () => "admitted",
      dedup: createDedup({ index: { newest: () => undefined }, maxSize: 100 }),
    },
    limits: NO_LIMITS,
    store,
    recorder: books(),
    ...DRAWING,
  });
  const taken = intake.take(source("falco", () => [drawn(1), drawn(1), drawn(1)]), PAYLOAD, POSTED);
  await settled();
  waiting[0]?.write();
  const { created, deduped } = await taken;
  assertEquals([created, deduped, filtered], [1, 2, 3]);
});

Deno.test("createIntake() fails all twins of a create that fails, and forgets it", async () => {
  const { store, waiting } = heldStore();
  const { intake, dedup } = intakeOn(store);
  const twins = source("falco", () => [drawn(1), drawn(1), drawn(1)]);
  const taken = intake.take(twins, PAYLOAD, POSTED);
  await settled();
  waiting[0]?.write({ kind: "failed", reason: "unavailable" });
  assertEquals((await taken).byReason.failed, { unavailable: 3 });
  assertEquals([dedup.inFlight, dedup.usage()], [0, 0]);
});

Deno.test("createIntake() lets a twin wait no longer than its own deadline", async () => {
  const { store, waiting } = heldStore();
  const { intake, recorder } = intakeOn(store);
  const twins = source("falco", () => [drawn(1)]);
  const first = intake.take(twins, PAYLOAD, POSTED);
  const deadline = new AbortController();
  const second = intake.take(twins, PAYLOAD, { ...POSTED, signal: deadline.signal });
  await settled();
  deadline.abort();
  assertEquals((await second).byReason.failed, { unavailable: 1 });
  waiting[0]?.write();
  assertEquals([(await first).created, recorder.open_], [1, 0]);
});

Deno.test("createIntake() takes 10,000 events of a payload and reports the rest as a payload error", async () => {
  const { intake } = intakeOn({
    write: () => Promise.resolve({ outcome: { kind: "created" } }),
    repeat() {},
  });
  function* many() {
    for (let id = 0; id <= MAX_EVENTS_PER_PAYLOAD; id++) yield drawn(id);
  }
  const result = await intake.take(source("falco", many), PAYLOAD, POSTED);
  assertEquals([result.received, result.created], [10_000, 10_000]);
  assertEquals(result.payloadErrors.map(({ reason }) => reason), ["too_many_events"]);
});

Deno.test("createIntake() takes no more events of a payload than four times its text and 16 MiB hold", async () => {
  const { intake } = intakeOn({
    write: () => Promise.resolve({ outcome: { kind: "created" } }),
    repeat() {},
  });
  const long = "x".repeat(2 ** 20);
  let drawings = 0;
  function* repeating() {
    for (let id = 0; id < 100; id++, drawings++) {
      yield { event: { ...(drawn(id) as { event: DrawnEvent }).event, details: { long } } };
    }
  }
  const short = await intake.take(source("falco", repeating), PAYLOAD, POSTED);
  assertEquals([short.received, drawings], [15, 15]);
  assertEquals(short.payloadErrors.map(({ reason }) => reason), ["too_many_events"]);
  // Of a long payload the events may hold more: an alert's text is in its details, its message and its identity.
  const holding = await intake.take(source("falco", repeating), { ...PAYLOAD, body: { long } }, POSTED);
  assertEquals(holding.received, 19);
  const parts = async function* () {
    for (let part = 0; part < 3; part++) yield { ...PAYLOAD, body: { long, part } };
  };
  const once = source("falco", () => [...repeating()].slice(0, 4));
  assertEquals((await intake.take(once, parts(), POSTED)).received, 12);
});

Deno.test("createIntake() stops reading a payload after 10,000 unreadable parts, and reports that", async () => {
  const { intake } = intakeOn({
    write: () => Promise.resolve({ outcome: { kind: "created" } }),
    repeat() {},
  });
  let asked = 0;
  function* many(): Generator<Drawn> {
    for (; asked < 1_000_000; asked++) {
      yield { error: { reason: "wrong_shape", path: `[${asked}]`, message: "x" } };
    }
    yield drawn(1);
  }
  const result = await intake.take(source("falco", many), PAYLOAD, POSTED);
  assertEquals([asked, result.received, result.payloadErrorCount], [10_000, 0, 10_001]);
  assertEquals(result.payloadErrors.at(-1), {
    reason: "too_many_events",
    path: "",
    message: "more than 10000 parts that cannot be read, the rest is not taken",
  });
});

Deno.test("createIntake() keeps the events drawn before a generator threw, and counts a payload error", async () => {
  const { intake } = intakeOn({
    write: () => Promise.resolve({ outcome: { kind: "created" } }),
    repeat() {},
  });
  function* broken(): Generator<Drawn> {
    yield drawn(1);
    yield { error: { reason: "missing_field", path: "items[1].rule", message: "absent" } };
    yield drawn(2);
    throw new Error("a defect of the source");
  }
  const result = await intake.take(source("falco", broken), PAYLOAD, POSTED);
  assertEquals([result.received, result.created, result.payloadErrorCount], [2, 2, 2]);
  assert(result.payloadErrors[1]?.message.includes("a defect of the source"));
});

Deno.test("createIntake() gives only the event whose filter throws the outcome failed{internal}", async () => {
  const { store, waiting } = heldStore();
  const recorder = books();
  const dedup = createDedup({ index: { newest: () => undefined }, maxSize: 100 });
  const intake = createIntake({
    steps: {
      filter: ({ identity }) => {
        if (identity.includes('"id":1')) throw new Error("a defect");
        return undefined;
      },
      inScope: () => true,
      admits: () => "admitted",
      dedup,
    },
    limits: NO_LIMITS,
    store,
    recorder,
    ...DRAWING,
  });
  const taken = intake.take(source("falco", () => [drawn(1), drawn(2)]), PAYLOAD, POSTED);
  await settled();
  waiting[0]?.write();
  const { created, byReason, undecided } = await taken;
  assertEquals([created, byReason.failed, undecided], [1, { internal: 1 }, 1]);
});

Deno.test("createIntake() returns the fingerprints a report holds: filtered findings too, resolved ones not", async () => {
  const { store } = heldStore();
  const { intake } = intakeOn(store);
  const aborted = AbortSignal.abort();
  const findings = source("trivy", () => [
    drawn(1),
    { event: { ...(drawn(2) as { event: DrawnEvent }).event, resolved: true } },
    drawn(3),
  ], "finding");
  const result = await intake.take(findings, PAYLOAD, { ...WATCHED, signal: aborted });
  const options = { source: findings, feed: WATCHED.feed, settings: EVENT_SETTINGS };
  const fingerprintOf = (id: number) =>
    normalize((drawn(id) as { event: DrawnEvent }).event, PAYLOAD, options).fingerprint;
  assertEquals(result.fingerprints, [1, 3].map(fingerprintOf));
  const filtering = intakeOn(store, NO_LIMITS, () => ({ reason: "exclude_kinds" }));
  const filtered = await filtering.intake.take(findings, PAYLOAD, { ...WATCHED, signal: aborted });
  assertEquals([filtered.fingerprints, filtered.filteredFingerprints], [[], [1, 3].map(fingerprintOf)]);
});

Deno.test("createIntake() writes an alert while thousands of findings wait", async () => {
  const { store, waiting } = heldStore();
  const slots = createWriteSlots({ limit: 8, perSource: 7, perNamespace: 7, perTenant: 6 });
  const { intake } = intakeOn(store, { ...NO_LIMITS, slots });
  function* many() {
    for (let id = 0; id < 5_000; id++) yield drawn(id);
  }
  const end = new AbortController();
  const sync = intake.take(source("trivy", many, "finding"), PAYLOAD, { ...WATCHED, signal: end.signal });
  await settled();
  assertEquals(waiting.length, 6, "as many as one source may");
  const alert = intake.take(source("falco", () => [drawn(1)]), PAYLOAD, POSTED);
  await settled();
  assertEquals(waiting.filter(({ source }) => source === "falco").length, 1);
  for (const { write } of waiting) write();
  assertEquals((await alert).created, 1);
  end.abort();
  for (let written = 0; written < waiting.length;) {
    for (; written < waiting.length; written++) waiting[written]?.write();
    await settled();
  }
  assertEquals((await sync).received, 5_000);
});

Deno.test("createIntake() yields to the event loop during thousands of duplicates", async () => {
  const { intake } = intakeOn({
    write: (event, generation) =>
      Promise.resolve({
        outcome: { kind: "created" },
        generation: {
          namespace: "",
          name: "x",
          generation,
          firstSeenAt: event.at,
          lastSeenAt: event.at,
          active: true,
          contentHash: 0,
        },
      }),
    repeat() {
      // A tenth of a millisecond each.
      const end = performance.now() + 0.1;
      while (performance.now() < end);
    },
  }, createLimits({ clock: systemClock, rate: { perSecond: 1, burst: 1 } }));
  let turns = 0;
  const probe = setInterval(() => turns++, 1);
  const taken = intake.take(
    source("falco", function* () {
      for (let id = 0; id < 3_000; id++) yield drawn(1);
    }),
    PAYLOAD,
    POSTED,
  );
  const { deduped } = await taken;
  clearInterval(probe);
  assertEquals(deduped, 2_999);
  assert(turns >= 5, `${turns} turns`);
});

Deno.test("the books balance under random mixes of everything (property)", async () => {
  const event = fc.record({ id: fc.nat(6), minutes: fc.nat(5), drop: fc.boolean(), kind: fc.nat(9) });
  const batch = fc.record({
    replica: fc.nat(1),
    kind: fc.constantFrom("finding" as const, "occurrence" as const),
    events: fc.array(event, { minLength: 1, maxLength: 12 }),
    deadlineMs: fc.option(fc.nat(3_000)),
    delayMs: fc.nat(90_000),
  });
  const fault = fc.constantFrom("none", "429", "network", "lost", "422", "500", "missing namespace");
  await fc.assert(
    fc.asyncProperty(
      fc.array(batch, { minLength: 1, maxLength: 12 }),
      fc.array(fault, { maxLength: 30 }),
      scenario,
    ),
    { numRuns: 40 },
  );

  async function scenario(batches: readonly BatchPlan[], faults: readonly string[]): Promise<void> {
    const time = new VirtualTime();
    const kube = new FakeKube(() => time.now());
    const queue = [...faults];
    kube.script = faulty(queue);
    const newReplica = () =>
      new Replica(kube, {
        time,
        rate: createRateLimiter({ clock: time, rate: { perSecond: 5, burst: 10 }, timer: time.timer }),
        steps: {
          filter: ({ fingerprint }) => fingerprint.endsWith("0") ? { reason: "min_severity" } : undefined,
          admits: ({ fingerprint }) => fingerprint.endsWith("1") ? "refused" : "admitted",
          inScope: ({ fingerprint }) => !fingerprint.endsWith("2"),
        },
      });
    const replicas = [newReplica(), newReplica()];
    const results: Promise<unknown>[] = [];
    for (const { replica, kind, events, deadlineMs, delayMs } of batches) {
      const deadline = new AbortController();
      if (deadlineMs !== null) void time.sleep(deadlineMs).then(() => deadline.abort());
      const drawn = events.map(({ id, minutes, drop }) => ({
        identity: { id },
        detectedAt: time.now() - minutes * 60_000,
        ...(drop && { drop: "not_relevant" as const }),
      }));
      const taken = replicas[replica]!.take(drawn, {
        kind,
        signal: deadline.signal,
        pushed: deadlineMs !== null,
      });
      results.push(taken.then((result) => {
        assertEquals(result.received, events.length);
        assertEquals(result.created + result.deduped + result.filtered + result.failed, events.length);
      }));
      await time.advance(delayMs);
    }
    for (let waited = 0; waited < 20; waited++) await time.advance(30_000);
    await Promise.all(results);
    queue.length = 0;
    let created = 0;
    for (const replica of replicas) {
      await replica.store.repeats.flush(NO_DEADLINE);
      for (const { outcomes } of replica.books) {
        assertEquals(outcomes.length, 1, "exactly one outcome");
        if (outcomes[0]?.kind === "created") created++;
      }
      assertEquals([replica.dedup.inFlight, replica.slots.taken, replica.index.size], [
        0,
        0,
        kube.stored.length,
      ]);
    }
    // A create that was applied and then refused for good at its deadline is stored although its answer said otherwise.
    assert(kube.stored.length >= created, `${created} created, ${kube.stored.length} stored`);
    const findings = kube.stored.filter(({ metadata }) => !metadata.name?.match(/-\d{1,4}$/));
    assertEquals(new Set(findings.map(({ metadata }) => metadata.name)).size, findings.length);
    for (const replica of replicas) await replica.kill();
  }

  function faulty(queue: string[]): FakeKube["script"] {
    let lost = false;
    return {
      before: ({ verb }) => {
        if (verb !== "create") return;
        const next = queue.shift();
        lost = next === "lost";
        if (next === "429") throw apiError("create", 429, "TooManyRequests");
        if (next === "500") throw apiError("create", 500, "InternalError");
        if (next === "422") throw apiError("create", 422, "Invalid");
        if (next === "network") throw new NetworkError("reset");
        if (next === "missing namespace") {
          throw apiError("create", 404, "NotFound", { details: { kind: "namespaces" } });
        }
      },
      after: ({ verb }) => {
        if (verb === "create" && lost) throw new NetworkError("the answer is lost");
      },
    };
  }
});

interface BatchPlan {
  readonly replica: number;
  readonly kind: "finding" | "occurrence";
  readonly events: readonly { readonly id: number; readonly minutes: number; readonly drop: boolean }[];
  readonly deadlineMs: number | null;
  readonly delayMs: number;
}

Deno.test("an event that may be stored later is undecided, and the log does not say that it never can be", async () => {
  for (const reason of FAIL_REASONS) {
    const lines: JsonObject[] = [];
    configureLogging({ level: "INFO", format: "json", write: (line) => void lines.push(JSON.parse(line)) });
    const intake = createIntake({
      steps: {
        filter: () => undefined,
        inScope: () => true,
        admits: () => "admitted",
        dedup: createDedup({ index: { newest: () => undefined }, maxSize: 100 }),
      },
      limits: NO_LIMITS,
      store: { write: () => Promise.resolve({ outcome: { kind: "failed", reason } }), repeat() {} },
      recorder: createBooks(createMetrics(), systemClock),
      ...DRAWING,
    });
    const { undecided } = await intake.take(source("falco", () => [drawn(1)]), PAYLOAD, POSTED);
    const isFinal = lines.some(({ message }) => message === "Event can never be stored");
    assertEquals([reason, undecided, lines.length], [reason, isFinal ? 0 : 1, 1]);
  }
});

Deno.test("an event that is not written says why: its deadline, the crowd of its namespace, or too many retries", async () => {
  const refused = apiError("create", 429, "TooManyRequests");
  const whyNot = async (
    take: Limits["slots"]["take"] | undefined,
    signal: AbortSignal,
    abort: () => void,
  ) => {
    const time = new VirtualTime();
    const kube = new FakeKube(() => time.now());
    kube.script = {
      before: ({ verb }) => {
        if (verb === "create") throw refused;
      },
    };
    const replica = new Replica(kube, { time });
    if (take) Object.assign(replica.slots, { take });
    const taken = replica.take([{ identity: { rule: "a" } }], { signal });
    await time.advance(1_000);
    abort();
    await taken;
    await replica.kill();
    const [outcome] = replica.books[0]?.outcomes ?? [];
    return outcome?.kind === "failed" ? outcome.message : outcome?.kind;
  };
  const stop = new AbortController();
  assertEquals(
    await whyNot(
      undefined,
      stop.signal,
      () => stop.abort(new DOMException("the deadline of its request is over", "TimeoutError")),
    ),
    "not written: the deadline of its request is over; last error: Cannot create: TooManyRequests (HTTP 429 TooManyRequests)",
  );
  const none = createWriteSlots({ limit: 1, perSource: 1, perNamespace: 1, perTenant: 1, maxOutside: 0 });
  assertEquals(
    await whyNot(none.take, new AbortController().signal, () => {}),
    "too many writes of its namespace, or of all, wait for a retry: Cannot create: TooManyRequests (HTTP 429 TooManyRequests)",
  );
});
