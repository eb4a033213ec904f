/** The load generator, a process of its own. */
import { bodyMaker, type Input } from "./inputs.ts";
import { closedLoop, openLoop, type Shots } from "./open_loop.ts";
import { answerQuestions } from "./worker.ts";

/** What to send where. */
export interface Load {
  readonly url: string;
  readonly token?: string;
  readonly caPem?: string;
  readonly input: Input;
  /** Sets the numbers of this load apart from all others. */
  readonly run: string;
  readonly count: number;
  /** So many of the events are new ones, the others repeat those; 1 by default. */
  readonly uniqueShare?: number;
  /** The number of the first event. */
  readonly from?: number;
  readonly pace:
    | { readonly kind: "open"; readonly ratePerSecond: number }
    | { readonly kind: "closed"; readonly concurrency: number; readonly maxMs: number };
}

/** What came of it. `number` is what the event carries. */
export interface LoadResult extends Shots {
  readonly number: number[];
  /** Answers by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Sums of the counts in the controller's answers. */
  readonly counts: Readonly<Record<string, number>>;
  /** One of the answers that were no success. */
  readonly complaint?: string;
}

const MAX_IN_FLIGHT = 2_000;
const SOCKETS = 256;
const REQUEST_MS = 120_000;
const COUNTED = ["received", "created", "deduped", "filtered", "failed"];

if (import.meta.main) await answerQuestions((load: Load) => run(load));

/** Bodies are made before the first is sent. */
async function run(load: Load): Promise<LoadResult> {
  const { count, pace, from = 0, uniqueShare = 1 } = load;
  const make = await bodyMaker(load.input, load.run);
  const number = Array.from({ length: count }, (_, index) => from + originalOf(index, uniqueShare));
  const made = new Map<number, Uint8Array<ArrayBuffer>>();
  for (const each of number) if (!made.has(each)) made.set(each, new TextEncoder().encode(make(each)));
  using client = Deno.createHttpClient({
    http2: false,
    poolMaxIdlePerHost: SOCKETS,
    ...(load.caPem === undefined ? {} : { caCerts: [load.caPem] }),
  });
  const headers = {
    "content-type": "application/json",
    ...(load.token === undefined ? {} : { authorization: `Bearer ${load.token}` }),
  };
  const statuses: Record<string, number> = {};
  const counts: Record<string, number> = {};
  let complaint: string | undefined;
  const send = async (index: number): Promise<number> => {
    const body = made.get(number[index] ?? 0) ?? null;
    const signal = AbortSignal.timeout(REQUEST_MS);
    try {
      const response = await fetch(load.url, { method: "POST", body, headers, client, signal });
      const text = await response.text();
      if (!response.ok) complaint ??= text.slice(0, 500);
      if (load.input !== "observation") add(counts, text);
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      return response.status;
    } catch (error) {
      complaint ??= error instanceof Error ? error.message : String(error);
      statuses[0] = (statuses[0] ?? 0) + 1;
      return 0;
    }
  };
  const now = () => performance.timeOrigin + performance.now();
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const shots = pace.kind === "open"
    ? await openLoop({ ...pace, count, maxInFlight: MAX_IN_FLIGHT, now, sleep, send })
    : await closedLoop({ ...pace, count, now, send });
  return { ...shots, number, statuses, counts, ...(complaint === undefined ? {} : { complaint }) };
}

/** With 0.3, three of ten are new, the seven between them repeat an earlier one. */
function originalOf(index: number, uniqueShare: number): number {
  return Math.floor(index * uniqueShare);
}

function add(counts: Record<string, number>, text: string): void {
  try {
    const answer = JSON.parse(text);
    for (const name of COUNTED) counts[name] = (counts[name] ?? 0) + (Number(answer[name]) || 0);
  } catch {
    counts.unreadable = (counts.unreadable ?? 0) + 1;
  }
}
