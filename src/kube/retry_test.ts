import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { ApiError, NetworkError } from "./api.ts";
import {
  backoff,
  createSpacing,
  DueQueue,
  type DueQueueOptions,
  elapsed,
  isRetryable,
  Pause,
  retry,
  settledWithin,
  sleep,
} from "./retry.ts";
import type { Beat } from "../model/beat.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";

const busy = (retryAfterMs?: number) => new ApiError("list pods", 429, {}, retryAfterMs);

Deno.test("backoff() doubles its bound up to the maximum and starts over after reset", () => {
  const waits = backoff({ initialMs: 250, maxMs: 2_000, random: () => 1 });
  assertEquals([1, 2, 3, 4, 5].map(() => waits.next()), [250, 500, 1_000, 2_000, 2_000]);
  waits.reset();
  assertEquals(waits.next(), 250);
});

Deno.test("backoff() spreads waits over the whole range from zero", () => {
  const draws = [0, 0.5, 0.25];
  const waits = backoff({ initialMs: 100, maxMs: 1_000, random: () => draws.shift()! });
  assertEquals([waits.next(), waits.next(), waits.next()], [0, 100, 100]);
});

Deno.test("backoff() waits at least what the server asks, within reason, with jitter on top", () => {
  const waits = backoff({ initialMs: 200, maxMs: 200, maxRetryAfterMs: 5_000, random: () => 0.5 });
  assertEquals(waits.next(1_000), 1_100);
  assertEquals(waits.next(3_600_000), 5_100);
  assertEquals(waits.next(-5), 100);
});

Deno.test("isRetryable() tells temporary errors from final ones", () => {
  const status = (code: number) => isRetryable(new ApiError("x", code, {}));
  for (const code of [401, 408, 429, 500, 502, 503, 504]) assert(status(code), String(code));
  for (const code of [400, 403, 404, 409, 410, 413, 422]) assert(!status(code), String(code));
  assert(isRetryable(new NetworkError("x")));
  assert(isRetryable(new NetworkError("x", { fault: "garbled" })));
  assert(!isRetryable(new NetworkError("x", { fault: "too_large" })));
  assert(!isRetryable(new TypeError("x")));
});

Deno.test("retry() tries until success and passes Retry-After to the wait", async () => {
  const waited: number[] = [];
  const told: number[] = [];
  const result = await retry(
    (attempt) => attempt < 3 ? Promise.reject(busy(700)) : Promise.resolve(attempt),
    {
      backoff: backoff({ random: () => 0 }),
      sleep: (ms) => (waited.push(ms), Promise.resolve()),
      onRetry: (_error, attempt) => told.push(attempt),
    },
  );
  assertEquals(result, 3);
  assertEquals(waited, [700, 700]);
  assertEquals(told, [1, 2]);
});

Deno.test("retry() throws an answer that is final at once", async () => {
  let calls = 0;
  const refuse = () => Promise.reject(new ApiError("create x", ++calls && 409, { reason: "AlreadyExists" }));
  await assertRejects(() => retry(refuse), ApiError, "409");
  assertEquals(calls, 1);
});

Deno.test("retry() stops after maxAttempts with the last error", async () => {
  let calls = 0;
  const options = { maxAttempts: 3, sleep: () => Promise.resolve() };
  await assertRejects(
    () => retry(() => Promise.reject(new NetworkError(`no ${++calls}`)), options),
    NetworkError,
    "no 3",
  );
});

Deno.test("retry() aborted while it waits throws why it was waiting", async () => {
  const stop = new AbortController();
  const error = busy();
  const thrown = await assertRejects(() =>
    retry(() => Promise.reject(error), {
      signal: stop.signal,
      backoff: backoff({ initialMs: 3_600_000, maxMs: 3_600_000, random: () => 1 }),
      onRetry: () => queueMicrotask(() => stop.abort()),
    })
  );
  assertStrictEquals(thrown, error);
});

