import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { sha256 } from "../../model/identity.ts";
import { ANNOTATIONS, LABELS } from "../../model/observation.ts";
import { seenTimes } from "../../model/time.ts";
import { contentHashOf } from "../../pipeline/normalize.ts";
import { fingerprintKey } from "./projection.ts";
import { type IndexOptions, ObservationIndex } from "./mod.ts";
import type { Identified } from "../../pipeline/ports.ts";
import type { StoredObservation } from "../mod.ts";
import { Reporters } from "../reporters.ts";
import { type ObservationFields, storedObservation } from "../../../tests/support/observation.ts";

const NOW = Date.UTC(2026, 5, 1);

/** A finding as an event brings it: the same as `storedObservation({ id })`. */
function finding(id: string | number, fields: Partial<Identified> = {}): Identified {
  const resource = { namespace: "default" };
  return { fingerprint: sha256(String(id)), source: "trivy", severity: "HIGH", resource, ...fields };
}

function newIndex(options: Partial<IndexOptions> = {}): ObservationIndex {
  return new ObservationIndex({
    sharedNamespaces: ["zen-system"],
    clock: { now: () => NOW },
    contentHash: (observation) => contentHashOf(observation, []),
    ...options,
  });
}

function list(index: ObservationIndex, objects: readonly StoredObservation[], resourceVersion = "1"): void {
  index.take({ type: "init" });
  for (const object of objects) index.take({ type: "apply", object });
  index.take({ type: "synced", resourceVersion });
}

function changed(
  object: StoredObservation,
  resourceVersion: number,
  status: StoredObservation["status"] = {},
) {
  const metadata = { ...object.metadata, resourceVersion: String(resourceVersion) };
  return { ...object, metadata, status: { ...object.status, ...status } };
}

function names(index: ObservationIndex): string[] {
  return [...index.entries()].map((entry) => {
    const { namespace, name } = entry.row();
    return `${namespace}/${name}`;
  }).sort();
}

Deno.test("index finds the newest generation of a fingerprint in any namespace, in whichever order they came", () => {
  const index = newIndex();
  const generations = [2, 4, 1, 3].map((generation) =>
    storedObservation({
      generation,
      kind: "occurrence",
      namespace: generation % 2 === 0 ? "zen-system" : "default",
      resource: { namespace: "default" },
    })
  );
  list(index, generations);
  assertEquals(index.newest(finding(0))?.generation, 4);
  index.take({ type: "delete", object: changed(generations[1]!, 2) });
  assertEquals(index.newest(finding(0))?.generation, 3);
  assertEquals(index.newest(finding(0))?.namespace, "default");
  assertEquals(index.newest(finding("another")), undefined);
});

Deno.test("index keeps the fields that dedup, budget, expiry and findings read", () => {
  const index = newIndex();
  const object = storedObservation({
    source: "falco",
    kind: "occurrence",
    generation: 7,
    severity: "CRITICAL",
    category: "compliance",
    eventType: "runtime-threat",
    namespace: "prod",
    ttlSeconds: 60,
    createdAt: Date.UTC(2026, 4, 1),
    resourceVersion: "41",
    status: {
      phase: "Resolved",
      firstSeenAt: "2026-05-01T00:00:01.250Z",
      lastSeenAt: "2026-05-01T00:00:02.500Z",
      resolvedAt: "2026-05-02T00:00:00Z",
    },
  });
  list(index, [object], "41");
  const row = index.find("prod", object.metadata.name ?? "");
  assertEquals(row, {
    namespace: "prod",
    name: object.metadata.name ?? "",
    source: "falco",
    belongsTo: "prod",
    eventType: "runtime-threat",
    kind: "occurrence",
    severity: "CRITICAL",
    category: "compliance",
    fingerprint: sha256("0").slice(0, 25),
    generation: 7,
    uid: object.metadata.uid ?? "",
    resourceVersion: "41",
    createdAt: Date.UTC(2026, 4, 1),
    firstSeenAt: Date.UTC(2026, 4, 1, 0, 0, 1, 250),
    lastSeenAt: Date.UTC(2026, 4, 1, 0, 0, 2, 500),
    resolvedAt: Date.UTC(2026, 4, 2),
    active: false,
    ttlSeconds: 60,
    bytes: JSON.stringify(object).length,
    contentHash: contentHashOf(object, []),
    pushed: false,
    rule: "",
    acceptance: "",
    storedAcceptance: "",
  });
});

