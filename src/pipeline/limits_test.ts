import {
  createParseRoom,
  createRateLimiter,
  createTextLimits,
  createTimeSlices,
  createWriteSlots,
  type ParseRoom,
  type Rate,
  readInTurn,
} from "./limits.ts";
import { assert, assertEquals } from "@std/assert";
import { scanJson } from "../text/json.ts";

const NO_DEADLINE = new AbortController().signal;
const A = { source: "a", namespace: "" };

/** Time that moves only when told, and the timers that hang on it. */
function virtualTime() {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  return {
    clock: { now: () => now, monotonic: () => now },
    timers,
    timer(callback: () => void, delayMs: number) {
      const entry = { at: now + delayMs, callback };
      timers.add(entry);
      return () => void timers.delete(entry);
    },
    async advance(ms: number) {
      const until = now + ms;
      for (;;) {
        const due = [...timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
        if (!due) break;
        timers.delete(due);
        now = Math.max(now, due.at);
        due.callback();
      }
      now = until;
      await Promise.resolve();
    },
  };
}

function setup(
  rate: Rate,
  more: { rateOf?: (source: string) => Rate | undefined; maxSources?: number } = {},
) {
  const time = virtualTime();
  const limiter = createRateLimiter({ clock: time.clock, timer: time.timer, rate, ...more });
  const taken: string[] = [];
  const take = (name: string, source = "falco", signal = new AbortController().signal, namespace = "") => {
    Promise.resolve(limiter.take({ source, namespace }, signal))
      .then((ok) => taken.push(ok ? name : `${name} aborted`));
  };
  return { time, limiter, taken, take };
}

Deno.test("createRateLimiter() lets a burst through, then one token at a time, in order", async () => {
  const { time, taken, take } = setup({ perSecond: 10, burst: 2 });
  for (const name of ["a", "b", "c", "d"]) take(name);
  await time.advance(0);
  assertEquals(taken, ["a", "b"]);
  await time.advance(99);
  assertEquals(taken, ["a", "b"]);
  await time.advance(1);
  assertEquals(taken, ["a", "b", "c"]);
  take("e"); // comes after d, though a token will be there for it at once
  await time.advance(200);
  assertEquals(taken, ["a", "b", "c", "d", "e"]);
  assertEquals(time.timers.size, 0);
});

Deno.test("createRateLimiter() refills up to the burst and no further", async () => {
  const { time, taken, take } = setup({ perSecond: 100, burst: 3 });
  for (const name of ["a", "b", "c"]) take(name);
  await time.advance(3_600_000);
  for (const name of ["d", "e", "f", "g"]) take(name);
  await time.advance(0);
  assertEquals(taken.length, 6);
});

Deno.test("createRateLimiter() ends a wait at the abort, without a token and without a change of order", async () => {
  const { time, taken, take } = setup({ perSecond: 1, burst: 1 });
  const leaving = new AbortController();
  take("a");
  take("b", "falco", leaving.signal);
  take("c");
  leaving.abort();
  await time.advance(1000);
  assertEquals(taken, ["a", "b aborted", "c"]);
  take("d", "falco", AbortSignal.abort());
  await time.advance(0);
  assertEquals(taken.at(-1), "d aborted");
  assertEquals(time.timers.size, 0);
});

Deno.test("createRateLimiter() holds no timer once the last waiter has gone", async () => {
  const { time, take } = setup({ perSecond: 1, burst: 1 });
  const leaving = new AbortController();
  take("a");
  take("b", "falco", leaving.signal);
  assertEquals(time.timers.size, 1);
  leaving.abort();
  await time.advance(0);
  assertEquals(time.timers.size, 0);
});

Deno.test("createRateLimiter() keeps sources apart and follows a source's own rate while it waits", async () => {
  let own: Rate = { perSecond: 0.01, burst: 1 };
  const { time, taken, take } = setup({ perSecond: 1, burst: 1 }, {
    rateOf: (source) => source === "slow" ? own : undefined,
  });
  take("slow 1", "slow");
  take("slow 2", "slow");
  take("falco 1");
  await time.advance(0);
  assertEquals(taken, ["slow 1", "falco 1"]);
  await time.advance(5000);
  assertEquals(taken, ["slow 1", "falco 1"]);
  own = { perSecond: 10, burst: 1 };
  await time.advance(1100);
  assertEquals(taken, ["slow 1", "falco 1", "slow 2"]);
});

Deno.test("createRateLimiter() lets the namespaces of a source take turns, whatever the length of their queues", async () => {
  const { time, taken, take } = setup({ perSecond: 1, burst: 1 });
  for (let event = 1; event <= 5; event++) take(`evil ${event}`, "kyverno", NO_DEADLINE, "evil");
  take("shop 1", "kyverno", NO_DEADLINE, "shop");
  take("shop 2", "kyverno", NO_DEADLINE, "shop");
  await time.advance(10_000);
  assertEquals(taken, ["evil 1", "evil 2", "shop 1", "evil 3", "shop 2", "evil 4", "evil 5"]);
});

Deno.test("createRateLimiter() forgets the source idle longest, never one with waiters", async () => {
  const { time, taken, take } = setup({ perSecond: 0.5, burst: 1 }, { maxSources: 2 });
  take("w1", "waited");
  take("w2", "waited");
  for (const source of ["x", "y", "z"]) take(source, source);
  take("x again", "x"); // forgotten, so its bucket is full again
  take("w3", "waited"); // remembered, so it waits
  await time.advance(0);
  assertEquals(taken, ["w1", "x", "y", "z", "x again"]);
  await time.advance(4000);
  assertEquals(taken.slice(5), ["w2", "w3"]);
});

Deno.test("createWriteSlots() lets sources take turns, whatever the length of their queues", async () => {
  const slots = createWriteSlots({ limit: 1, perSource: 1, perNamespace: 1, perTenant: 1 });
  const order: string[] = [];
  const write = async (source: string) => {
    const slot = await slots.take({ source, namespace: "" }, NO_DEADLINE);
    order.push(source);
    await Promise.resolve();
    slot?.release();
  };
  await Promise.all(["a", "a", "a", "a", "b", "b", "c"].map(write));
  assertEquals(order, ["a", "a", "b", "c", "a", "b", "a"]);
  assertEquals(slots.taken, 0);
});

Deno.test("createWriteSlots() gives no slot to a waiter that gave up", async () => {
  const slots = createWriteSlots({ limit: 1, perSource: 1, perNamespace: 1, perTenant: 1 });
  const first = await slots.take(A, NO_DEADLINE);
  const giveUp = new AbortController();
  const waiting = slots.take(A, giveUp.signal);
  giveUp.abort();
  assertEquals(await waiting, undefined);
  first?.release();
  assertEquals(slots.taken, 0);
  assert(await slots.take({ source: "b", namespace: "" }, NO_DEADLINE));
});

Deno.test("createWriteSlots() lets the namespaces of a source take turns, and bounds each", async () => {
  const slots = createWriteSlots({ limit: 3, perSource: 3, perNamespace: 2, perTenant: 2 });
  const order: string[] = [];
  const take = async (namespace: string) => {
    const slot = await slots.take({ source: "a", namespace }, NO_DEADLINE);
    order.push(namespace);
    return slot;
  };
  for (let write = 0; write < 4; write++) void take("slow");
  const other = [take("other"), take("other")];
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(order, ["slow", "slow", "other"]);
  (await other[0])?.release();
  await other[1];
  assertEquals(order, ["slow", "slow", "other", "other"], "slow has used its places up");
});

Deno.test("a write that waits outside holds no slot, and comes back with its turn", async () => {
  const slots = createWriteSlots({
    limit: 1,
    perSource: 1,
    perNamespace: 1,
    perTenant: 1,
    maxOutsidePerNamespace: 1,
  });
  const first = await slots.take(A, NO_DEADLINE);
  const wait = Promise.withResolvers<boolean>();
  const back = first?.outside(() => wait.promise);
  const second = await slots.take(A, NO_DEADLINE);
  assertEquals(slots.taken, 1);
  assertEquals(await second?.outside(() => Promise.resolve(true)), "too many", "no more may wait outside");
  const third = await slots.take(A, NO_DEADLINE);
  wait.resolve(true);
  third?.release();
  assertEquals([await back, slots.taken], ["over", 1]);
  first?.release();
  first?.release();
  assertEquals(slots.taken, 0);
});

/** A clock that moves only when told. */
function handClock() {
  let at = 0;
  return { now: () => at, monotonic: () => at, advance: (ms: number) => at += ms };
}

Deno.test("createTimeSlices() counts no idle time as work", async () => {
  const clock = handClock();
  const slices = createTimeSlices(clock);
  for (let request = 0; request < 100; request++) {
    clock.advance(1_000);
    slices.arrived();
    assertEquals(slices.pause(), undefined);
  }
  clock.advance(9);
  assertEquals(slices.pause(), undefined, "the slice lasts");
  clock.advance(1);
  const wait = slices.pause();
  assertEquals(wait instanceof Promise, true, "the slice is over");
  await wait;
});

Deno.test("createTimeSlices() gives a loop that waited a whole slice, not one step of it", async () => {
  const clock = handClock();
  const slices = createTimeSlices(clock);
  let waits = 0;
  const loop = async () => {
    for (let step = 0; step < 100; step++) {
      const pause = slices.pause();
      if (pause) {
        waits++;
        await pause;
      }
      clock.advance(1);
    }
  };
  await Promise.all([loop(), loop()]);
  // 200 ms of work in slices of 10 ms.
  assertEquals(waits <= 22, true, `${waits} pauses`);
  assertEquals(waits >= 18, true, `${waits} pauses`);
});

Deno.test("createTimeSlices() gives the event loop a turn after each slice", async () => {
  const clock = handClock();
  const slices = createTimeSlices(clock);
  let turns = 0;
  let done = false;
  const others = (async () => {
    while (!done) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      turns++;
    }
  })();
  for (let step = 0; step < 50; step++) {
    await slices.pause();
    clock.advance(10);
  }
  done = true;
  await others;
  assertEquals(turns >= 20, true, `${turns} turns of the event loop`);
});

