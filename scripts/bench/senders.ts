/** Sending at a fixed rate, or as fast as so many senders can. */

/** What happened to each request, by its number. Times in ms since the epoch. */
export interface Shots {
  /** When it was due. */
  readonly due: number[];
  readonly done: number[];
  /** HTTP status; 0: no answer. */
  readonly status: number[];
}

/** Options of `sendAll()`. */
export interface SendOptions {
  readonly count: number;
  /** Each sends its next request when it has its answer. */
  readonly senders: number;
  /** Ms after the start at which a request is due; by default as soon as a sender is free. */
  readonly dueAfterMs?: (index: number) => number;
  /** Nothing new is sent after this time. */
  readonly maxMs?: number;
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Resolves with the HTTP status, 0 where there was no answer. Never rejects. */
  readonly send: (index: number) => Promise<number>;
}

/**
 * Sends every request once, in order. Latency counts from when a request was due, whatever became of earlier ones: a sender
 * that waits for a slow answer measures slow moments seldom (coordinated omission).
 */
export async function sendAll(options: SendOptions): Promise<Shots> {
  const { count, senders, dueAfterMs, maxMs = Infinity, now, sleep, send } = options;
  const shots: Shots = { due: [], done: [], status: [] };
  const start = now();
  let next = 0;
  const sender = async () => {
    while (next < count && now() < start + maxMs) {
      const index = next++;
      const due = dueAfterMs ? start + dueAfterMs(index) : now();
      while (now() < due) await sleep(Math.max(1, due - now()));
      shots.due[index] = due;
      shots.status[index] = await send(index);
      shots.done[index] = now();
    }
  };
  await Promise.all(Array.from({ length: Math.min(senders, count) }, sender));
  return shots;
}
