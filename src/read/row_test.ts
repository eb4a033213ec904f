import { assertEquals } from "@std/assert";
import { storedObservation } from "../../tests/support/observation.ts";
import { isSelected } from "./selection.ts";
import { toRow } from "./row.ts";

const CREATED = "2026-01-02T00:00:00Z";
const createdAt = Date.parse(CREATED);

Deno.test("readers read absent times as detectedAt where it lies near the creation, else as the creation", () => {
  const seen = (detectedAt: string) => {
    const { firstSeenAt, lastSeenAt } = toRow(storedObservation({ createdAt, detectedAt }));
    assertEquals(firstSeenAt, lastSeenAt);
    return firstSeenAt;
  };
  assertEquals(seen("2026-01-01T23:30:00Z"), "2026-01-01T23:30:00.000Z");
  assertEquals(seen("2025-06-01T00:00:00Z"), "2026-01-02T00:00:00.000Z");
  assertEquals(seen("2026-01-02T00:07:00Z"), "2026-01-02T00:00:00.000Z");
});

Deno.test("isSelected() takes the same time as the row shows", () => {
  const stored = storedObservation({ createdAt, detectedAt: "2026-01-01T23:30:00Z" });
  const sinceMs = Date.parse("2026-01-01T23:45:00Z");
  assertEquals(isSelected(stored, { sinceMs }), false);
  assertEquals(isSelected(stored, { untilMs: sinceMs }), true);
});
