import { assertEquals } from "@std/assert";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { createServerClock } from "./clock.ts";

Deno.test("clocks agree until they differ by more than an hour, in either direction, and again after that", async () => {
  const time = new VirtualTime(Date.UTC(2026, 0, 1, 12));
  const server = createServerClock(time);
  assertEquals([server.skewMs, server.agrees], [undefined, true]);
  const note = async (date: string | null) => {
    await time.advance(1_000);
    server.note(date);
    return server.agrees;
  };
  assertEquals(await note("Thu, 01 Jan 2026 11:00:01 GMT"), true);
  assertEquals(server.skewMs, 3_600_000);
  assertEquals(await note("Thu, 01 Jan 2026 11:00:01 GMT"), false);
  assertEquals(await note("no date"), false, "what cannot be read says nothing");
  assertEquals(await note(null), false);
  assertEquals(await note("Thu, 01 Jan 2026 13:00:04 GMT"), true);
  assertEquals(await note("Fri, 09 Jan 2026 12:00:00 GMT"), false);
});

Deno.test("an own clock that jumps disagrees before the next answer comes", async () => {
  const time = new VirtualTime(Date.UTC(2026, 0, 1, 12));
  let offMs = 0;
  const server = createServerClock({ now: () => time.now() + offMs, monotonic: () => time.monotonic() });
  await time.advance(1_000);
  server.note("Thu, 01 Jan 2026 12:00:01 GMT");
  await time.advance(600_000);
  assertEquals([server.skewMs, server.agrees], [0, true]);
  offMs = 8 * 24 * 3_600_000;
  assertEquals([server.skewMs, server.agrees], [offMs, false]);
});
