/** The load generator, a process of its own. */
import { alert, observationsOf } from "./inputs.ts";
import { closedLoop, openLoop, type Shots } from "./loops.ts";
import { answerQuestions } from "./worker.ts";

/** At a fixed rate, or as fast as so many senders can. */
export type Pace =
  | { readonly kind: "open"; readonly ratePerSecond: number }
  | { readonly kind: "closed"; readonly concurrency: number; readonly maxMs: number };

/** What to send where. */
export interface Load {
  readonly url: string;
  readonly token?: string;
  readonly caPem?: string;
  /** The alerts, or the Observations that zen-watcher makes of them. */
  readonly input: "alerts" | "observations";
  /** Sets the events of this load apart from all others. */
  readonly run: string;
  readonly count: number;
  readonly pace: Pace;
}

/** What came of it. */
export interface LoadResult extends Shots {
  /** One of the answers that were no success. */
  readonly complaint?: string;
}

const MAX_IN_FLIGHT = 2_000;
const SOCKETS = 256;
const REQUEST_MS = 120_000;

if (import.meta.main) await answerQuestions((load: Load) => run(load));

/** Bodies are made before the first is sent. */
async function run({ url, token, caPem, input, run, count, pace }: Load): Promise<LoadResult> {
  const alerts = Array.from({ length: count }, (_, number) => alert(run, number));
  const texts = input === "alerts"
    ? alerts.map((each) => JSON.stringify(each))
    : await observationsOf(alerts);
  const bodies = texts.map((text) => new TextEncoder().encode(text));
  // HTTP/1.1, as the controller's own requests.
  using client = Deno.createHttpClient({
    http2: false,
    poolMaxIdlePerHost: SOCKETS,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
  });
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  let complaint: string | undefined;
  const send = async (index: number): Promise<number> => {
    const signal = AbortSignal.timeout(REQUEST_MS);
    try {
      const body = bodies[index] ?? null;
      const response = await fetch(url, { method: "POST", body, headers, client, signal });
      const text = await response.text();
      if (!response.ok) complaint ??= `${response.status} ${text.slice(0, 300)}`;
      return response.status;
    } catch (error) {
      complaint ??= String(error);
      return 0;
    }
  };
  const now = () => performance.timeOrigin + performance.now();
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const shots = pace.kind === "open"
    ? await openLoop({ ...pace, count, maxInFlight: MAX_IN_FLIGHT, now, sleep, send })
    : await closedLoop({ ...pace, count, now, send });
  return { ...shots, ...(complaint === undefined ? {} : { complaint }) };
}
