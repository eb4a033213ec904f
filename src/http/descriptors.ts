/** How many file descriptors the process may have, and how many of them connections may take. */
import { logger } from "../telemetry/logging.ts";

/** What the runtime, the logs and the connections to the API server take. */
const OWN_DESCRIPTORS = 40;
/** Ports that share the rest: webhooks, metrics, TLS, and one part in reserve. */
const SHARES = 4;
const LEAST = 4;

const log = logger("http");

/**
 * The number of connections a port may have: `wanted`, or fewer where the process has too few descriptors for it,
 * since node:http on Deno 2.9.6 stops accepting for good once it runs out of them.
 */
export function connectionLimit(wanted: number, descriptors = descriptorLimit()): number {
  const fits = Math.max(LEAST, Math.floor((descriptors - OWN_DESCRIPTORS) / SHARES));
  if (fits >= wanted) return wanted;
  log.warn("The limit of open files allows fewer connections than MAX_CONNECTIONS", {
    wanted,
    connections: fits,
    descriptors,
    mend: "raise the limit (ulimit -n) or lower MAX_CONNECTIONS",
  });
  return fits;
}

/** The soft limit of open files; Infinity where it cannot be read (no Linux, no permission). */
function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/limits"));
    return line ? Number(line[1]) : Infinity;
  } catch {
    return Infinity;
  }
}