Deno.test("a list removes the Observations that it lacks, and onGone is called for each", () => {
  const gone: string[] = [];
  const index = newIndex();
  index.onGone = (fingerprint, generation) => gone.push(`${fingerprint}-${generation}`);
  const objects = [1, 2, 3].map((id) => storedObservation({ id, generation: 1 }));
  list(index, objects);
  assert(index.complete);
  list(index, [objects[1]!]);
  assertEquals(names(index), [`default/${objects[1]?.metadata.name}`]);
  assertEquals(gone.sort(), [1, 3].map((id) => `${sha256(String(id)).slice(0, 25)}-1`).sort());
});

Deno.test("an Observation that this process creates during a list stays in the index after the list", () => {
  const index = newIndex();
  index.take({ type: "init" });
  index.note(storedObservation({ id: 1, resourceVersion: "12" }));
  index.take({ type: "synced", resourceVersion: "10" });
  assertEquals(index.size, 1);
});

Deno.test("an Observation that this process created is not noted if the watch has already shown its deletion", () => {
  const index = newIndex();
  list(index, [], "10");
  const object = storedObservation({ resourceVersion: "11" });
  index.take({ type: "apply", object });
  index.take({ type: "delete", object: changed(object, 12) });
  index.note(object);
  assertEquals(index.size, 0);
});

Deno.test("older frames and the deletion of another uid change nothing", () => {
  const index = newIndex();
  const object = storedObservation({ resourceVersion: "10" });
  list(index, [object], "10");
  index.note(changed(object, 12, { phase: "Resolved" }));
  index.take({ type: "apply", object: changed(object, 11) });
  assertEquals(index.newest(finding(0))?.active, false);
  const former = storedObservation({ resourceVersion: "9" });
  index.take({ type: "delete", object: former });
  assertEquals(index.size, 1);
});

Deno.test("objects without zen-watcher's label are left out and counted, and indexed when they get it", () => {
  const index = newIndex();
  const mine = storedObservation({ id: 1 });
  const other = storedObservation({ id: 2, namespace: "evil", resource: { namespace: "default" } });
  const unmanaged = storedObservation({ id: 3 });
  const { [LABELS.managedBy]: _managedBy, ...labels } = unmanaged.metadata.labels ?? {};
  const stranger = { ...unmanaged, metadata: { ...unmanaged.metadata, labels } };
  const renamed = storedObservation({ id: 4 });
  const irregular = { ...renamed, metadata: { ...renamed.metadata, name: "by-hand" } };
  list(index, [mine, other, stranger, irregular]);
  assertEquals([index.size, index.foreign], [1, 3]);
  index.take({ type: "delete", object: changed(irregular, 5) });
  assertEquals([index.size, index.foreign], [1, 2]);
  list(index, [mine, other]);
  assertEquals([index.size, index.foreign], [1, 1]);
  index.take({
    type: "apply",
    object: { ...mine, metadata: { ...mine.metadata, resourceVersion: "6", labels } },
  });
  assertEquals([index.size, index.foreign], [0, 2], "what lost its label is no longer ours");
  index.take({ type: "apply", object: changed(mine, 7) });
  assertEquals([index.size, index.foreign], [1, 1], "and is again once it is back");
});

