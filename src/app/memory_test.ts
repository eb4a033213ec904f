import { assertEquals, assertThrows } from "@std/assert";
import { memoryLimit } from "./memory.ts";

const MIB = 2 ** 20;

Deno.test("memoryLimit() is the runtime's, and Infinity where there is no limit or no permission", () => {
  assertEquals(memoryLimit(() => 128 * MIB), 128 * MIB);
  assertEquals(memoryLimit(() => 0), Infinity);
  // As cgroup v1 says it.
  assertEquals(memoryLimit(() => 9_223_372_036_854_771_712), Infinity);
  const refuse = () => {
    throw new Deno.errors.NotCapable('Requires sys access to "systemMemoryInfo"');
  };
  assertEquals(memoryLimit(refuse), Infinity);
  const fail = () => {
    throw new TypeError("a bug");
  };
  assertThrows(() => memoryLimit(fail), TypeError);
});
