/** A stream of alerts to the release's Service: each is sent until it is taken, by a connection of its own, as Falco does. */
import { alert } from "../support/alerts.ts";

/** Sent at once, at most. */
const MAX_OPEN = 100;
/** The longest a sender waits after a 503, so that a test is not all waiting. */
const MAX_WAIT_MS = 1_000;
const GIVE_UP_MS = 120_000;

export interface NodeLoadOptions {
  readonly url: string;
  /** Called at each try: a reinstall may make another. */
  readonly token: () => string;
  /** Where the Pods of the alerts are. */
  readonly namespace: string;
  readonly perSecond: number;
}

/** What came of a load. */
export interface LoadResult {
  /** Indexes of the alerts that were answered with 200. */
  readonly accepted: ReadonlySet<number>;
  /** Answers 503, and tries without an answer. */
  readonly refused: number;
  readonly unanswered: number;
  /** From the first try of an alert until it was taken, at most. */
  readonly longestMs: number;
  /** Answers that are neither 200 nor 503, one of a kind. */
  readonly unexpected: readonly string[];
}

/** Alerts, one after the other, until `stop()`. */
export class AlertLoad {
  readonly #options: NodeLoadOptions;
  readonly #client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  readonly #accepted = new Set<number>();
  readonly #open = new Set<Promise<void>>();
  readonly #unexpected = new Set<string>();
  readonly #timer: ReturnType<typeof setInterval>;
  #next = 0;
  #refused = 0;
  #unanswered = 0;
  #longestMs = 0;
  #deadline = Infinity;

  constructor(options: NodeLoadOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#start(), 1_000 / options.perSecond);
  }

  /** So far. */
  get taken(): number {
    return this.#accepted.size;
  }

  /** Sends no further alert and waits until all are taken. */
  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    this.#deadline = performance.now() + GIVE_UP_MS;
    await Promise.all(this.#open);
    this.#client.close();
    return {
      accepted: this.#accepted,
      refused: this.#refused,
      unanswered: this.#unanswered,
      longestMs: this.#longestMs,
      unexpected: [...this.#unexpected],
    };
  }

  #start(): void {
    if (this.#open.size >= MAX_OPEN) return;
    const sending = this.#untilTaken(this.#next++);
    this.#open.add(sending);
    sending.finally(() => this.#open.delete(sending));
  }

  async #untilTaken(index: number): Promise<void> {
    // The chart's own filter drops what is less than a warning.
    const body = JSON.stringify({ ...alert(this.#options.namespace, index), priority: "Error" });
    const startedAt = performance.now();
    while (performance.now() < this.#deadline) {
      if (await this.#isTaken(body)) {
        this.#accepted.add(index);
        this.#longestMs = Math.max(this.#longestMs, performance.now() - startedAt);
        return;
      }
    }
  }

  async #isTaken(body: string): Promise<boolean> {
    const { url, token } = this.#options;
    let status: number;
    let retryAfterMs = 100;
    try {
      const response = await fetch(`${url}/falco/webhook`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token()}` },
        body,
        client: this.#client,
        // A node that is cut off answers nothing.
        signal: AbortSignal.timeout(5_000),
      });
      status = response.status;
      retryAfterMs = Math.max(100, Number(response.headers.get("retry-after")) * 1_000);
      await response.body?.cancel();
    } catch {
      this.#unanswered++;
      await pause(100);
      return false;
    }
    if (status === 200) return true;
    if (status === 503) this.#refused++;
    else this.#unexpected.add(`HTTP ${status}`);
    await pause(Math.min(MAX_WAIT_MS, retryAfterMs));
    return false;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
