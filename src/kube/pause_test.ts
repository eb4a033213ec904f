import { assertEquals } from "@std/assert";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { Pause } from "./pause.ts";

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
