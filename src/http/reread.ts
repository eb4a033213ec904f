/** Secrets in files, read again while the program runs: what could be used last stays in force. */
import { elapsed } from "../kube/retry.ts";
import { errorMessage } from "../model/error_message.ts";
import { logger } from "../telemetry/logging.ts";
import { tokenFault } from "../text/token.ts";

export interface RereadOptions<T> {
  /** Named in log lines. */
  readonly file: string;
  /** The value in force at the start. */
  readonly first: T;
  /** Reads the files again; rejects if they cannot be used. */
  readonly read: () => Promise<T>;
  /** Puts the value that was read into force. */
  readonly put: (next: T) => void;
  readonly everyMs?: number;
}

const REREAD_MS = 5_000;

const log = logger("http");

/**
 * Reads again until it is disposed of, one read at a time. Logs a change, the end of a fault, and once each reason why what is
 * there cannot be used.
 */
export function reread<T>({ file, first, read, put, everyMs = REREAD_MS }: RereadOptions<T>): Disposable {
  let inForce = JSON.stringify(first);
  let problem = "";
  const stop = new AbortController();
  const { signal } = stop;
  async function readOnce(): Promise<void> {
    try {
      const next = await read();
      if (signal.aborted) return;
      const text = JSON.stringify(next);
      if (text === inForce && problem === "") return;
      if (text !== inForce) put(next);
      inForce = text;
      problem = "";
      log.info("Secret file reloaded", { file });
    } catch (error) {
      if (signal.aborted || errorMessage(error) === problem) return;
      problem = errorMessage(error);
      log.warn("Secret file cannot be used, the last good one stays in force", { file, error });
    }
  }
  void (async () => {
    while (await elapsed(everyMs, { signal })) await readOnce();
  })();
  return { [Symbol.dispose]: () => stop.abort() };
}

/** The webhook token in force; "" where none is configured. Read `current` for each request: that of a file may change. */
export interface WebhookToken {
  readonly current: string;
}

export interface TokenOptions {
  readonly token: string;
  /** It holds the token instead; "" for none. */
  readonly file: string;
  readonly everyMs?: number;
}

/** Reads the webhook token; that of a file until it is disposed of. Rejects where it is no token. */
export async function readWebhookToken(
  { token, file, ...options }: TokenOptions,
): Promise<WebhookToken & Disposable> {
  if (file === "") {
    return { current: token === "" ? "" : tokenIn(token, "WEBHOOK_AUTH_TOKEN"), [Symbol.dispose]() {} };
  }
  const read = async () => tokenIn(await readTokenFile(file), `"${file}" (WEBHOOK_AUTH_TOKEN_FILE)`);
  const held = { current: await read() };
  const rereading = reread({
    file,
    first: held.current,
    read,
    put: (next) => held.current = next,
    ...options,
  });
  return Object.assign(held, rereading);
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    const why = errorMessage(cause);
    throw new Error(`Cannot read webhook token file "${file}" (WEBHOOK_AUTH_TOKEN_FILE): ${why}`, { cause });
  }
}

function tokenIn(text: string, place: string): string {
  const token = text.trim();
  const why = tokenFault(token);
  if (why === undefined) return token;
  throw new Error(`Cannot use the webhook token in ${place}: ${why}. Write one word there`);
}
