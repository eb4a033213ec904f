import { assertEquals } from "@std/assert";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica } from "../../tests/support/leader.ts";
import { type ObservationFields, storedObservation } from "../../tests/support/observation.ts";
import { EVENT_SETTINGS } from "../../tests/support/source_runtime.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { lifetimeOf } from "./lifetime.ts";

const HOUR_MS = 3_600_000;
const time = (ms: number) => new Date(ms).toISOString();

/** What an Observation that was created at that time is like, and whether it was pushed. */
const KINDS: Readonly<
  Record<string, { readonly isPushed?: true; fields(createdAt: number): ObservationFields }>
> = {
  "an occurrence, whatever repeated": {
    fields: (createdAt) => ({
      source: "falco",
      kind: "occurrence",
      generation: 1,
      ttlSeconds: 3_600,
      status: { lastSeenAt: time(createdAt + HOUR_MS / 2) },
    }),
  },
  "a Resolved finding, whatever its own TTL": {
    fields: (createdAt) => ({
      source: "trivy",
      ttlSeconds: 3_600,
      status: { phase: "Resolved", resolvedAt: time(createdAt + 5 * HOUR_MS) },
    }),
  },
  "a pushed finding, which a repeat moves": {
    isPushed: true,
    fields: (createdAt) => ({
      source: "scanner",
      ttlSeconds: 3_600,
      status: { lastSeenAt: time(createdAt + 3 * HOUR_MS) },
    }),
  },
  "a pushed finding that is Resolved": {
    isPushed: true,
    fields: (createdAt) => ({
      source: "scanner",
      ttlSeconds: 9_000,
      status: { phase: "Resolved", resolvedAt: time(createdAt + HOUR_MS) },
    }),
  },
};

for (const [kind, { isPushed = false, fields }] of Object.entries(KINDS)) {
  Deno.test(`lifetimeOf() tells when the garbage collector deletes ${kind}`, async () => {
    const clock = new VirtualTime();
    const kube = new FakeKube(() => clock.now());
    const now = Math.floor(clock.now() / 1_000) * 1_000;
    const endOf = (createdAt: number) => {
      const observation = storedObservation({ ...fields(createdAt), createdAt });
      return Date.parse(
        lifetimeOf(observation, { isPushed, settings: EVENT_SETTINGS, now: createdAt }).deletedAfter,
      );
    };
    const lengthMs = endOf(now) - now;
    // One that ends a second ago, and one that ends in five.
    for (const [id, endMs] of [["over", now - 1_000], ["open", now + 5_000]] as const) {
      const createdAt = endMs - lengthMs;
      kube.put(storedObservation({ ...fields(createdAt), createdAt, id, message: id }));
    }
    const leader = new LeadingReplica({
      time: clock,
      kube,
      stateOf: () => isPushed ? "unwatched" : "reported",
    });
    try {
      const collected = leader.expiry.collect(new AbortController().signal);
      await clock.advance(1_000);
      await collected;
      assertEquals(kube.stored.map(({ spec }) => spec.message), ["open"]);
    } finally {
      await leader.kill();
    }
  });
}