const KIB = 1024;
const MIB = 1024 * KIB;
const NEVER = new AbortController().signal;

/** Whether a promise is settled once everything that can go on has. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => settled = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return settled;
}

/** A part that takes `bytes` of the room. */
function part(bytes: number) {
  return { bytes: bytes / 4, values: 0 };
}

/** A wait of one sender that never ends by itself. */
const of = (sender: string, signal = NEVER) => ({ sender, signal });

/** A room of 1 MiB, and its time. */
function roomInTime() {
  const time = virtualTime();
  return { time, room: createParseRoom(MIB, time) };
}

Deno.test("createParseRoom() lets parts in by arrival, within its capacity", async () => {
  const { time, room } = roomInTime();
  const first = await room.take(part(600 * KIB), of("a"));
  const second = room.take(part(600 * KIB), of("b"));
  const third = room.take(part(100 * KIB), of("c"));
  await time.advance(1_000);
  assertEquals([await isSettled(second), await isSettled(third)], [false, false]);
  first?.[Symbol.dispose]();
  await time.advance(100);
  assertEquals([await isSettled(second), await isSettled(third)], [true, true]);
  assertEquals(time.timers.size, 0);
});

Deno.test("createParseRoom() counts a share for 25 ms more for each quarter of the room, until its values are collected", async () => {
  const { time, room } = roomInTime();
  const first = await room.take(part(512 * KIB), of("a"));
  first?.[Symbol.dispose]();
  assertEquals(time.timers.size, 0, "nothing waits, so nothing is timed");
  await time.advance(10);
  const second = room.take(part(600 * KIB), of("b"));
  await time.advance(39);
  assertEquals(await isSettled(second), false);
  await time.advance(1);
  assertEquals([await isSettled(second), time.timers.size], [true, 0]);
});

