/** The stream of the page's state: server-sent events by a fetch that shows the secret. */
import { Refusal } from "../http/request.ts";
import { elapsed } from "../kube/retry.ts";
import type { ChangeSignal } from "../model/change_signal.ts";

/** Most pages that listen at the same time. */
const MAX_STREAMS = 16;
/** A page gets changes at most twice a second. */
const LEAST_MS = 500;
/** A comment goes out after this much silence. */
const QUIET_MS = 15_000;

export interface StreamsOptions {
  readonly changed: ChangeSignal;
  /** The data of an event `state`. */
  readonly state: () => unknown;
  /** Ends every stream. */
  readonly signal: AbortSignal;
}

/** Opens streams, a bounded number of them. */
export class Streams {
  readonly #options: StreamsOptions;
  #open = 0;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  /** The body of a new stream. A reader that is slow gets the latest state when it comes, and none in between. */
  open(): ReadableStream<Uint8Array<ArrayBuffer>> {
    if (this.#open >= MAX_STREAMS) {
      throw new Refusal(503, `Cannot open another stream: ${MAX_STREAMS} pages are open. Close one of them`, {
        "retry-after": "5",
      });
    }
    this.#open++;
    const { changed, state, signal } = this.#options;
    const encoder = new TextEncoder();
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    // The first state is due at once.
    let isChanged = true;
    let wake = () => {};
    const subscription = changed.subscribe(() => {
      isChanged = true;
      wake();
    });
    let isClosed = false;
    const close = () => {
      if (isClosed) return;
      isClosed = true;
      this.#open--;
      subscription[Symbol.dispose]();
      stop.abort();
    };
    let sentAt = -Infinity;
    return new ReadableStream({
      async pull(controller) {
        try {
          if (!isChanged) {
            const quiet = new AbortController();
            wake = () => quiet.abort();
            await elapsed(QUIET_MS, { signal: AbortSignal.any([either, quiet.signal]) });
          }
          if (isChanged) {
            await elapsed(Math.max(0, sentAt + LEAST_MS - performance.now()), { signal: either });
          }
          if (either.aborted) {
            close();
            return controller.close();
          }
          const text = isChanged ? `event: state\ndata: ${JSON.stringify(state())}\n\n` : ": quiet\n\n";
          isChanged = false;
          sentAt = performance.now();
          controller.enqueue(encoder.encode(text));
        } catch (error) {
          close();
          throw error;
        }
      },
      cancel: close,
    }, { highWaterMark: 0 });
  }
}