Deno.test("an Observation with another instance's label belongs to the shard of its namespace", () => {
  const index = newIndex({ covers: (belongsTo) => belongsTo !== "pay" });
  list(index, [
    storedObservation({ id: 1, instance: "blue" }),
    storedObservation({ id: 2, namespace: "zen-system", resource: { namespace: "pay" } }),
    storedObservation({ id: 3, namespace: "pay" }),
  ]);
  assertEquals([index.size, index.foreign], [1, 0]);
  assert(index.newest(finding(1)));
});

/** Observations that an attacker could create, and why each is set aside. */
const PLANTED: Readonly<Record<string, [why: string, StoredObservation]>> = {
  "in a namespace that it does not belong to": [
    "misplaced",
    storedObservation({ namespace: "evil", resource: { namespace: "default" } }),
  ],
  "without a resource in a tenant's namespace": ["misplaced", storedObservation({ resource: {} })],
  "whose generation nothing counts to": [
    "irregular",
    storedObservation({ generation: 1_000_000_000, kind: "occurrence" }),
  ],
  "whose fingerprint is cut": ["irregular", withFingerprint(sha256("0").slice(0, 32))],
  "whose fingerprint is another": ["irregular", withFingerprint(sha256("1"))],
  "of a megabyte": ["too_large", storedObservation({ details: { text: "x".repeat(2 ** 20) } })],
};

