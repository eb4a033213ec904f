import { assertEquals } from "@std/assert";
import { labelCap } from "./metrics.ts";

Deno.test("labelCap() keeps the first values for good, and calls the rest other", () => {
  const label = labelCap(2);
  assertEquals(["a", "b", "c", "a", "c", "b"].map(label), ["a", "b", "other", "a", "other", "b"]);
});
