import { assertEquals } from "@std/assert";
import { ALLOW_ALL, type FilterSet } from "../../filters/filter.ts";
import type { Drawn, DrawnEvent, EventSource, Payload } from "../../model/event.ts";
import { MAX_EVENTS_PER_PAYLOAD } from "../../pipeline/intake.ts";
import { readSettings } from "../../settings.ts";
import { DRAW_CONTEXT } from "../../../tests/support/source_runtime.ts";
import { createDryRun, type DryRunOptions } from "./dry_run.ts";

const PAYLOAD: Payload = { body: null, origin: { confined: false }, receivedAt: 0 };
const SETTINGS = readSettings(() => undefined);

function drawn(message: string, fields: Partial<DrawnEvent> = {}): Drawn {
  return {
    event: {
      category: "security",
      severity: "HIGH",
      eventType: "test",
      message,
      rules: [],
      details: {},
      identity: { message },
      ...fields,
    },
  };
}

/** An event that can be measured, as it is before it is normalised, and cannot be normalised. */
function broken(): Drawn {
  const event = Object.defineProperty({}, "message", {
    enumerable: false,
    get() {
      throw new Error("a defect");
    },
  });
  return { event: event as DrawnEvent };
}

/** A source whose findings differ by their messages. */
function source(draw: () => Iterable<Drawn>, fields: Partial<EventSource> = {}): EventSource {
  return { name: "tool", kind: "finding", draw, ...fields };
}

function dryRun(source: EventSource, options: Partial<DryRunOptions> = {}) {
  const feed = { type: "post" } as const;
  const defaults = { feed, context: DRAW_CONTEXT, filters: ALLOW_ALL, settings: SETTINGS };
  return createDryRun({ source, ...defaults, ...options });
}

Deno.test("createDryRun() continues after an event that cannot be normalised, as the server does", async () => {
  const run = dryRun(source(() => [drawn("one"), broken(), drawn("three")]));
  await run.take(PAYLOAD);
  assertEquals(run.events.map(({ outcome }) => outcome), ["created", "created"]);
  assertEquals(run.errors.map(({ reason }) => reason), ["invalid_value"]);
});

Deno.test("createDryRun() fails the event whose filter throws, and no other, as the server does", async () => {
  const filters: FilterSet = {
    ...ALLOW_ALL,
    evaluate: ({ message }) => {
      if (message === "one") throw new Error("a defect");
      return { pass: true };
    },
  };
  const run = dryRun(source(() => [drawn("one"), drawn("two")]), { filters });
  await run.take(PAYLOAD);
  assertEquals(run.events.map(({ outcome, reason }) => [outcome, reason]), [["failed", "internal"], [
    "created",
    null,
  ]]);
  assertEquals(run.events[0]?.steps.at(-1), { step: "filter", verdict: "failed", detail: "a defect" });
});

Deno.test("createDryRun() keeps what a generator drew before it threw", async () => {
  const run = dryRun(source(function* () {
    yield drawn("one");
    throw new Error("a defect");
  }));
  await run.take(PAYLOAD);
  assertEquals([run.events.length, run.errors.map(({ reason }) => reason)], [1, ["wrong_shape"]]);
});

Deno.test("createDryRun() takes 10,000 events of a payload and says that the rest is left out", async () => {
  const run = dryRun(source(function* () {
    for (let id = 0; id <= MAX_EVENTS_PER_PAYLOAD; id++) yield drawn(`${id}`);
  }));
  await run.take(PAYLOAD);
  assertEquals([run.events.length, run.errors.map(({ reason }) => reason)], [10_000, ["too_many_events"]]);
});

Deno.test("createDryRun() counts the repeats of an occurrence, twins of one payload too", async () => {
  const run = dryRun(source(() => [drawn("act"), drawn("act")], { kind: "occurrence" }));
  await run.take(PAYLOAD);
  await run.take(PAYLOAD);
  assertEquals(run.events.map(({ outcome }) => outcome), ["created", "deduped", "deduped", "deduped"]);
  const details = run.events.map(({ steps }) => steps.at(-1)?.detail ?? "");
  assertEquals(details.map((detail) => /seen \d+ times/.exec(detail)?.[0]), [
    undefined,
    "seen 2 times",
    "seen 3 times",
    "seen 4 times",
  ]);
  // Dedup decides a twin twice; the filters decide it once.
  assertEquals(run.events[1]?.steps.map(({ step }) => step), ["draw", "normalize", "filter", "dedup"]);
});

Deno.test("createDryRun() ends a stored finding, and drops the end of one that is not stored", async () => {
  const end = drawn("finding", { resolved: true });
  const run = dryRun(source(() => [end, drawn("finding"), end, drawn("finding")]));
  await run.take(PAYLOAD);
  assertEquals(run.events.map(({ outcome, reason }) => reason ?? outcome), [
    "not_relevant",
    "created",
    "deduped",
    "deduped",
  ]);
  assertEquals(run.events[0]?.steps.at(-1)?.verdict, "drop");
  assertEquals(run.events[3]?.steps.at(-1)?.detail.split(", ")[1], "seen 2 times", "it came back");
});

Deno.test("createDryRun() opens the next generation of an occurrence after its window", async () => {
  const run = dryRun(source(() => [drawn("act")], { kind: "occurrence" }));
  for (const receivedAt of [0, 59_000, 100_000, 161_000]) await run.take({ ...PAYLOAD, receivedAt });
  assertEquals(run.events.map(({ observation }) => observation?.metadata.name?.split("-").at(-1)), [
    "1",
    undefined,
    undefined,
    "2",
  ]);
});

Deno.test("createDryRun() drops what lies outside WATCH_NAMESPACE, as this shard would", async () => {
  const resource = (namespace: string) => ({ kind: "Pod", namespace });
  const settings = readSettings((name) => name === "WATCH_NAMESPACE" ? "shop" : undefined);
  const outcomes = await Promise.all(["shop", "bank"].map(async (namespace) => {
    const run = dryRun(source(() => [drawn("one", { resource: resource(namespace) })]), { settings });
    await run.take(PAYLOAD);
    return run.events.map((
      { reason, steps },
    ) => [reason, steps.find(({ step }) => step === "scope")?.verdict]);
  }));
  assertEquals(outcomes, [[[null, "pass"]], [["out_of_scope", "drop"]]]);
});