function withFingerprint(fingerprint: string): StoredObservation {
  const object = storedObservation();
  const annotations = { ...object.metadata.annotations, [ANNOTATIONS.fingerprint]: fingerprint };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

for (const [name, [why, planted]] of Object.entries(PLANTED)) {
  Deno.test(`an Observation ${name} is set aside, counted and logged once`, () => {
    const told: string[] = [];
    const index = newIndex({ onForeign: (_object, why) => told.push(why) });
    list(index, [planted]);
    list(index, [planted]);
    assertEquals([index.size, index.foreign, told], [0, 1, [why]]);
    assertEquals(index.newest(finding(0)), undefined);
  });
}

Deno.test("an Observation that differs in severity, source or resource's namespace is not the event's", () => {
  const index = newIndex();
  list(index, [storedObservation()]);
  assert(index.newest(finding(0)));
  const others: Partial<Identified>[] = [{ severity: "LOW" }, { source: "kyverno" }, {
    resource: { namespace: "evil" },
  }, { resource: {} }];
  for (const other of others) {
    assertEquals(index.newest(finding(0, other)), undefined);
    assert(!index.isSame(storedObservation(), finding(0, other)));
  }
});

Deno.test("times before 2000 or more than a day ahead read as if they were absent", () => {
  const createdAt = Date.UTC(2026, 4, 1, 12);
  for (const time of ["9999-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "2026-06-02T00:00:01Z"]) {
    const status = { firstSeenAt: time, lastSeenAt: time };
    const seen = seenTimes(storedObservation({ createdAt, detectedAt: "x", status }), NOW);
    assertEquals(seen, { createdAt, firstSeenAt: createdAt, lastSeenAt: createdAt });
  }
  const soon = "2026-06-01T23:59:59Z";
  const status = { lastSeenAt: soon };
  assertEquals(seenTimes(storedObservation({ createdAt, status }), NOW).lastSeenAt, Date.parse(soon));
});

Deno.test("index and reporters of 20,000 and 50,000 findings fit into 6 and 15 MB of heap", () => {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc") as () => void;
  const heapUsed = () => {
    collectGarbage();
    return Deno.memoryUsage().heapUsed;
  };
  const index = newIndex();
  const reporters = new Reporters({ seconds: () => 0, now: () => 0 });
  const view = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
  const before = heapUsed();
  let id = 0;
  const growTo = (count: number) => {
    while (id < count) {
      const fingerprints: string[] = [];
      for (let each = 0; each < 10; each++, id++) {
        index.take({ type: "apply", object: storedObservation({ id }) });
        fingerprints.push(sha256(String(id)));
      }
      reporters.report(view, { key: `prod/report-${id}`, fingerprints, readable: true });
    }
    return heapUsed() - before;
  };
  index.take({ type: "init" });
  const at20k = growTo(20_000), at50k = growTo(50_000);
  assertEquals(index.size, 50_000);
  assert(at20k <= 6e6, `${at20k} bytes with 20,000`);
  assert(at50k <= 15e6, `${at50k} bytes with 50,000`);
  assert(index.byteLength <= 2 ** 16 * 130, `${index.byteLength} bytes outside the heap`);
  assert(reporters.reports("trivy", fingerprintKey(sha256("0"))), "they are held");
});

Deno.test("index agrees with a plain map over random changes (property)", () => {
  // Some fingerprints share their first 64 bits, and so the key they are found by.
  const fingerprintOf = (id: number) => sha256(String(id % 3)).slice(0, 16) + sha256(String(id)).slice(16);
  const step = fc.oneof(
    fc.record({
      do: fc.constant("apply" as const),
      id: fc.nat(12),
      generation: fc.nat(3),
      resolved: fc.boolean(),
    }),
    fc.record({ do: fc.constant("delete" as const), id: fc.nat(12), generation: fc.nat(3) }),
    fc.record({ do: fc.constant("relist" as const), keep: fc.nat(100) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const index = newIndex();
      const model = new Map<string, StoredObservation>();
      let version = 0;
      list(index, []);
      for (const each of steps) {
        if (each.do === "relist") {
          for (const key of [...model.keys()]) {
            if (sha256(key).charCodeAt(0) * 2 > each.keep) model.delete(key);
          }
          list(index, [...model.values()], String(version));
          continue;
        }
        const key = `${each.id}-${each.generation}`;
        const fields: ObservationFields = {
          fingerprint: fingerprintOf(each.id),
          generation: each.generation,
          source: `s${each.id % 3}`,
          resourceVersion: String(++version),
        };
        const known = model.get(key);
        const uid = known?.metadata.uid;
        if (each.do === "apply") {
          const object = storedObservation({
            ...fields,
            ...(uid !== undefined && { uid }),
            status: { phase: each.resolved ? "Resolved" : "Active" },
          });
          model.set(key, object);
          index.take({ type: "apply", object });
        } else if (known) {
          model.delete(key);
          index.take({ type: "delete", object: changed(known, version) });
        }
      }
      const expected = [...model.values()];
      assertEquals(names(index), expected.map(({ metadata }) => `default/${metadata.name}`).sort());
      assertEquals(
        index.tallies.bytes,
        expected.reduce((sum, object) => sum + JSON.stringify(object).length, 0),
      );
      const active = expected.filter(({ status }) => status?.phase === "Active").length;
      assertEquals([...index.tallies.active()].reduce((sum, { count }) => sum + count, 0), active);
      assertEquals(index.tallies.resolved, expected.length - active);
      for (let id = 0; id <= 12; id++) {
        const newest = Math.max(-1, ...[0, 1, 2, 3].filter((generation) => model.has(`${id}-${generation}`)));
        const event = finding(id, { fingerprint: fingerprintOf(id), source: `s${id % 3}` });
        assertEquals(index.newest(event)?.generation ?? -1, newest);
      }
    }),
    { numRuns: 60 },
  );
});

/** An index whose list showed revision 100, and how often it wanted another one. */
function listedAt100(objects: readonly StoredObservation[] = [], options: Partial<IndexOptions> = {}) {
  const index = newIndex(options);
  list(index, objects, "100");
  const asked = { lists: 0 };
  index.onRewound = () => asked.lists++;
  return { index, asked };
}

Deno.test("an answer to a create whose resourceVersion is not above those seen before starts one list", () => {
  const { index, asked } = listedAt100();
  const [first, second] = [index.sent(), index.sent()];
  first("60");
  second("59");
  assertEquals([asked.lists, index.isRewound], [1, true]);
  index.sent()("61");
  assertEquals(asked.lists, 1);
});

Deno.test("answers above the revisions seen before, and answers out of order, start no list", () => {
  const { index, asked } = listedAt100();
  const [first, second] = [index.sent(), index.sent()];
  second("102");
  first("101");
  index.sent()(undefined);
  index.sent()("no number");
  assertEquals(asked.lists, 0);
});

Deno.test("a renewal of the Lease can start a list too, until its revisions turn out to be those of another etcd", () => {
  const { index, asked } = listedAt100();
  for (let renewal = 1; renewal <= 6; renewal++) {
    index.sent("lease")(String(renewal));
    if (index.isRewound) list(index, [], String(100 + renewal));
  }
  assertEquals(asked.lists, 3, "Observations were never older");
  index.sent("lease")("5");
  assertEquals(asked.lists, 4, "its own revisions are compared all the same");
});

Deno.test("after the revision went back the next list is taken as it is: missing objects go, older ones are indexed", () => {
  const healed: number[] = [];
  const gone = storedObservation({ id: 1, resourceVersion: "90" });
  const resolved = storedObservation({ id: 2, resourceVersion: "80", status: { phase: "Resolved" } });
  const { index } = listedAt100([gone, resolved], { onHealed: () => healed.push(index.size) });
  index.sent()("60");
  const active = { ...changed(resolved, 50), status: { ...resolved.status, phase: "Active" as const } };
  list(index, [active], "60");
  assertEquals(index.newest(finding(1)), undefined);
  assertEquals(index.newest(finding(2))?.active, true);
  assertEquals([index.isRewound, healed], [false, [1]]);
  const created = storedObservation({ id: 3, resourceVersion: "61" });
  index.note(created);
  assertEquals(index.size, 2, "an own create is noted though its version is below the old ones");
});

Deno.test("a newer list that shows an older object starts another one: etcd was restored with its revision raised", () => {
  let healed = 0;
  const resolved = storedObservation({ id: 1, resourceVersion: "90", status: { phase: "Resolved" } });
  const { index, asked } = listedAt100([resolved], { onHealed: () => healed++ });
  const restored = { ...changed(resolved, 50), status: { ...resolved.status, phase: "Active" as const } };
  list(index, [restored], "1000000100");
  assertEquals([asked.lists, index.isRewound, healed], [1, true, 0]);
  list(index, [restored], "1000000100");
  assertEquals([asked.lists, index.isRewound, healed], [1, false, 1]);
  assertEquals(index.newest(finding(1))?.active, true);
});

Deno.test("a write during a list, which shows the object as it was before, starts no list", () => {
  const before = storedObservation({ id: 1, resourceVersion: "90" });
  const { index, asked } = listedAt100([before]);
  index.take({ type: "init" });
  index.note(changed(before, 111));
  index.take({ type: "apply", object: before });
  index.take({ type: "synced", resourceVersion: "110" });
  assertEquals([asked.lists, index.isRewound], [0, false]);
});

Deno.test("a list that lacks a finding which was not resolved lets every source be evaluated again", () => {
  let healed = 0;
  const active = storedObservation({ id: 1, resourceVersion: "80" });
  const resolved = storedObservation({ id: 2, resourceVersion: "81", status: { phase: "Resolved" } });
  const { index } = listedAt100([active, resolved], { onHealed: () => healed++ });
  list(index, [active], "110");
  assertEquals(healed, 0, "a resolved one is not reported any more");
  list(index, [], "120");
  assertEquals([index.size, healed], [0, 1]);
});

Deno.test("a list that is older than the revisions seen before starts another one", () => {
  const active = storedObservation({ id: 1, resourceVersion: "90", status: { phase: "Resolved" } });
  const { index, asked } = listedAt100([active]);
  const restored = { ...changed(active, 50), status: { ...active.status, phase: "Active" as const } };
  list(index, [restored], "60");
  assertEquals([asked.lists, index.isRewound], [1, true]);
  list(index, [restored], "60");
  assertEquals([asked.lists, index.isRewound, index.newest(finding(1))?.active], [1, false, true]);
});