Deno.test("createParseRoom() counts no other share longer for a large one", async () => {
  const { time, room } = roomInTime();
  const large = await room.take(part(512 * KIB), of("a"));
  const small = await room.take(part(256 * KIB), of("b"));
  large?.[Symbol.dispose]();
  small?.[Symbol.dispose]();
  const next = room.take(part(256 * KIB), of("b"));
  assertEquals(await isSettled(next), false);
  await time.advance(25);
  assert(await next);
});

Deno.test("createParseRoom() keeps a sender to a quarter of the room, or to one part, and lets others pass", async () => {
  const { time, room } = roomInTime();
  const first = await room.take(part(200 * KIB), of("a"));
  const own = room.take(part(100 * KIB), of("a"));
  const large = await room.take(part(500 * KIB), of("b"));
  assert(large, "alone of its sender, a part may be larger than its share");
  const next = room.take(part(70 * KIB), of("b"));
  assert(await room.take(part(200 * KIB), of("c")));
  assertEquals([await isSettled(own), await isSettled(next)], [false, false]);
  first?.[Symbol.dispose]();
  await time.advance(1_000);
  assertEquals([await isSettled(own), await isSettled(next)], [true, false]);
  large[Symbol.dispose]();
  await time.advance(1_000);
  assert(await next);
});

