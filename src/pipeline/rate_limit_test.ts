import { assertEquals } from "@std/assert";
import { createRateLimiter, type Rate } from "./rate_limit.ts";

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
  const take = (name: string, source = "falco", signal = new AbortController().signal) => {
    limiter.take(source, signal).then((ok) => taken.push(ok ? name : `${name} aborted`));
  };
  return { time, limiter, taken, take };
}

Deno.test("rate limit lets a burst through, then one token at a time, in order", async () => {
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

Deno.test("rate limit refills up to the burst and no further", async () => {
  const { time, taken, take } = setup({ perSecond: 100, burst: 3 });
  for (const name of ["a", "b", "c"]) take(name);
  await time.advance(3_600_000);
  for (const name of ["d", "e", "f", "g"]) take(name);
  await time.advance(0);
  assertEquals(taken.length, 6);
});

Deno.test("rate limit waits end at the abort, cost no token and leave the order of the others", async () => {
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

Deno.test("rate limit holds no timer once the last waiter has gone", async () => {
  const { time, take } = setup({ perSecond: 1, burst: 1 });
  const leaving = new AbortController();
  take("a");
  take("b", "falco", leaving.signal);
  assertEquals(time.timers.size, 1);
  leaving.abort();
  await time.advance(0);
  assertEquals(time.timers.size, 0);
});

Deno.test("rate limit keeps sources apart and takes a source's own rate, changed while it waits", async () => {
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

Deno.test("rate limit forgets the source idle longest, never one that somebody waits for", async () => {
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
