import { assertEquals } from "@std/assert";
import { inTurns } from "./turns.ts";

Deno.test("inTurns() yields one item of each group in turn, each group in its order", () => {
  const turns = (items: readonly string[]) => [...inTurns(items, (item) => item[0] ?? "")];
  assertEquals(turns(["a1", "a2", "a3", "b1", "c1", "c2"]), ["a1", "b1", "c1", "a2", "c2", "a3"]);
  assertEquals(turns([]), []);
});
