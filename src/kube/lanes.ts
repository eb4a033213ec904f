/** The TLS clients under the transport: few sockets, replaced when they look dead or the credentials change. */
import { readText } from "./body.ts";
import type { Endpoint } from "./auth/connection.ts";
import { createHttp1 } from "./http1.ts";

/** API servers allow 100 to 250 streams on an HTTP/2 connection; one more request would wait for ever. */
const WATCHES_PER_LANE = 64;

/** For requests with a body through a proxy, which `Http1` knows nothing of. */
const PROXIED_WRITES: Deno.CreateHttpClientOptions = {
  http2: false,
  poolMaxIdlePerHost: 32,
  poolIdleTimeout: 30_000,
};

/** What goes out on a lane. */
export interface LaneRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined on lanes for reads and watches. */
  readonly body: string | undefined;
  readonly signal: AbortSignal;
  /** The longest body of an answer that is read whole. */
  readonly maxBodyBytes: number;
}

/** What comes back. The body is read as `text`, or as a stream by who watches. */
export interface Answer {
  readonly status: number;
  header(name: string): string | undefined;
  /** Of at most `maxBytes`, or of what was read already; throws `NetworkError` `too_large`. */
  text(maxBytes: number): Promise<string>;
  readonly stream: ReadableStream<Uint8Array> | null;
}

/** One client: an HTTP/2 connection, or the HTTP/1.1 connections of requests with a body. */
export interface Lane {
  send(request: LaneRequest): Promise<Answer>;
  close(): void;
  watches: number;
}

/** What a lane is wanted for: a request without a body, one with, a watch. */
export type Use = "read" | "write" | "watch";

/** Chooses the client of each request. */
export interface Lanes {
  /** The lane for a request. That of a watch is to be given back with `release`. */
  take(endpoint: Endpoint, use: Use): Lane;
  release(lane: Lane): void;
  /** No more requests on this lane: its connection may be half open. What is in flight there goes on. */
  retire(lane: Lane): void;
  close(): void;
}

/**
 * One HTTP/2 connection carries reads and watches; more are opened only for watches beyond `WATCHES_PER_LANE`.
 * `environmentProxy`: the environment names a proxy, which fetch goes through by itself.
 */
export function createLanes({ environmentProxy }: { readonly environmentProxy: boolean }): Lanes {
  let lanes: Lane[] = [];
  let writing: Lane | undefined;
  let identity: string | undefined;
  /** Connections hand out one object until something is read anew: most requests need no closer look. */
  let last: Endpoint | undefined;

  const add = (endpoint: Endpoint): Lane => {
    const lane = fetchLane(endpoint, { http2: true });
    lanes.push(lane);
    return lane;
  };
  const close = () => {
    for (const lane of lanes) lane.close();
    writing?.close();
    lanes = [];
    writing = undefined;
  };
  const retire = (lane: Lane) => {
    if (lane === writing) writing = undefined;
    else if (lanes.includes(lane)) lanes = lanes.filter((other) => other !== lane);
    else return;
    lane.close();
  };

  return {
    take(endpoint, use) {
      const wanted = endpoint === last ? identity : identityOf(endpoint);
      if (wanted !== identity) close();
      identity = wanted;
      last = endpoint;
      if (use === "write") return writing ??= writeLane(endpoint, environmentProxy);
      if (use === "read") return lanes[0] ?? add(endpoint);
      const lane = lanes.find((lane) => lane.watches < WATCHES_PER_LANE) ?? add(endpoint);
      lane.watches++;
      return lane;
    },
    release(lane) {
      lane.watches--;
      if (lane.watches === 0 && lane !== lanes[0]) retire(lane);
    },
    retire,
    close,
  };
}

function identityOf({ server, caPem, certPem, keyPem, proxyUrl }: Endpoint): string {
  return JSON.stringify([server, caPem, certPem, keyPem, proxyUrl]);
}

function writeLane(endpoint: Endpoint, environmentProxy: boolean): Lane {
  if (endpoint.proxyUrl !== undefined || environmentProxy) return fetchLane(endpoint, PROXIED_WRITES);
  const http1 = createHttp1(endpoint);
  return {
    watches: 0,
    close: http1.close,
    async send(request) {
      const { status, headers, body } = await http1.send({ ...request, body: request.body ?? "" });
      return {
        status,
        header: (name) => headers.find(([known]) => known === name)?.[1],
        text: () => Promise.resolve(decoder.decode(body)),
        stream: null,
      };
    },
  };
}

const decoder = new TextDecoder();

/**
 * `caCerts` ADDS to the runtime's default roots. What makes the cluster's CA the only one trusted is the environment
 * of the process: DENO_TLS_CA_STORE=system with SSL_CERT_FILE naming an empty file and SSL_CERT_DIR nothing, set in
 * the image and by the start task before the runtime reads them; it cannot be set from inside.
 */
function fetchLane({ caPem, certPem, keyPem, proxyUrl }: Endpoint, how: Deno.CreateHttpClientOptions): Lane {
  const options: Deno.CreateHttpClientOptions = {
    ...how,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
    ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
  };
  const client = certPem !== undefined && keyPem !== undefined
    ? Deno.createHttpClient({ ...options, cert: certPem, key: keyPem })
    : Deno.createHttpClient(options);
  return {
    watches: 0,
    close: () => client.close(),
    async send({ method, url, headers, body = null, signal }) {
      // A redirect would take the credentials to another host.
      const response = await fetch(url, { method, headers, body, signal, client, redirect: "manual" });
      return {
        status: response.status,
        header: (name) => response.headers.get(name) ?? undefined,
        text: (maxBytes) => readText(response, maxBytes),
        stream: response.body,
      };
    },
  };
}
