import { Cluster } from "./cluster.ts";
import { serveRequest, verbOf } from "./server.ts";

/** A request by its Kubernetes verb (or method) and its path with the query. */
export type Call = { readonly verb: string; readonly path: string };

/** A request on its way: how to carry it out, and the end of the server. */
export type Passage = { readonly carryOut: () => Promise<Response>; readonly signal: AbortSignal };

export interface DevClusterOptions {
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** What every request passes: it may watch, delay or replace the answer. */
  readonly gate?: (call: Call, passage: Passage) => Promise<Response>;
  /** How often a quiet watch gets a bookmark; 10 s. */
  readonly bookmarkMs?: number;
  /** How many changes a resource's history keeps for watches to resume from; 20,000. */
  readonly maxChanges?: number;
  /** Serves HTTPS, and with it HTTP/2; `ca` is what clients are to trust. PEM. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

/** Starts a Kubernetes API server for development and tests: in memory, on the loopback address. */
export function startDevCluster(options: DevClusterOptions = {}): DevCluster {
  return new DevCluster(options);
}

/** A running development API server. */
export class DevCluster implements AsyncDisposable {
  readonly url: string;
  /** What it holds. */
  readonly cluster: Cluster;
  readonly #port: number;
  #listening: { stop: AbortController; finished: Promise<void> } | undefined;

  constructor(readonly options: DevClusterOptions) {
    const { port = 0, maxChanges = 20_000, tls } = options;
    this.cluster = new Cluster({ revision: 1, maxChanges });
    this.#port = this.#listen(port);
    this.url = `${tls ? "https" : "http"}://127.0.0.1:${this.#port}`;
  }

  /** A kubeconfig for this server. */
  kubeconfig(): string {
    const { tls } = this.options;
    const ca = tls ? `, certificate-authority-data: ${btoa(tls.ca)}` : "";
    return `apiVersion: v1
kind: Config
current-context: devcluster
contexts: [{name: devcluster, context: {cluster: devcluster, user: devcluster}}]
clusters: [{name: devcluster, cluster: {server: "${this.url}"${ca}}}]
users: [{name: devcluster, user: {token: devcluster}}]
`;
  }

  /** Goes away as a killed server does: connections break, the data stays. */
  async stop(): Promise<void> {
    const listening = this.#listening;
    this.#listening = undefined;
    listening?.stop.abort();
    for (const { objects } of this.cluster.resources.values()) objects.wake();
    await listening?.finished;
  }

  /** Comes back on the same port. */
  async restart(): Promise<void> {
    await this.stop();
    this.#listen(this.#port);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #listen(port: number): number {
    const { bookmarkMs = 10_000, gate, tls } = this.options;
    const stop = new AbortController();
    const serving = { cluster: this.cluster, bookmarkMs, signal: stop.signal };
    const listen = { hostname: "127.0.0.1", port, signal: stop.signal, onListen: () => {}, ...tls };
    const server = Deno.serve(listen, (request) => {
      const carryOut = () => serveRequest(request, serving);
      if (!gate) return carryOut();
      const url = new URL(request.url);
      const path = decodeURIComponent(url.pathname + url.search);
      const verb = verbOf(request.method, url, this.cluster);
      return gate({ verb, path }, { carryOut, signal: stop.signal });
    });
    this.#listening = { stop, finished: server.finished };
    return server.addr.port;
  }
}
