/** The TLS clients under the transport: few sockets, replaced when they look dead or the credentials change. */
import type { Endpoint } from "./connection.ts";

/** API servers allow 100 to 250 streams on an HTTP/2 connection; one more request would wait for ever. */
const WATCHES_PER_LANE = 64;

/**
 * Requests with a body go over HTTP/1.1. Deno's fetch leaves Nagle's algorithm on (denoland/deno#35581), and over
 * HTTP/2 a body of 1 KiB or more is a write of its own, held back until the peer acknowledges the one before: 44 ms a
 * request, 22 a second one after another where HTTP/1.1, which sends head and body at once, does 1,400.
 */
const WRITES: Deno.CreateHttpClientOptions = {
  http2: false,
  // As many sockets as there are writes at a time; these stay open for the next ones. API servers hang up after 90 s.
  poolMaxIdlePerHost: 32,
  poolIdleTimeout: 30_000,
};

/** One client: an HTTP/2 connection, or the HTTP/1.1 connections of requests with a body. */
export interface Lane {
  readonly client: Deno.HttpClient;
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

/** One HTTP/2 connection carries reads and watches; more are opened only for watches beyond `WATCHES_PER_LANE`. */
export function createLanes(): Lanes {
  let lanes: Lane[] = [];
  let writing: Lane | undefined;
  let identity: string | undefined;
  /** Connections hand out one object until something is read anew: most requests need no closer look. */
  let last: Endpoint | undefined;

  const add = (endpoint: Endpoint): Lane => {
    const lane = createLane(endpoint, { http2: true });
    lanes.push(lane);
    return lane;
  };
  const close = () => {
    for (const lane of lanes) lane.client.close();
    writing?.client.close();
    lanes = [];
    writing = undefined;
  };
  const retire = (lane: Lane) => {
    if (lane === writing) writing = undefined;
    else if (lanes.includes(lane)) lanes = lanes.filter((other) => other !== lane);
    else return;
    lane.client.close();
  };

  return {
    take(endpoint, use) {
      const wanted = endpoint === last ? identity : identityOf(endpoint);
      if (wanted !== identity) close();
      identity = wanted;
      last = endpoint;
      if (use === "write") return writing ??= createLane(endpoint, WRITES);
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

function identityOf({ caPem, certPem, keyPem, proxyUrl }: Endpoint): string {
  return JSON.stringify([caPem, certPem, keyPem, proxyUrl]);
}

/**
 * `caCerts` ADDS to the runtime's default roots. What makes the cluster's CA the only one trusted is the environment
 * of the process: DENO_TLS_CA_STORE=system with SSL_CERT_FILE naming an empty file and SSL_CERT_DIR nothing, set in
 * the image and by the start task before the runtime reads them; it cannot be set from inside.
 */
function createLane({ caPem, certPem, keyPem, proxyUrl }: Endpoint, how: Deno.CreateHttpClientOptions): Lane {
  const options: Deno.CreateHttpClientOptions = {
    ...how,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
    ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
  };
  const client = certPem !== undefined && keyPem !== undefined
    ? Deno.createHttpClient({ ...options, cert: certPem, key: keyPem })
    : Deno.createHttpClient(options);
  return { client, watches: 0 };
}
