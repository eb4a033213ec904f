/** When this replica lost its connection to the API server. A starting server refuses requests of the control plane for a while. */

/** The times around which an API server was starting, as far as this replica noticed. */
export interface ApiOutages {
  /** Notes that a connection failed now. */
  noteLost(): void;
  /** True within a minute of a lost connection, or of the start of this replica. */
  isNear(atMs: number): boolean;
}

const NEAR_MS = 60_000;
/** Only the newest outages are kept: audit events arrive within minutes. */
const MAX_OUTAGES = 32;

/** Creates the record of a process. `now` is the API server's clock. */
export function createApiOutages(now: () => number): ApiOutages {
  const started = now();
  const outages: { from: number; to: number }[] = [{ from: started, to: started }];
  return {
    noteLost() {
      const at = now();
      const last = outages.at(-1);
      if (last && at >= last.from && at <= last.to + NEAR_MS) last.to = Math.max(last.to, at);
      else outages.push({ from: at, to: at });
      if (outages.length > MAX_OUTAGES) outages.shift();
    },
    isNear: (atMs) => outages.some(({ from, to }) => atMs >= from - NEAR_MS && atMs <= to + NEAR_MS),
  };
}
