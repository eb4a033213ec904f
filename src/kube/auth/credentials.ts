/** A Pod's own way to its API server: service-account token, CA and address, without any library. */
import { type Clock, systemClock } from "../../model/clock.ts";
import type { Connection, Endpoint } from "./connection.ts";

export interface InClusterOptions {
  /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, as the kubelet sets them. */
  readonly host: string;
  readonly port: string;
  /** Where the service account is mounted. */
  readonly folder?: string;
  readonly clock?: Clock;
  /** How long a token is used before its file is read again. The kubelet writes a new one well before expiry. */
  readonly maxAgeMs?: number;
  readonly readFile?: (path: string) => Promise<string>;
}

export const SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Fresh reads after a 401 are at most this frequent: many requests may be refused at the same time. */
const FRESH_AGE_MS = 1_000;

/** The cluster this Pod runs in. Throws if the service account is not mounted. */
export async function inClusterConnection(options: InClusterOptions): Promise<Connection> {
  const { host, port, folder = SERVICE_ACCOUNT_FOLDER, clock = systemClock, maxAgeMs = 60_000 } = options;
  const readFile = options.readFile ?? Deno.readTextFile;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const endpoint = cached({
    clock,
    maxAgeMs,
    freshAgeMs: FRESH_AGE_MS,
    async read(): Promise<Endpoint> {
      const token = (await readOr(readFile, `${folder}/token`)).trim();
      if (token === "") throw new Error(`Cannot read "${folder}/token": it is empty`);
      return { server, authorization: `Bearer ${token}`, caPem: await readOr(readFile, `${folder}/ca.crt`) };
    },
  });
  await endpoint();
  const namespace = (await readOr(readFile, `${folder}/namespace`)).trim();
  return { description: `the cluster of this Pod (${server})`, namespace: namespace || undefined, endpoint };
}

async function readOr(readFile: (path: string) => Promise<string>, path: string): Promise<string> {
  try {
    return await readFile(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot read "${path}": ${why}`, { cause });
  }
}

export interface CachedOptions<T> {
  readonly clock: Clock;
  readonly maxAgeMs: number;
  /** The age under which even a fresh read is answered from the last one. */
  readonly freshAgeMs: number;
  readonly read: (fresh: boolean) => Promise<T>;
}

/**
 * Reads now and then, once for all who ask at the same time. Where a routine read fails, the last value goes on being
 * used: a file in the middle of being replaced is no reason to stop. A read that a 401 asked for fails openly.
 */
export function cached<T>(options: CachedOptions<T>): (how?: { readonly fresh?: boolean }) => Promise<T> {
  const { clock, maxAgeMs, freshAgeMs, read } = options;
  let last: { readonly value: T; readonly at: number } | undefined;
  let reading: Promise<T> | undefined;

  const readAgain = (fresh: boolean): Promise<T> =>
    reading ??= read(fresh).then((value) => {
      last = { value, at: clock.monotonic() };
      return value;
    }).finally(() => reading = undefined);

  return async ({ fresh = false } = {}) => {
    const ageMs = last === undefined ? Infinity : clock.monotonic() - last.at;
    if (last !== undefined && ageMs < (fresh ? freshAgeMs : maxAgeMs)) return last.value;
    try {
      return await readAgain(fresh);
    } catch (error) {
      if (fresh || last === undefined) throw error;
      return last.value;
    }
  };
}
