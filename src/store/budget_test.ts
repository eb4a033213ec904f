import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SEVERITIES, type Severity } from "../model/observation.ts";
import type { Admission } from "../pipeline/intake.ts";
import type { BudgetState } from "./budget.ts";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica, type LeadingReplicaOptions } from "../../tests/support/leader.ts";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { type ObservationFields, storedObservation } from "../../tests/support/observation.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const NEVER = new AbortController().signal;

interface It {
  readonly time: VirtualTime;
  readonly kube: FakeKube;
  readonly leader: LeadingReplica;
  evict(): Promise<number>;
  /** `source severity phase` of what is stored, and how many. */
  left(): Record<string, number>;
}

async function leading(
  objects: readonly ObservationFields[],
  test: (it: It) => Promise<void>,
  budget: LeadingReplicaOptions["budget"] = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  for (const fields of objects) kube.put(storedObservation(fields));
  const leader = new LeadingReplica({ time, kube, budget });
  try {
    await test({
      time,
      kube,
      leader,
      async evict() {
        const evicted = leader.expiry.evict(NEVER);
        await time.advance(10_000);
        return await evicted;
      },
      left() {
        const counts: Record<string, number> = {};
        for (const { spec, status } of kube.stored) {
          const key = `${spec.source} ${spec.severity} ${status?.phase}`;
          counts[key] = (counts[key] ?? 0) + 1;
        }
        return counts;
      },
    });
  } finally {
    await leader.kill();
  }
}

