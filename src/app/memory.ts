/** How much memory the process may take. */
import process from "node:process";

/** What the runtime says where the kernel sets no limit: the largest number of pages. */
const NO_LIMIT = 2 ** 60;

/**
 * The container's memory limit in bytes; Infinity where there is none, or none can be read. The runtime says it, with the
 * permission `sys=systemMemoryInfo`; reading the kernel's files under /sys and /proc would need --allow-all.
 */
export function memoryLimit(constrainedMemory = () => process.constrainedMemory()): number {
  try {
    const limit = constrainedMemory();
    return limit > 0 && limit < NO_LIMIT ? limit : Infinity;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return Infinity;
    throw error;
  }
}
