import {
  createServerClock,
  eventTime,
  formatTime,
  isPlausibleDetection,
  parseTime,
  readTime,
  seenTimes,
  spanMs,
} from "./time.ts";
import { assertEquals } from "@std/assert";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const HOUR = 3_600_000;

Deno.test("parseTime() reads RFC 3339 with nanoseconds and offsets as UTC", () => {
  const cases: [string, string, number][] = [
    ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z", Date.UTC(2024, 0, 2, 3, 4, 5)],
    ["2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456789Z", Date.UTC(2024, 0, 2, 3, 4, 5, 123)],
    ["2024-01-02t03:04:05.5z", "2024-01-02T03:04:05.5Z", Date.UTC(2024, 0, 2, 3, 4, 5, 500)],
    ["2024-01-02 03:04:05+00:00", "2024-01-02T03:04:05Z", Date.UTC(2024, 0, 2, 3, 4, 5)],
    ["2024-01-01T00:30:00.25+01:00", "2023-12-31T23:30:00.25Z", Date.UTC(2023, 11, 31, 23, 30, 0, 250)],
    ["2024-02-29T23:59:60-05:30", "2024-03-01T05:30:00Z", Date.UTC(2024, 2, 1, 5, 30)],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", -62_135_596_800_000],
    [
      "2024-01-02T03:04:05.1234567890123Z",
      "2024-01-02T03:04:05.123456789Z",
      Date.UTC(2024, 0, 2, 3, 4, 5, 123),
    ],
  ];
  for (const [text, expected, ms] of cases) assertEquals(parseTime(text), { text: expected, ms }, text);
});

Deno.test("parseTime() refuses what is no RFC 3339 time", () => {
  const bad = [
    "",
    "now",
    "2024-01-02",
    "2024-01-02T03:04Z",
    "2024-01-02T03:04:05",
    "2024-13-02T03:04:05Z",
    "2024-02-30T03:04:05Z",
    "2023-02-29T03:04:05Z",
    "2024-01-02T24:04:05Z",
    "2024-01-02T03:60:05Z",
    "2024-01-02T03:04:05.Z",
    "2024-01-02T03:04:05+0100",
    "2024-01-02T03:04:05+24:00",
    "2024-01-02T03:04:05Zx",
    "2024-01-02T03:04:05 Z",
    "+024-01-02T03:04:05Z",
    "0000-01-01T00:00:00+01:00",
    `2024-01-02T03:04:05.${"1".repeat(60)}Z`,
    "Tue Jan 02 2024 03:04:05 GMT",
    "1704164645000000000000",
  ]; // deno-fmt-ignore
  for (const text of bad) assertEquals(parseTime(text), undefined, text);
});

Deno.test("readTime() takes milliseconds too, and nothing else", () => {
  assertEquals(readTime(1_704_164_645_123), { ms: 1_704_164_645_123, text: "2024-01-02T03:04:05.123Z" });
  for (const bad of [NaN, Infinity, 1e17, null, undefined, {}, true]) assertEquals(readTime(bad), undefined);
});

Deno.test("a tool's time is believed from 2000 to five minutes after receipt", () => {
  const receipt = Date.UTC(2024, 0, 1);
  assertEquals(isPlausibleDetection(Date.UTC(2000, 0, 1), receipt), true);
  assertEquals(isPlausibleDetection(Date.UTC(2000, 0, 1) - 1, receipt), false);
  assertEquals(isPlausibleDetection(receipt + 300_000, receipt), true);
  assertEquals(isPlausibleDetection(receipt + 300_001, receipt), false);
});

for (const [source, hours] of [["falco", 1], ["audit", 24]] as const) {
  Deno.test(`eventTime() is the own time of ${source} from ${hours} h before receipt to six minutes after, else receipt`, () => {
    const receipt = Date.UTC(2024, 0, 1);
    const timeOf = (offset: number) => eventTime(receipt + offset, receipt, { source }) - receipt;
    assertEquals(timeOf(-hours * HOUR), -hours * HOUR);
    assertEquals(timeOf(-hours * HOUR - 1), 0);
    assertEquals(timeOf(360_000), 360_000);
    assertEquals(timeOf(360_001), 0);
    assertEquals(eventTime(undefined, receipt, { source }), receipt);
  });

  Deno.test(`seenTimes() reads an absent time of ${source} as detectedAt up to ${hours} h before the creation, else as the creation`, () => {
    const created = Date.UTC(2026, 4, 1, 12);
    const seen = (offset: number) => {
      const { firstSeenAt, lastSeenAt } = seenTimes({
        metadata: { creationTimestamp: formatTime(created) },
        spec: { source, detectedAt: formatTime(created + offset) },
      });
      return [firstSeenAt - created, lastSeenAt - created];
    };
    assertEquals(seen(-hours * HOUR), [-hours * HOUR, -hours * HOUR]);
    assertEquals(seen(-hours * HOUR - 1), [0, 0]);
    assertEquals(seen(360_000), [360_000, 360_000]);
    assertEquals(seen(360_001), [0, 0]);
  });
}

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

Deno.test("spanMs() reads lengths of time, and nothing else", () => {
  const spans = ["90s", "2m", "24h", "7d", "2w", "0s"];
  assertEquals(spans.map(spanMs), [90_000, 120_000, 86_400_000, 604_800_000, 1_209_600_000, 0]);
  const others = ["", "7", "d", "1.5h", "-1h", "7 d", "7D", "1000000s", "1h30m"];
  assertEquals(others.map(spanMs), others.map(() => undefined));
});