/** So many of a source; each a second younger than the one before. */
function many(count: number, source: string, fields: ObservationFields = {}): ObservationFields[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${source}-${fields.severity ?? "HIGH"}-${fields.status?.phase ?? ""}-${index}`,
    source,
    createdAt: Date.UTC(2026, 0, 1) + index * 1_000,
    ...fields,
  }));
}

const event = (
  source: string,
  severity: Severity,
  kind: "finding" | "occurrence" = "finding",
  namespace = "default",
) => normalEvent({ source, severity, kind, namespace, resource: { namespace } });

function assertIs(expected: Admission, admission: Admission, why?: string): void {
  assertEquals(admission, expected, why);
}

Deno.test("below the budget everything is admitted", () =>
  leading(many(99, "trivy"), ({ leader }) => {
    assertIs("admitted", leader.budget.admits(event("trivy", "UNKNOWN")));
    assertEquals(leader.budget.state, "room");
    return Promise.resolve();
  }));

Deno.test("within a source and namespace, Resolved Observations are evicted first", () =>
  leading(
    [
      ...many(95, "trivy", { severity: "LOW" }),
      ...many(5, "trivy", { severity: "CRITICAL", status: { phase: "Resolved" } }),
      ...many(5, "kyverno", { severity: "CRITICAL", status: { phase: "Resolved" } }),
    ],
    async ({ evict, left }) => {
      assertEquals(await evict(), 5);
      assertEquals(left(), { "trivy LOW Active": 95, "kyverno CRITICAL Resolved": 5 });
    },
  ));

Deno.test("after Resolved ones, the source that exceeds its share the most loses its lowest severity, oldest first", () =>
  leading(
    [
      ...many(60, "trivy", { severity: "MEDIUM" }),
      ...many(6, "trivy", { severity: "LOW" }),
      ...many(44, "kyverno", { severity: "UNKNOWN" }),
    ],
    async ({ kube, evict, left }) => {
      assertEquals(await evict(), 10);
      assertEquals(left(), { "trivy MEDIUM Active": 56, "kyverno UNKNOWN Active": 44 });
      const oldest = kube.stored.filter(({ spec }) => spec.source === "trivy")
        .map(({ metadata }) => metadata.creationTimestamp ?? "").sort()[0];
      assertEquals(oldest, "2026-01-01T00:00:04Z");
    },
  ));

Deno.test("sources equally far over their shares lose Observations in turns", () =>
  leading([...many(60, "trivy"), ...many(60, "kyverno")], async ({ evict, left }) => {
    assertEquals(await evict(), 20);
    assertEquals(left(), { "trivy HIGH Active": 50, "kyverno HIGH Active": 50 });
  }));

Deno.test("a flood of forged CRITICALs from one webhook does not push out other sources' findings", () =>
  leading(
    [
      ...many(30, "trivy", { severity: "LOW" }),
      ...many(60, "falco", { severity: "CRITICAL", kind: "occurrence" }),
    ],
    async ({ time, leader, kube, evict, left }) => {
      const end = new AbortController();
      const running = leader.expiry.run(end.signal);
      for (let flood = 0; flood < 40; flood++) {
        for (let id = 0; id < 5; id++) {
          const forged = { source: "falco", severity: "CRITICAL", kind: "occurrence" } as const;
          if (leader.budget.admits(event("falco", "CRITICAL", "occurrence")) !== "admitted") continue;
          kube.put(
            storedObservation({ ...forged, id: `${flood}-${id}`, generation: 1, createdAt: time.now() }),
          );
        }
        assert(kube.stored.length <= 110, `${kube.stored.length} stored: budget and one burst`);
        await time.advance(500);
      }
      end.abort();
      await time.advance(0);
      await running;
      await evict();
      assertEquals(left(), { "trivy LOW Active": 30, "falco CRITICAL Active": 70 });
    },
  ));

Deno.test("a source under its share is never refused because of another", () =>
  leading(many(100, "falco", { severity: "CRITICAL" }), async ({ leader, kube, time }) => {
    const alert = event("falco", "CRITICAL", "occurrence");
    assertIs("admitted", leader.budget.admits(alert), "it replaces an older one");
    for (const fields of many(10, "falco", { severity: "LOW" })) kube.put(storedObservation(fields));
    await time.advance(0);
    assertIs("later", leader.budget.admits(alert), "the overshoot is used up");
    assertIs("admitted", leader.budget.admits(event("trivy", "UNKNOWN")));
  }));

Deno.test("where nothing is deleted, at most twice the budget and one burst are stored, whatever comes", () =>
  leading(many(110, "falco", { severity: "LOW" }), async ({ leader, kube, time }) => {
    const sources = ["trivy", "kyverno", "audit", "kube-bench", "checkov", "falco", "tool-1", "tool-2"];
    for (let round = 0; round < 60; round++) {
      for (const source of sources) {
        const namespace = `ns-${round % 30}`;
        if (leader.budget.admits(event(source, "CRITICAL", "finding", namespace)) !== "admitted") continue;
        const fields = { source, namespace, severity: "CRITICAL", id: `${source}-${round}` } as const;
        kube.put(storedObservation(fields));
        await time.advance(0);
      }
    }
    assert(kube.stored.length > 120, `${kube.stored.length}: what is within its share is stored`);
    assert(kube.stored.length <= 210, `${kube.stored.length}: budget, one burst, and the shares`);
  }));

Deno.test("20 CRITICAL alerts beside 100 sources that one namespace invented are stored and stay", () =>
  leading(
    Array.from({ length: 140 }, (_, id) => ({
      id,
      source: `invented-${id % 100}`,
      namespace: "evil",
      severity: "CRITICAL" as const,
    })),
    async ({ leader, kube, evict, left, time }) => {
      for (const fields of many(20, "falco", { severity: "CRITICAL", kind: "occurrence", generation: 1 })) {
        assertIs("admitted", leader.budget.admits(event("falco", "CRITICAL", "occurrence")));
        kube.put(storedObservation(fields));
        await time.advance(0);
      }
      assertEquals(await evict(), 20);
      assertEquals(left()["falco CRITICAL Active"], 20);
    },
    { maxCount: 140 },
  ));

Deno.test("within a source, a namespace under its share loses nothing and is refused nothing because of another", () =>
  leading(
    [
      ...many(90, "kyverno", { severity: "CRITICAL", namespace: "evil" }),
      ...many(20, "kyverno", { severity: "LOW", namespace: "shop" }),
    ].map((fields, id) => ({ ...fields, id })),
    async ({ leader, evict, kube }) => {
      assertIs("admitted", leader.budget.admits(event("kyverno", "UNKNOWN", "finding", "shop-2")));
      assertIs("refused", leader.budget.admits(event("kyverno", "CRITICAL", "finding", "evil")));
      assertEquals(await evict(), 10);
      const left = kube.stored.filter(({ spec }) => spec.resource?.namespace === "shop");
      assertEquals(left.length, 20);
    },
  ));

Deno.test("a lowered budget evicts, and refuses no event that ranks above stored ones", () =>
  leading(many(600, "trivy", { severity: "LOW" }), async ({ leader, kube, time, evict, left }) => {
    const end = new AbortController();
    const running = leader.expiry.run(end.signal);
    let stored = 0;
    for (let attempt = 0; stored < 300; attempt++) {
      assert(attempt < 3_000, `${stored} stored`);
      const admission = leader.budget.admits(event("trivy", "HIGH"));
      assert(admission !== "refused");
      if (admission === "admitted") {
        kube.put(storedObservation({ source: "trivy", severity: "HIGH", id: `new-${stored++}` }));
      }
      await time.advance(20);
    }
    end.abort();
    await time.advance(0);
    await running;
    await evict();
    assertEquals(left(), { "trivy HIGH Active": 300, "trivy LOW Active": 100 });
  }, { maxCount: 400 }));

Deno.test("an event that would be the next to be evicted is refused", () =>
  leading(many(100, "trivy", { severity: "MEDIUM" }), ({ leader: { budget } }) => {
    assertIs("refused", budget.admits(event("trivy", "LOW")));
    assertIs("refused", budget.admits(event("trivy", "MEDIUM")), "of equal findings the stored one stays");
    assertIs(
      "admitted",
      budget.admits(event("trivy", "MEDIUM", "occurrence")),
      "of equal acts the older one goes",
    );
    assertIs("admitted", budget.admits(event("trivy", "HIGH")));
    assertEquals(budget.state, "full");
    return Promise.resolve();
  }));

Deno.test("findings that a full budget refuses do not evict each other in turns", () =>
  leading(many(100, "trivy", { severity: "MEDIUM" }), async ({ leader, evict, kube }) => {
    const before = kube.stored;
    for (let round = 0; round < 3; round++) {
      for (let id = 0; id < 20; id++) assertIs("refused", leader.budget.admits(event("trivy", "MEDIUM")));
      assertEquals(await evict(), 0);
    }
    assertEquals(kube.stored, before);
  }));

Deno.test("bytes count as well as numbers", () =>
  leading(
    many(20, "trivy", { details: { text: "x".repeat(5_000) } }),
    async ({ leader, evict, kube }) => {
      assert(leader.budget.usage() > 1);
      assertIs("refused", leader.budget.admits(event("trivy", "HIGH")));
      assert(await evict() > 0);
      assert(leader.budget.usage() <= 1);
      assert(kube.stored.length >= 8, `${kube.stored.length} left`);
    },
    { maxBytes: 60_000 },
  ));

Deno.test("usage is a metric, and onChange is called once when the budget is full and once when it has room", async () => {
  const said: BudgetState[] = [];
  await leading(many(103, "trivy"), async ({ leader, evict, time, kube }) => {
    const { budget } = leader;
    const gauge = async () => (await leader.metrics.storageBudgetUsage.get()).values[0]?.value;
    budget.admits(event("trivy", "LOW"));
    budget.admits(event("trivy", "LOW"));
    budget.observe();
    assertEquals(await gauge(), 1.03);
    await evict();
    budget.observe();
    assertEquals([await gauge(), said.length], [1, 1]);
    for (const { metadata } of kube.stored.slice(0, 10)) {
      kube.remove(metadata.namespace ?? "", metadata.name ?? "");
    }
    await time.advance(0);
    budget.observe();
    budget.observe();
    assertEquals(said, ["full", "room"]);
  }, { onChange: (state) => void said.push(state) });
});

Deno.test("eviction stops once the lease may be another's", () =>
  leading(many(120, "trivy"), async ({ leader, time, kube }) => {
    leader.leads = false;
    const end = new AbortController();
    const running = leader.expiry.run(end.signal);
    await time.advance(5_000);
    end.abort();
    await running;
    assertEquals(kube.count("delete"), 0);
  }));

Deno.test("eviction ends within the budget and takes in the order of the contract (property)", async () => {
  const object = fc.record({
    source: fc.constantFrom("a", "b", "c"),
    severity: fc.constantFrom(...SEVERITIES),
    resolved: fc.boolean(),
    age: fc.nat(1_000),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(object, { maxLength: 60 }),
      fc.integer({ min: 1, max: 40 }),
      async (objects, maxCount) => {
        const fields = objects.map(({ resolved, age, ...rest }, id): ObservationFields => ({
          ...rest,
          id,
          createdAt: Date.UTC(2026, 0, 1) + age * 1_000,
          status: { phase: resolved ? "Resolved" : "Active" },
        }));
        await leading(fields, async ({ kube, evict }) => {
          await evict();
          assertEquals(kube.stored.length, Math.min(objects.length, maxCount));
          for (const source of ["a", "b", "c"]) {
            const had = objects.filter((each) => each.source === source && !each.resolved);
            const has = kube.stored.filter(({ spec, status }) =>
              spec.source === source && status?.phase === "Active"
            );
            const resolved = kube.stored.filter(({ spec, status }) =>
              spec.source === source && status?.phase === "Resolved"
            );
            assert(
              has.length === had.length || resolved.length === 0,
              "no Active one goes while a Resolved one of its source stays",
            );
            const least = Math.min(...has.map(({ spec }) => -SEVERITIES.indexOf(spec.severity)));
            const higherBefore = had.filter(({ severity }) => -SEVERITIES.indexOf(severity) > least).length;
            const higherNow = has.filter(({ spec }) => -SEVERITIES.indexOf(spec.severity) > least).length;
            assertEquals(higherNow, higherBefore, "no severer one goes before the least severe that stays");
          }
        }, { maxCount });
      },
    ),
    { numRuns: 40 },
  );
});