Deno.test("retry() does not begin once aborted", async () => {
  let calls = 0;
  const signal = AbortSignal.abort(new Error("stopped"));
  await assertRejects(() => retry(() => Promise.resolve(++calls), { signal }), Error, "stopped");
  assertEquals(calls, 0);
});

Deno.test("sleep() rejects with the signal's reason when it aborts, before or while it waits, and leaves no timer", async () => {
  const stop = new AbortController();
  const asleep = sleep(3_600_000, stop.signal);
  stop.abort(new Error("stopped"));
  await assertRejects(() => asleep, Error, "stopped");
  await assertRejects(() => sleep(3_600_000, stop.signal), Error, "stopped");
});

Deno.test("elapsed() is true after the wait, false as soon as the signal aborts, and passes other faults on", async () => {
  assertEquals(await elapsed(0, { signal: new AbortController().signal }), true);
  assertEquals(await elapsed(0, {}), true);
  const stop = new AbortController();
  const waiting = elapsed(3_600_000, { signal: stop.signal });
  stop.abort();
  assertEquals(await waiting, false);
  assertEquals(await elapsed(0, { signal: stop.signal }), false);
  const broken = () => Promise.reject(new TypeError("no clock"));
  await assertRejects(() => elapsed(0, { sleep: broken }), TypeError, "no clock");
});

Deno.test("settledWithin() waits for work to resolve or reject, and no longer than its time", async () => {
  assertEquals(await settledWithin(Promise.resolve(), 3_600_000), true);
  assertEquals(await settledWithin(Promise.reject(new Error("failed")), 3_600_000), true);
  const { promise, resolve } = Promise.withResolvers<void>();
  assertEquals(await settledWithin(promise, 0), false);
  resolve();
});

Deno.test("Pause waits for its time, or until it is woken", async () => {
  const time = new VirtualTime();
  const pause = new Pause(time.sleep);
  const { signal } = new AbortController();
  const ended: (boolean | string)[] = [];
  void pause.wait(1_000, signal).then((goesOn) => ended.push(goesOn));
  await time.advance(999);
  assertEquals(ended, []);
  await time.advance(1);
  assertEquals(ended.splice(0), [true]);
  void pause.wait(Infinity, signal).then((goesOn) => ended.push(goesOn));
  await time.advance(1_000);
  assertEquals(ended, []);
  pause.wake();
  await settled();
  assertEquals(ended, [true]);
});

Deno.test("Pause counts a wake between two waits for the next wait, once", async () => {
  const time = new VirtualTime();
  const pause = new Pause(time.sleep);
  const stop = new AbortController();
  pause.wake();
  pause.wake();
  assertEquals(await pause.wait(Infinity, stop.signal), true);
  let isEnded = false;
  const second = pause.wait(Infinity, stop.signal).finally(() => isEnded = true);
  await time.advance(1_000_000);
  assertEquals(isEnded, false);
  stop.abort();
  assertEquals(await second, false);
  assertEquals(await pause.wait(0, stop.signal), false);
});

interface TestQueueOptions {
  readonly time: VirtualTime;
  readonly work: DueQueueOptions<string>["work"];
}

/** A queue whose work is noted by time and key. */
function queueOf({ time, work }: TestQueueOptions) {
  const tries: [atMs: number, key: string][] = [];
  const queue = new DueQueue<string>({
    clock: time,
    sleep: time.sleep,
    maxSize: 100,
    concurrency: 2,
    spacing: createSpacing({ clock: time, perSecond: 1_000, sleep: time.sleep }),
    merge: (_older, newer) => newer,
    dropped() {},
    work(key, item, signal) {
      tries.push([time.monotonic(), key]);
      return work(key, item, signal);
    },
  });
  return {
    queue,
    tries,
    timesOf: (key: string) => tries.filter(([, tried]) => tried === key).map(([at]) => at),
  };
}

