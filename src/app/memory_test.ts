import { assertEquals } from "@std/assert";
import { memoryLimit } from "./memory.ts";

const MIB = 2 ** 20;

function limitOf(files: Readonly<Record<string, string>>): number {
  return memoryLimit((path) => {
    const text = files[path];
    if (text === undefined) throw new Deno.errors.NotFound(path);
    return text;
  });
}

Deno.test("memoryLimit() reads the limit of cgroup v2 or v1, and Infinity where there is none", () => {
  const v2 = "/sys/fs/cgroup/memory.max";
  const v1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
  assertEquals(limitOf({ [v2]: "134217728\n" }), 128 * MIB);
  assertEquals(limitOf({ [v1]: "536870912\n" }), 512 * MIB);
  assertEquals(limitOf({ [v2]: "max\n" }), Infinity);
  assertEquals(limitOf({}), Infinity);
});
