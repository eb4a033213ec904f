import { assertEquals } from "@std/assert";
import { createApiOutages } from "./outages.ts";

Deno.test("outages are near within a minute of the start and of each lost connection", () => {
  let now = 1_000_000;
  const outages = createApiOutages(() => now);
  assertEquals([-60_001, -60_000, 0, 60_000, 60_001].map((by) => outages.isNear(now + by)), [
    false,
    true,
    true,
    true,
    false,
  ]);
  assertEquals(outages.isNear(NaN), false);
  now += 3_600_000;
  outages.noteLost();
  // An outage of five minutes, in which every attempt fails.
  for (let index = 0; index < 10; index++) {
    now += 30_000;
    outages.noteLost();
  }
  assertEquals([-360_001, -150_000, 60_000, 60_001].map((by) => outages.isNear(now + by)), [
    false,
    true,
    true,
    false,
  ]);
});

Deno.test("outages keep the newest 32", () => {
  let now = 0;
  const outages = createApiOutages(() => now);
  for (let index = 0; index < 40; index++) {
    now += 600_000;
    outages.noteLost();
  }
  assertEquals([outages.isNear(0), outages.isNear(now - 31 * 600_000), outages.isNear(now - 32 * 600_000)], [
    false,
    true,
    false,
  ]);
});