Deno.test("DueQueue works on other keys while the work of one hangs", async () => {
  const time = new VirtualTime();
  const hanging = Promise.withResolvers<"done">();
  const { queue, tries } = queueOf({
    time,
    work: (key) => key === "slow" ? hanging.promise : Promise.resolve("done"),
  });
  const stop = new AbortController();
  const beats: string[] = [];
  const beat: Beat = {
    within: () => void beats.push("within"),
    idle: () => void beats.push("idle"),
    of: () => beat,
  };
  const running = queue.run(stop.signal, beat);
  queue.add("slow", "", 0);
  await time.advance(1_000);
  for (const key of ["a", "b", "c"]) queue.add(key, "", 0);
  await time.advance(1_000);
  assertEquals(tries.map(([, key]) => key).sort(), ["a", "b", "c", "slow"]);
  assertEquals(queue.size, 1);
  beats.splice(0);
  await time.advance(60_000);
  assertEquals(beats, [], "nothing but the work that hangs: the liveness check must see that");
  hanging.resolve("done");
  await time.advance(1_000);
  assertEquals([queue.size, beats.at(-1)], [0, "idle"]);
  stop.abort();
  await running;
});

Deno.test("DueQueue backs each failing key off by itself", async () => {
  const time = new VirtualTime();
  let failures = 0;
  const { queue, timesOf } = queueOf({
    time,
    work: (key) => Promise.resolve(key === "failing" || failures++ === 0 ? "again" : "done"),
  });
  const stop = new AbortController();
  const running = queue.run(stop.signal);
  queue.add("failing", "", 0);
  await time.advance(300_000);
  for (let round = 0; round < 20; round++) {
    failures = 0;
    const before = timesOf("once").length;
    queue.add("once", "", 0);
    await time.advance(1_000);
    assertEquals(timesOf("once").length, before + 2, "its own first wait is at most 500 ms");
  }
  assert(timesOf("failing").length < 200, `${timesOf("failing").length} tries in 320 s`);
  stop.abort();
  await running;
});

Deno.test("DueQueue waits as long as a failed try says, also when new work of its key comes", async () => {
  const time = new VirtualTime();
  let isFirst = true;
  const { queue, timesOf } = queueOf({
    time,
    work() {
      const result = isFirst ? { retryAfterMs: 30_000 } : "done" as const;
      isFirst = false;
      return Promise.resolve(result);
    },
  });
  const stop = new AbortController();
  const running = queue.run(stop.signal);
  queue.add("key", "", 0);
  await time.advance(5_000);
  queue.add("key", "", 0);
  await time.advance(60_000);
  const [first = 0, second = 0] = timesOf("key");
  assert(second - first >= 30_000, `tried again after ${second - first} ms`);
  stop.abort();
  await running;
});

Deno.test("queues that share a spacing take turns: a full one does not delay the other", async () => {
  const time = new VirtualTime();
  const spacing = createSpacing({ clock: time, perSecond: 100, sleep: time.sleep });
  const done: string[] = [];
  const newQueue = () =>
    new DueQueue<string>({
      clock: time,
      spacing,
      maxSize: 1_000,
      concurrency: 4,
      sleep: time.sleep,
      merge: (_older, newer) => newer,
      dropped() {},
      work: (key) => Promise.resolve(done.push(key)).then(() => "done"),
    });
  const [full, other] = [newQueue(), newQueue()];
  const stop = new AbortController();
  const running = [full.run(stop.signal), other.run(stop.signal)];
  for (let index = 0; index < 1_000; index++) full.add(`full ${index}`, "", 0);
  for (let index = 0; index < 20; index++) other.add(`other ${index}`, "", 0);
  await time.advance(1_000);
  assertEquals(done.filter((key) => key.startsWith("other")).length, 20);
  assert(done.length <= 105, `${done.length} in a second`);
  stop.abort();
  await Promise.all(running);
});
