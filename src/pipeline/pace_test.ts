import { assertEquals } from "@std/assert";
import { createPace } from "./pace.ts";

/** A clock that stands still until it is told to go on. */
function handClock() {
  let at = 0;
  return { now: () => at, monotonic: () => at, advance: (ms: number) => at += ms };
}

Deno.test("what arrives after a quiet time goes on at once: idleness is no work", async () => {
  const clock = handClock();
  const pace = createPace(clock);
  for (let request = 0; request < 100; request++) {
    clock.advance(1_000);
    pace.arrived();
    assertEquals(pace.turn(), undefined);
  }
  clock.advance(9);
  assertEquals(pace.turn(), undefined, "the slice lasts");
  clock.advance(1);
  const wait = pace.turn();
  assertEquals(wait instanceof Promise, true, "it is over");
  await wait;
});

Deno.test("who waited for a turn has a whole slice, not one step of it", async () => {
  const clock = handClock();
  const pace = createPace(clock);
  let waits = 0;
  const loop = async () => {
    for (let step = 0; step < 100; step++) {
      const turn = pace.turn();
      if (turn) {
        waits++;
        await turn;
      }
      clock.advance(1);
    }
  };
  await Promise.all([loop(), loop()]);
  // 200 ms of work in slices of 10 ms.
  assertEquals(waits <= 22, true, `${waits} turns`);
  assertEquals(waits >= 18, true, `${waits} turns`);
});

Deno.test("a loop that only goes on shares the thread: others get their turn after each slice", async () => {
  const clock = handClock();
  const pace = createPace(clock);
  let turns = 0;
  let done = false;
  const others = (async () => {
    while (!done) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      turns++;
    }
  })();
  for (let step = 0; step < 50; step++) {
    await pace.turn();
    clock.advance(10);
  }
  done = true;
  await others;
  assertEquals(turns >= 20, true, `${turns} turns of the event loop`);
});
