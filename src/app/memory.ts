/** How much memory the process may take. */

/** Where the kernel tells a container its memory limit: cgroup v2, then v1. */
export const MEMORY_LIMIT_FILES: readonly string[] = [
  "/sys/fs/cgroup/memory.max",
  "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/** The container's memory limit in bytes; Infinity where there is none, or none can be read. */
export function memoryLimit(readFile: (path: string) => string = Deno.readTextFileSync): number {
  for (const path of MEMORY_LIMIT_FILES) {
    try {
      const limit = Number(readFile(path).trim());
      // cgroup v2 writes "max" where there is no limit.
      if (Number.isFinite(limit) && limit > 0) return limit;
    } catch {
      // Not this version of cgroups, or no Linux.
    }
  }
  return Infinity;
}
