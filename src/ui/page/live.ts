/** The one stream of this tab: the State, and since when it is cut off. */
import { computed, signal } from "@preact/signals";
import type { State } from "../protocol.ts";
import { messageOf, RequestError, send, session } from "./session.ts";

/** The server part sends a comment each 15 s: a stream silent for longer is dead (a laptop that slept). */
const SILENCE_MS = 40_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];

/** The State as last received. */
export const state = signal<State | undefined>(undefined);
/** Since when this tab has no stream, and why; undefined while it has one. */
export const cutOff = signal<{ readonly since: string; readonly why: string } | undefined>(undefined);
/** Rises with each change of what the server part holds, and with each stream that opens again. */
export const changes = computed(() => `${streams.value}/${state.value?.revision ?? 0}`);

const streams = signal(0);

let keeping = false;

/** Keeps the stream open until the session is lost. */
export async function keepStream(): Promise<void> {
  if (keeping) return;
  keeping = true;
  for (let failures = 0; session.value.state === "open";) {
    try {
      await readStream(() => failures = 0);
      lost("The stream has ended.");
    } catch (error) {
      lost(error instanceof RequestError ? error.message : `The stream broke: ${messageOf(error)}.`);
    }
    await retryPause(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)] ?? 0);
  }
  keeping = false;
}

function lost(why: string): void {
  cutOff.value = { since: cutOff.value?.since ?? new Date().toISOString(), why };
}

async function readStream(opened: () => void): Promise<void> {
  const controller = new AbortController();
  let silence = setTimeout(() => controller.abort(), SILENCE_MS);
  try {
    const answer = await send("/api/events", { signal: controller.signal });
    if (!answer.body) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "";;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => controller.abort(), SILENCE_MS);
      const parts = (text + value).split(/\r?\n\r?\n/);
      text = parts.pop() ?? "";
      for (const part of parts) {
        const received = stateOf(part);
        if (!received) continue;
        if (cutOff.value) streams.value++;
        cutOff.value = undefined;
        state.value = received;
        opened();
      }
    }
  } finally {
    clearTimeout(silence);
    controller.abort();
  }
}

/** The State of one event of the stream, or undefined for a comment or another event. */
function stateOf(event: string): State | undefined {
  let name = "message", data = "";
  for (const line of event.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5).trim();
  }
  return name === "state" && data !== "" ? JSON.parse(data) : undefined;
}

/** Ends early when the network or the tab comes back. */
function retryPause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    function end() {
      clearTimeout(timer);
      removeEventListener("online", end);
      document.removeEventListener("visibilitychange", shown);
      resolve();
    }
    function shown() {
      if (document.visibilityState === "visible") end();
    }
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    document.addEventListener("visibilitychange", shown);
  });
}
