import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { storedObservation } from "../../tests/support/observation.ts";
import { criteriaOf, failingDimension, inAnyPhase, joinValues, matches, valuesOfKey } from "./filter.ts";
import { KeptRows } from "./rows.ts";

const NOW = Date.UTC(2026, 0, 2);

/** One row of an Observation. */
function rowOf(fields: Parameters<typeof storedObservation>[0]) {
  const rows = new KeptRows();
  rows.apply(storedObservation(fields));
  const [row] = rows.all();
  if (!row) throw new Error("no row");
  return row;
}

Deno.test("valuesOfKey() reads the values that joinValues() wrote, commas and backslashes too", () => {
  const value = fc.string({ minLength: 1, unit: fc.constantFrom("a", ",", "\\", " ", "é", "\n", "&") });
  fc.assert(fc.property(fc.array(value, { maxLength: 5 }), (values) => {
    assertEquals(valuesOfKey(new URLSearchParams({ rule: joinValues(values) }), "rule"), values);
  }));
});

Deno.test("a text filter finds its words as they are written, in any case", () => {
  const row = rowOf({ message: "libx 1.2 (a+b) [c] $HOME ^x|y", rule: "Rule/One", namespace: "shop" });
  const found: Readonly<Record<string, boolean>> = {
    "LIBX": true,
    "libx rule/one": true,
    "(a+b) [c] $home ^x|y": true,
    "1.2": true,
    "1x2": false,
    ".*": false,
    "libx nothing": false,
    "": true,
  };
  for (const [text, expected] of Object.entries(found)) {
    assertEquals(matches(row, criteriaOf(new URLSearchParams({ text })), NOW), expected, text);
  }
});

Deno.test("failingDimension() names the one key that does not match, and agrees with matches()", () => {
  const row = rowOf({ source: "trivy", severity: "HIGH", namespace: "shop", rule: "CVE-1" });
  const cases: Readonly<Record<string, string | undefined>> = {
    "": "none",
    "source=trivy&severity=HIGH": "none",
    "source=falco": "source",
    "phase=Resolved": "phase",
    "source=falco&severity=LOW": undefined,
    "source=falco&phase=Resolved": undefined,
    "text=nothing": undefined,
  };
  for (const [query, expected] of Object.entries(cases)) {
    const criteria = criteriaOf(new URLSearchParams(query));
    assertEquals(failingDimension(row, criteria, NOW), expected, query);
    assertEquals(matches(row, criteria, NOW), expected === "none", query);
    if (expected === "phase") assertEquals(matches(row, inAnyPhase(criteria), NOW), true);
  }
});

Deno.test("a filter by when findings were reopened or accepted leaves out those that never were", () => {
  const at = (iso: string) => ({ firstSeenAt: "2025-12-01T00:00:00Z", lastSeenAt: iso });
  const never = rowOf({ status: at("2026-01-01T12:00:00Z") });
  const reopened = rowOf({ status: { ...at("2026-01-01T12:00:00Z"), reopenedAt: "2026-01-01T12:00:00Z" } });
  const exception = {
    namespace: "default",
    name: "e",
    since: "2026-01-01T12:00:00Z",
    expiresAt: "2026-06-01T00:00:00Z",
  };
  const accepted = rowOf({ status: { ...at("2026-01-01T12:00:00Z"), phase: "Accepted", exception } });
  const found = (query: Readonly<Record<string, string>>) =>
    [never, reopened, accepted].map((row) =>
      matches(row, criteriaOf(new URLSearchParams({ phase: "all", ...query })), NOW)
    );
  assertEquals(found({}), [true, true, true]);
  assertEquals(found({ reopenedSince: "2026-01-01" }), [false, true, false]);
  assertEquals(found({ reopenedSince: "2026-01-02" }), [false, false, false]);
  assertEquals(found({ acceptedSince: "2026-01-01T12:00:00Z" }), [false, false, true]);
  assertEquals(found({ acceptedSince: "2026-01-01T12:00:01Z" }), [false, false, false]);
});
