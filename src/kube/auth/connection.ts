/** The address of an API server and the credentials for it; those of a Pod are read here, without any library. */
import { type Clock, systemClock } from "../../model/time.ts";
import { errorMessage } from "../../model/error_message.ts";

/** Address and credentials for one request. The client opens new connections only if the server or the TLS fields change. */
export interface Endpoint {
  /** `https://host:port`, perhaps with a path; `http://` for a development cluster. */
  readonly server: string;
  /** Value of the `Authorization` header, including the scheme. */
  readonly authorization?: string;
  /** Further headers of the user, e.g. `Impersonate-User`. Each of several values is sent as a header of its own. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly caPem?: string;
  readonly certPem?: string;
  readonly keyPem?: string;
  readonly proxyUrl?: string;
}

/** A cluster. */
export interface Connection {
  /** Where the connection came from, for messages; holds no secrets. */
  readonly description: string;
  /** The namespace of the Pod or of the kubeconfig's context. */
  readonly namespace: string | undefined;
  /** The name of the kubeconfig's context, where it came from one. */
  readonly context?: string;
  /** The current endpoint. `fresh`, set after a 401, reads it again; implementations limit how often. */
  endpoint(options?: { readonly fresh?: boolean }): Promise<Endpoint>;
}

/** A connection that never changes, e.g. to the embedded development API server or in tests. */
export function fixedConnection(endpoint: Endpoint, namespace?: string): Connection {
  return { description: endpoint.server, namespace, endpoint: () => Promise.resolve(endpoint) };
}

/** A Pod's service account. */
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

/** Where the kubelet mounts it. */
export const SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Least time between two reads after a 401, since many requests may be refused at the same time. */
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
    throw new Error(`Cannot read "${path}": ${errorMessage(cause)}`, { cause });
  }
}

/** How a value is read, and how long it is used. */
export interface CachedOptions<T> {
  readonly clock: Clock;
  readonly maxAgeMs: number;
  /** A fresh read returns the last value if that is younger than this. */
  readonly freshAgeMs: number;
  readonly read: (fresh: boolean) => Promise<T>;
}

/**
 * Reads a value again when it is too old, once for concurrent calls. If a routine read fails, the last value stays in use,
 * because a file may just be being replaced. If a fresh read fails, the call rejects.
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
