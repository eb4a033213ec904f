/** The watcher, a process of its own: notes when an Observation is first seen. */
import { numberPattern, OBSERVATIONS_PATH } from "./inputs.ts";
import type { Access } from "./server.ts";
import { linesOf } from "../support/lines.ts";
import { answerQuestions } from "./worker.ts";

/** `start` resolves once the watch is open; `stop` with the sightings. */
export type WatchQuestion =
  | { readonly ask: "start"; readonly access: Access; readonly run: string }
  | { readonly ask: "stop" };

/** Pairs of number and time, in ms since the epoch. */
export type Sightings = readonly (readonly [number: number, at: number])[];

/** For what was stored at the end to come by. */
const LAST_MS = 500;

if (import.meta.main) {
  let stop = new AbortController();
  let seen = new Map<number, number>();
  await answerQuestions(async (question: WatchQuestion) => {
    if (question.ask === "start") {
      stop = new AbortController();
      seen = new Map();
      await watch(question, { seen, signal: stop.signal });
      return null;
    }
    await new Promise((resolve) => setTimeout(resolve, LAST_MS));
    stop.abort();
    return [...seen];
  });
}

async function watch(
  { access, run }: { readonly access: Access; readonly run: string },
  { seen, signal }: { readonly seen: Map<number, number>; readonly signal: AbortSignal },
): Promise<void> {
  const client = Deno.createHttpClient({ caCerts: [access.caPem], http2: true });
  const headers = { authorization: `Bearer ${access.token}` };
  const list = await (await fetch(`${access.url}${OBSERVATIONS_PATH}?limit=1`, { client, headers })).json();
  const query = `watch=1&resourceVersion=${list.metadata.resourceVersion}`;
  const response = await fetch(`${access.url}${OBSERVATIONS_PATH}?${query}`, { client, headers, signal });
  if (!response.ok || !response.body) throw new Error(`Cannot watch: HTTP ${response.status}`);
  const pattern = numberPattern(run);
  const reading = async (body: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const line of linesOf(body)) {
      const number = pattern.exec(line)?.[1];
      const at = performance.timeOrigin + performance.now();
      if (number !== undefined && !seen.has(Number(number))) seen.set(Number(number), at);
    }
  };
  reading(response.body).catch(() => {}).finally(() => client.close());
}
