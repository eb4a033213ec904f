import type { Beat } from "./model/beat.ts";
import { logger } from "./telemetry/logging.ts";

/** A part of the program that runs until its signal aborts. */
export interface Runnable {
  readonly name: string;
  /**
   * Resolves once `signal` aborted and everything of this part has ended. Rejecting, or ending before, is a defect.
   * Calls `beat` within a minute of its start, and in every round of its loops.
   */
  run(signal: AbortSignal, beat: Beat): Promise<void>;
}

/** Notes when a runnable starts, stops, or ends by itself; Health implements it. */
export interface Observer {
  /** The beat of a runnable that starts. */
  beatOf(name: string): Beat;
  /** A runnable was stopped: no more beats of it are due. */
  stopped(name: string): void;
  /** A runnable ended before it was stopped: the program is then no longer whole. */
  ended(name: string): void;
}

const log = logger("lifecycle");

/** Runnables that start in order and stop in the opposite order, each waited for. */
export class RunnableGroup {
  readonly #runnables: readonly Runnable[];
  readonly #observer: Observer;
  #running: { name: string; abort: AbortController; done: Promise<void> }[] = [];

  constructor(runnables: readonly Runnable[], observer: Observer) {
    this.#runnables = runnables;
    this.#observer = observer;
  }

  start(): void {
    for (const runnable of this.#runnables) {
      const abort = new AbortController();
      this.#running.push({ name: runnable.name, abort, done: this.#watch(runnable, abort.signal) });
    }
  }

  /** Stops what is running. Safe to call again. */
  async stop(): Promise<void> {
    const running = this.#running.reverse();
    this.#running = [];
    for (const { abort, done } of running) {
      abort.abort(new DOMException("stopping", "AbortError"));
      await done;
    }
  }

  async #watch(runnable: Runnable, signal: AbortSignal): Promise<void> {
    try {
      await runnable.run(signal, this.#observer.beatOf(runnable.name));
      if (!signal.aborted) throw new Error(`Runnable "${runnable.name}" ended before it was stopped`);
    } catch (error) {
      if (signal.aborted) return;
      log.fatal("A part of the program ended", { runnable: runnable.name, error });
      this.#observer.ended(runnable.name);
    } finally {
      this.#observer.stopped(runnable.name);
    }
  }
}

/** Resolves when `signal` aborts. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
