/** Senders. An open loop sends when it is time, whatever became of what was sent before; a closed one waits. */

/** What happened to each request, by its number. Times in ms since the epoch. */
export interface Shots {
  /** When it was to be sent. */
  readonly due: number[];
  readonly done: number[];
  /** HTTP status; 0: no answer; -1: never sent, too many were under way. */
  readonly status: number[];
}

interface Loop {
  readonly now: () => number;
  /** Resolves with the HTTP status, 0 where there was no answer. Never rejects. */
  readonly send: (index: number) => Promise<number>;
}

export interface OpenLoop extends Loop {
  readonly count: number;
  readonly ratePerSecond: number;
  /** What would be sent beyond is not: a server that stands still must not fill this process. */
  readonly maxInFlight: number;
  readonly sleep: (ms: number) => Promise<void>;
}

/**
 * Sends request `i` at start + i ÷ rate. Latency is counted from then: a sender that is held up by a slow answer would
 * measure the slow moments seldom (coordinated omission).
 */
export async function openLoop(options: OpenLoop): Promise<Shots> {
  const { count, ratePerSecond, maxInFlight, now, sleep } = options;
  const shots: Shots = { due: [], done: [], status: [] };
  const start = now();
  const underWay = new Set<Promise<void>>();
  for (let index = 0; index < count; index++) {
    const due = start + index * 1_000 / ratePerSecond;
    while (now() < due) await sleep(Math.max(1, due - now()));
    shots.due[index] = due;
    if (underWay.size >= maxInFlight) {
      shots.status[index] = -1;
      shots.done[index] = now();
      continue;
    }
    const shot = fire(index, shots, options).finally(() => underWay.delete(shot));
    underWay.add(shot);
  }
  await Promise.all(underWay);
  return shots;
}

export interface ClosedLoop extends Loop {
  readonly count: number;
  readonly concurrency: number;
  /** Nothing new is sent after so long. */
  readonly maxMs: number;
}

/** As fast as it goes with `concurrency` senders, each sending when it has its answer. */
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
