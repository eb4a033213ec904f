/** How many connections the process has file descriptors for. */
import { errorCode } from "../model/error_message.ts";
import { logger } from "../telemetry/logging.ts";

/** What the runtime, the logs and the connections to the API server may open later. */
const OWN_DESCRIPTORS = 24;
/** Reserve for a burst: new connections are accepted before those closed for them have given their descriptors back. */
const BURST_DESCRIPTORS = 512;
const LEAST = 4;
const NULL_DEVICE = "/dev/null";

const log = logger("http");

/**
 * The most connections that one port may have: as many as the port of `wanted` that wants most, or fewer where the process has
 * too few descriptors for all, since node:http on Deno 2.9.6 stops accepting for good once it runs out of them.
 */
export function connectionLimit(
  wanted: readonly number[],
  free: (most: number) => number = freeDescriptors,
): number {
  const needed = wanted.reduce((sum, each) => sum + each, OWN_DESCRIPTORS + BURST_DESCRIPTORS);
  const most = Math.max(...wanted);
  const descriptors = free(needed);
  if (descriptors >= needed) return most;
  const left = descriptors - OWN_DESCRIPTORS;
  const share = Math.floor((left - Math.min(BURST_DESCRIPTORS, left / 2)) / wanted.length);
  const connections = Math.min(most, Math.max(LEAST, share));
  log.warn("The limit of open files allows fewer connections than MAX_CONNECTIONS", {
    wanted: most,
    connections,
    descriptors,
    mend: "raise the limit (ulimit -n) or lower MAX_CONNECTIONS",
  });
  return connections;
}

/**
 * Opens descriptors until there are none, and closes them: 25 µs for each. The limit itself is in a file below /proc, which Deno
 * lets a program read with every permission only. `most` where something else than the limit ends it.
 */
function freeDescriptors(most: number): number {
  const open: Deno.FsFile[] = [];
  try {
    while (open.length < most) open.push(Deno.openSync(NULL_DEVICE));
    return most;
  } catch (error) {
    return ["EMFILE", "ENFILE"].includes(errorCode(error)) ? open.length : most;
  } finally {
    for (const file of open) file.close();
  }
}
