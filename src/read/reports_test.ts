import { assertEquals } from "@std/assert";
import { madeAt } from "./reports.ts";

Deno.test("madeAt() takes the newest time of a policy report's results that can be one", () => {
  const made = (...seconds: number[]) =>
    madeAt({
      metadata: { name: "r", creationTimestamp: "2026-01-01T00:00:00Z" },
      results: seconds.map((each) => ({ timestamp: { seconds: each, nanos: 0 } })),
    });
  assertEquals(made(1_790_000_000, 1_780_000_000), "2026-09-21T14:13:20.000Z");
  // Milliseconds in place of seconds, and no time at all.
  for (const wrong of [1_790_000_000_000, 1e300, -5, NaN]) {
    assertEquals([wrong, made(wrong, 1_790_000_000)], [wrong, "2026-09-21T14:13:20.000Z"]);
    assertEquals([wrong, made(wrong)], [wrong, "2026-01-01T00:00:00Z"]);
  }
});
