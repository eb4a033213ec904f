/** Senders. An open loop sends when a request is due, whatever became of earlier ones; a closed loop waits for answers. */

/** What happened to each request, by its number. Times in ms since the epoch. */
export interface Shots {
  /** When it was due. */
  readonly due: number[];
  readonly done: number[];
  /** HTTP status; 0: no answer; -1: never sent, too many were in flight. */
  readonly status: number[];
}

interface Loop {
  readonly count: number;
  readonly now: () => number;
  /** Resolves with the HTTP status, 0 where there was no answer. Never rejects. */
  readonly send: (index: number) => Promise<number>;
}

/** Options of `openLoop()`. */
export interface OpenLoop extends Loop {
  readonly ratePerSecond: number;
  /** Requests beyond are not sent: a server that stalls must not fill this process. */
  readonly maxInFlight: number;
  readonly sleep: (ms: number) => Promise<void>;
}

/**
 * Sends request `i` at start + i ÷ rate. Latency counts from then: a sender that waits for a slow answer measures slow
 * moments seldom (coordinated omission).
 */
export async function openLoop(options: OpenLoop): Promise<Shots> {
  const { count, ratePerSecond, maxInFlight, now, sleep } = options;
  const shots: Shots = { due: [], done: [], status: [] };
  const start = now();
  const inFlight = new Set<Promise<void>>();
  for (let index = 0; index < count; index++) {
    const due = start + index * 1_000 / ratePerSecond;
    while (now() < due) await sleep(Math.max(1, due - now()));
    shots.due[index] = due;
    if (inFlight.size >= maxInFlight) {
      shots.status[index] = -1;
      shots.done[index] = now();
      continue;
    }
    const shot = fire(index, shots, options).finally(() => inFlight.delete(shot));
    inFlight.add(shot);
  }
  await Promise.all(inFlight);
  return shots;
}

/** Options of `closedLoop()`. */
export interface ClosedLoop extends Loop {
  readonly concurrency: number;
  /** Nothing new is sent after this time. */
  readonly maxMs: number;
}

/** As fast as possible with `concurrency` senders, each of which sends when it has its answer. */
export async function closedLoop(options: ClosedLoop): Promise<Shots> {
  const { count, concurrency, maxMs, now } = options;
  const shots: Shots = { due: [], done: [], status: [] };
  const end = now() + maxMs;
  let next = 0;
  const sender = async () => {
    while (next < count && now() < end) {
      const index = next++;
      shots.due[index] = now();
      await fire(index, shots, options);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, sender));
  return shots;
}

async function fire(index: number, shots: Shots, { now, send }: Loop): Promise<void> {
  shots.status[index] = await send(index);
  shots.done[index] = now();
}
