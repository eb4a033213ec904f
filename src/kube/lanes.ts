/** The TLS clients under the transport: one socket as a rule, replaced when it looks dead or its credentials change. */
import type { Endpoint } from "./connection.ts";

/** API servers allow 100 to 250 streams on an HTTP/2 connection; one more request would wait for ever. */
const WATCHES_PER_LANE = 64;

/** One client, which is one HTTP/2 connection. */
export interface Lane {
  readonly client: Deno.HttpClient;
  watches: number;
}

/** Chooses the client of each request. */
export interface Lanes {
  /** The lane of a request; of a watch if `watch`, to be given back with `release`. */
  take(endpoint: Endpoint, options: { readonly watch: boolean }): Lane;
  release(lane: Lane): void;
  /** No more requests on this lane: its connection may be half open. What is in flight there goes on. */
  retire(lane: Lane): void;
  close(): void;
}

/** The first lane carries requests and watches; more are opened only for watches beyond `WATCHES_PER_LANE`. */
export function createLanes(): Lanes {
  let lanes: Lane[] = [];
  let identity: string | undefined;

  const add = (endpoint: Endpoint): Lane => {
    const lane = { client: createClient(endpoint), watches: 0 };
    lanes.push(lane);
    return lane;
  };
  const close = () => {
    for (const lane of lanes) lane.client.close();
    lanes = [];
  };
  const retire = (lane: Lane) => {
    if (!lanes.includes(lane)) return;
    lanes = lanes.filter((other) => other !== lane);
    lane.client.close();
  };

  return {
    take(endpoint, { watch }) {
      const wanted = identityOf(endpoint);
      if (wanted !== identity) close();
      identity = wanted;
      if (!watch) return lanes[0] ?? add(endpoint);
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
function createClient({ caPem, certPem, keyPem, proxyUrl }: Endpoint): Deno.HttpClient {
  const options: Deno.CreateHttpClientOptions = {
    http2: true,
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
    ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
  };
  return certPem !== undefined && keyPem !== undefined
    ? Deno.createHttpClient({ ...options, cert: certPem, key: keyPem })
    : Deno.createHttpClient(options);
}
