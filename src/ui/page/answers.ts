/** Answers of the server part that stay fresh while they are shown. */
import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { changes } from "./live.ts";
import { messageOf, request } from "./session.ts";

/** What an answer costs is at most a fifth of the time, and it is fetched at most once a second. */
const LEAST_PAUSE_MS = 1_000;
const PAUSE_PER_COST = 4;
const MOST_KEPT = 40;

/** An answer as far as it is known: `data` may be of the path before while the next one loads. */
export interface Answer<T> {
  readonly data?: T;
  readonly error?: string;
  readonly loading: boolean;
}

/** The newest answers by path: going back shows them at once. */
const kept = new Map<string, unknown>();

function keep(path: string, data: unknown): void {
  kept.delete(path);
  kept.set(path, data);
  const oldest = kept.keys().next();
  if (kept.size > MOST_KEPT && !oldest.done) kept.delete(oldest.value);
}

/** Calls `load` now and after each change of what the server part holds, spaced, one call at a time. Returns how to stop. */
export function keepFresh(load: (signal: AbortSignal) => Promise<void>): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  let wanted = false, running = false;
  async function run(): Promise<void> {
    running = true;
    while (wanted && !signal.aborted) {
      wanted = false;
      const startedAt = performance.now();
      await load(signal);
      const pauseMs = Math.max(LEAST_PAUSE_MS, PAUSE_PER_COST * (performance.now() - startedAt));
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    running = false;
  }
  const stopWatching = effect(() => {
    void changes.value;
    wanted = true;
    if (!running) void run();
  });
  return () => {
    stopWatching();
    controller.abort();
  };
}

/** The answer to `GET path`, fetched again after each change; undefined asks nothing. */
export function useAnswer<T>(path: string | undefined): Answer<T> {
  const [, setVersion] = useState(0);
  const held = useRef<{ path: string | undefined; answer: Answer<T> }>({
    path: undefined,
    answer: { loading: true },
  });
  if (held.current.path !== path) {
    const known = path === undefined ? undefined : kept.get(path) as T | undefined;
    const before = held.current.answer.data;
    const data = known ?? before;
    held.current = {
      path,
      answer: { loading: known === undefined, ...(data === undefined ? {} : { data }) },
    };
  }
  useEffect(() => {
    if (path === undefined) return;
    function set(answer: Answer<T>): void {
      if (held.current.path !== path) return;
      held.current = { path, answer };
      setVersion((version) => version + 1);
    }
    return keepFresh(async (signal) => {
      try {
        const data = await request<T>(path, { signal });
        keep(path, data);
        set({ data, loading: false });
      } catch (error) {
        if (signal.aborted) return;
        const data = held.current.answer.data;
        set({ error: messageOf(error), loading: false, ...(data === undefined ? {} : { data }) });
      }
    });
  }, [path]);
  return held.current.answer;
}
