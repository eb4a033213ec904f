import { assertEquals } from "@std/assert";
import { throttle } from "./throttle.ts";

Deno.test("throttle() says a key so often in a window, and then how many were left out", () => {
  let now = 0;
  const said = throttle({ lines: 2, windowMs: 100, now: () => now });
  assertEquals(["a", "a", "a", "b", "a"].map(said), [0, 0, undefined, 0, undefined]);
  now = 99;
  assertEquals(said("a"), undefined);
  now = 100;
  assertEquals(["a", "a", "a"].map(said), [3, 0, undefined]);
});

Deno.test("throttle() is not silenced by a clock that was set back", () => {
  let now = 1_000;
  const said = throttle({ lines: 1, windowMs: 100, now: () => now });
  assertEquals([said("a"), said("a")], [0, undefined]);
  now = 0;
  assertEquals(said("a"), 1);
});

Deno.test("throttle() remembers 1,000 keys, however many strangers make up", () => {
  const said = throttle({ lines: 1, windowMs: 100, now: () => 0 });
  for (let key = 0; key < 1_000; key++) said(String(key));
  assertEquals([said("0"), said("new"), said("999"), said("0")], [undefined, 0, undefined, 0]);
});
