import { assert, assertEquals } from "@std/assert";
import {
  type FigureRow,
  holds,
  missed,
  percentile,
  reconcile,
  seriesSum,
  tableOf,
} from "../scripts/bench/figures.ts";
import { benchAlert, numberPattern, observationsOf, sendAll } from "../scripts/bench/tasks.ts";

/** A clock that only sleeps move. */
function virtualTime() {
  let now = 1_000;
  const sleepers: { at: number; wake: () => void }[] = [];
  const sleep = (ms: number) => new Promise<void>((wake) => sleepers.push({ at: now + ms, wake }));
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let ended = false;
    work.finally(() => ended = true);
    for (let turns = 0; !ended && turns < 100_000; turns++) {
      for (let tasks = 0; tasks < 20; tasks++) await Promise.resolve();
      const next = sleepers.sort((a, b) => a.at - b.at).shift();
      if (!next) continue;
      now = Math.max(now, next.at);
      next.wake();
    }
    return await work;
  };
  return { now: () => now, sleep, run };
}

Deno.test("a run fails by a ratio, a memory figure or a count that misses its bound, never by a time or a rate", () => {
  const rows: FigureRow[] = [
    { what: "ratio", measured: 0.62, unit: "×", atLeast: 0.7 },
    { what: "memory", measured: 91, unit: "MiB", atMost: 90 },
    { what: "lost", measured: 1, unit: "", atMost: 0 },
    { what: "held", measured: 0.8, unit: "×", atLeast: 0.8 },
    { what: "without a bound", measured: 9, unit: "×" },
    { what: "not measured", measured: NaN, unit: "×", atMost: 2 },
    { what: "time", measured: 9_000, unit: "ms", atMost: 1_000 },
    { what: "rate", measured: 1, unit: "/s", atLeast: 10_000 },
  ];
  assertEquals(missed(rows).map(({ what }) => what), ["ratio", "memory", "lost", "not measured"]);
});

Deno.test("percentile() takes the nearest rank, never a value between two", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assertEquals([0.5, 0.95, 0.99, 1].map((share) => percentile(values, share)), [50, 95, 99, 100]);
  assertEquals(percentile([7], 0.99), 7);
  assertEquals(percentile([1, 9], 0.5), 1);
  assert(Number.isNaN(percentile([], 0.5)));
});

/** A hundred requests a second. */
const dueAfterMs = (index: number) => index * 10;

Deno.test("sendAll() keeps its schedule while the server stalls, and counts waiting from the due time", async () => {
  const { now, sleep, run } = virtualTime();
  let stalledUntil = 0;
  const sentAt: number[] = [];
  const send = async (index: number) => {
    sentAt[index] = now();
    if (index === 2) stalledUntil = now() + 500;
    if (now() < stalledUntil) await sleep(stalledUntil - now());
    return 200;
  };
  const shots = await run(sendAll({ count: 10, senders: 100, dueAfterMs, now, sleep, send }));
  assertEquals(sentAt.map((at) => at - 1_000), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  assertEquals(shots.due.map((at) => at - 1_000), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  // What fell due during the stall waited for its end: eight slow answers, not one.
  assertEquals(shots.due.filter((due, index) => (shots.done[index] ?? 0) - due >= 400).length, 8);
});

Deno.test("sendAll() counts its own lateness too, so that nothing slow is left out", async () => {
  const { now, sleep, run } = virtualTime();
  // The sleep that should end at 10 ms ends at 300 ms.
  const lazy = (ms: number) => sleep(now() < 1_010 ? 300 : ms);
  const send = () => Promise.resolve(200);
  const shots = await run(sendAll({ count: 4, senders: 10, dueAfterMs, now, sleep: lazy, send }));
  assertEquals(shots.done.map((done, index) => done - (shots.due[index] ?? 0)), [0, 290, 280, 270]);
});

Deno.test("sendAll() has no more requests under way than senders, and counts how late the others are", async () => {
  const { now, sleep, run } = virtualTime();
  const send = async () => {
    await sleep(10_000);
    return 200;
  };
  const shots = await run(sendAll({ count: 5, senders: 2, dueAfterMs, now, sleep, send }));
  assertEquals(shots.done.map((done, index) => done - (shots.due[index] ?? 0)), [
    10_000,
    10_000,
    19_980,
    19_980,
    29_960,
  ]);
});

Deno.test("sendAll() keeps its senders busy, sends each request once, and stops in time", async () => {
  const { now, sleep, run } = virtualTime();
  let underWay = 0;
  let most = 0;
  const sent: number[] = [];
  const send = async (index: number) => {
    sent.push(index);
    most = Math.max(most, ++underWay);
    await sleep(10);
    underWay--;
    return 201;
  };
  const shots = await run(sendAll({ count: 1_000, senders: 4, maxMs: 95, now, sleep, send }));
  assertEquals(most, 4);
  assertEquals(sent, Array.from({ length: 40 }, (_, index) => index));
  assertEquals(shots.status.length, 40);
});

Deno.test("reconcile() counts acknowledged events that are not stored, and stored ones that are there twice", () => {
  assertEquals(reconcile([1, 2, 3, 3], [1, 1, 1, 4]), { lost: 2, doubled: 2 });
  assertEquals(reconcile([1, 2], [2, 1]), { lost: 0, doubled: 0 });
});

Deno.test("sumOf() adds the series of one metric that have all the labels", () => {
  const text = `# HELP apiserver_request_total ...
apiserver_request_total{code="200",resource="leases",verb="PUT"} 12
apiserver_request_total{code="409",resource="leases",verb="PUT"} 1
apiserver_request_total{code="200",resource="pods",verb="PUT"} 7
apiserver_request_total{code="200",resource="leases",verb="GET"} 5
apiserver_request_total_other{resource="leases",verb="PUT"} 100
`;
  assertEquals(seriesSum(text, "apiserver_request_total", 'resource="leases"', 'verb="PUT"'), 13);
  assertEquals(seriesSum(text, "apiserver_request_total", 'verb="DELETE"'), 0);
});

Deno.test("tableOf() shows figures within their bound, above it, and without one", () => {
  const rows: FigureRow[] = [
    { what: "a", measured: 0.85, unit: "×", atLeast: 0.8 },
    { what: "b", measured: 66, unit: "MiB", atMost: 65, beside: "origin 35" },
    { what: "c", measured: 1234.5, unit: "/s" },
    { what: "d", measured: NaN, unit: "ms", atMost: 1 },
  ];
  assertEquals(rows.map(holds), [true, false, true, false]);
  assertEquals(tableOf(rows).split("\n").map((line) => line.split(/ {2,}/)), [
    ["WHAT", "MUST", "MEASURED", "UNIT", "HOLDS", "BESIDE"],
    ["a", "≥ 0.8", "0.85", "×", "yes"],
    ["b", "≤ 65", "66", "MiB", "NO", "origin 35"],
    ["c", "1235", "/s"],
    ["d", "≤ 1", "–", "ms", "NO"],
    [""],
  ]);
});

Deno.test("observationsOf() gives each alert an Observation of its own, which carries its number and the namespace", async () => {
  const alerts = Array.from({ length: 50 }, (_, number) => benchAlert("abc", number));
  const observations = await observationsOf(alerts);
  const numbers = observations.map((text) => Number(numberPattern("abc").exec(text)?.[1]));
  assertEquals(numbers, Array.from({ length: 50 }, (_, number) => number));
  assertEquals(new Set(observations.map((text) => JSON.parse(text).metadata.name)).size, 50);
  assert(observations.every((text) => JSON.parse(text).metadata.namespace === "bench"));
});