Deno.test("createParseRoom() lets a part of ordinary size in at once, and one that is larger than the room alone", async () => {
  const { time, room } = roomInTime();
  const large = await room.take(part(5 * MIB), of("a"));
  const other = room.take(part(5 * MIB), of("b"));
  assert(await room.take({ bytes: KIB, values: 100 }, of("a")));
  assertEquals(await isSettled(other), false);
  large?.[Symbol.dispose]();
  await time.advance(1_000);
  assert(await other);
});

Deno.test("createParseRoom() forgets parts whose signal aborted, and lets in those behind them", async () => {
  const { time, room } = roomInTime();
  await room.take(part(600 * KIB), of("a"));
  const deadline = new AbortController();
  const large = room.take(part(900 * KIB), of("b", deadline.signal));
  const small = room.take(part(300 * KIB), of("c"));
  assertEquals(await isSettled(small), false);
  deadline.abort();
  assertEquals(await large, undefined);
  assert(await small);
  assertEquals(await room.take(part(600 * KIB), of("d", deadline.signal)), undefined);
  assertEquals(time.timers.size, 0);
});

Deno.test("readInTurn() parses a part when it is asked for, and gives its share back before the next", async () => {
  const log: string[] = [];
  const room: ParseRoom = {
    take({ bytes }) {
      log.push(`take ${bytes}`);
      return Promise.resolve({ [Symbol.dispose]: () => void log.push(`give back ${bytes}`) });
    },
  };
  const { parts } = scanJson('[{"a":1},"xyz",2]', { lists: "elements" });
  const reading = readInTurn(parts, { origin: { confined: false }, receivedAt: 7, room, ...of("a") });
  const read: unknown[] = [];
  for await (const { body, path, receivedAt } of reading.payloads) {
    log.push(`read ${path}`);
    read.push({ body, path });
    assertEquals(receivedAt, 7);
    if (path === "[1]") break;
  }
  assertEquals(read, [{ body: { a: 1 }, path: "[0]" }, { body: "xyz", path: "[1]" }]);
  assertEquals(log, ["take 7", "read [0]", "give back 7", "take 5", "read [1]", "give back 5"]);
  assertEquals(reading.isCutShort, false);
});

Deno.test("readInTurn() ends where a part gets no room before the deadline, and says so", async () => {
  const room: ParseRoom = { take: () => Promise.resolve(undefined) };
  const { parts } = scanJson("{}");
  const reading = readInTurn(parts, { origin: { confined: false }, receivedAt: 0, room, ...of("a") });
  for await (const _ of reading.payloads) assert(false, "a part was read");
  assertEquals(reading.isCutShort, true);
});

Deno.test("createTextLimits() takes a 32nd of a small memory limit for a text, and values by what the limit leaves beside the program", () => {
  const sizes = (memoryBytes: number) => {
    const { maxBytes, maxValues } = createTextLimits({ maxBytes: 16 * MIB, memoryBytes });
    return [maxBytes, maxValues];
  };
  assertEquals(sizes(Infinity), [16 * MIB, 500_000]);
  assertEquals(sizes(512 * MIB), [16 * MIB, 500_000]);
  assertEquals(sizes(128 * MIB), [4 * MIB, 71_428]);
  assertEquals(sizes(32 * MIB), [MIB, 17_857]);
});
