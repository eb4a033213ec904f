/** The secret of this tab, and the requests that it opens. */
import { signal } from "@preact/signals";
import type { Session } from "../protocol.ts";

const KEY = "zen-watcher-secret";
const HEADER = "x-zen-secret";

/** Whether this tab may read: a lost session needs a new address from the terminal. */
export type SessionState =
  | { readonly state: "opening" }
  | { readonly state: "open" }
  | { readonly state: "lost"; readonly why: string };

/** The state of this tab's session, which the page follows. */
export const session = signal<SessionState>({ state: "opening" });

let secret = "";

/** An answer that is no success; `status` is 0 where there was no answer. */
export class RequestError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
    this.name = "RequestError";
  }
}

/** Exchanges the token of the URL's fragment, which leaves the address bar at once; without one uses the secret of this tab. */
export async function openSession(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
  const kept = sessionStorage.getItem(KEY) ?? "";
  shareWithTabs();
  if (!token) {
    keep(kept || await askTabs());
    session.value = secret ? { state: "open" } : { state: "lost", why: "This tab has no session yet." };
    return;
  }
  try {
    const answer = await send("/api/session", { method: "POST", body: { token } });
    const opened: Session = await answer.json();
    keep(opened.secret);
    session.value = { state: "open" };
  } catch (error) {
    keep(kept);
    // A reloaded address carries a token that is used up, and the tab still has its secret.
    session.value = kept ? { state: "open" } : { state: "lost", why: messageOf(error) };
  }
}

function keep(opened: string): void {
  secret = opened;
  if (secret) sessionStorage.setItem(KEY, secret);
}

/** Tabs of this page. Only what this server part serves has its origin, so no other site or program can listen. */
const tabs = new BroadcastChannel(KEY);
const ANSWER_MS = 500;

/** Gives the secret to a tab that a link of this page opened: sessionStorage is of one tab alone. */
function shareWithTabs(): void {
  tabs.onmessage = ({ data }) => {
    if (data === "ask" && secret) tabs.postMessage({ secret });
  };
}

/** The secret from another tab, or "". */
function askTabs(): Promise<string> {
  return new Promise((resolve) => {
    function answered({ data }: MessageEvent): void {
      if (typeof data?.secret === "string") end(data.secret);
    }
    function end(given: string): void {
      clearTimeout(timer);
      tabs.removeEventListener("message", answered);
      resolve(given);
    }
    const timer = setTimeout(() => end(""), ANSWER_MS);
    tabs.addEventListener("message", answered);
    tabs.postMessage("ask");
  });
}

/** What a request sends. */
interface RequestOptions {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** The JSON answer to a request of this tab. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const answer = await send(path, options);
  const text = await answer.text();
  return text === "" ? undefined as T : JSON.parse(text);
}

/** The answer to a request of this tab; one that is no success is thrown as a RequestError. */
export async function send(
  path: string,
  { method = "GET", body, signal }: RequestOptions,
): Promise<Response> {
  const init: RequestInit = {
    method,
    headers: {
      [HEADER]: secret,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
    cache: "no-store",
  };
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError(
      0,
      "The program that serves this page does not answer. Start `zen-watcher ui` again.",
    );
  }
  if (answer.ok) return answer;
  const message = await problemOf(answer);
  if (answer.status === 401 && path !== "/api/session") lose();
  throw new RequestError(answer.status, message);
}

function lose(): void {
  secret = "";
  sessionStorage.removeItem(KEY);
  session.value = { state: "lost", why: "The session of this tab has ended." };
}

async function problemOf(answer: Response): Promise<string> {
  try {
    const { error } = await answer.json();
    if (typeof error === "string" && error !== "") return error;
  } catch { /* not JSON: the status says it */ }
  return `The server answered ${answer.status} ${answer.statusText}.`;
}

/** The sentence of an error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
