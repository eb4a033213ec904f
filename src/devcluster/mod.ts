import type { JsonObject } from "../core/json.ts";
import { Cluster } from "./cluster.ts";
import { type Fault, Faults } from "./faults.ts";
import { RequestLog } from "./requests.ts";
import { apiVersion } from "./resources.ts";
import { serve } from "./server.ts";

export type { Call, Fault, FaultEffect, FaultHandle, Faults } from "./faults.ts";
export type { RequestLog } from "./requests.ts";

export interface DevClusterOptions {
  /** 0 or absent: any free port. */
  readonly port?: number;
  readonly faults?: readonly Fault[];
  /** How often a quiet watch gets a bookmark; 10 s. */
  readonly bookmarkMs?: number;
  /** How many changes a resource's history keeps for watches to resume from; 20,000. */
  readonly maxChanges?: number;
}

/** A running development API server. */
export interface DevCluster extends AsyncDisposable {
  readonly url: string;
  readonly faults: Faults;
  readonly requests: RequestLog;
  /** The latest resourceVersion. */
  readonly revision: number;
  /** A kubeconfig for this server. */
  kubeconfig(): string;
  /** The stored objects of a resource (`configmaps`, `observations.zen.kube-zen.io`), in order of namespace and name. */
  objects(resource: string, namespace?: string): JsonObject[];
  /** How many there are, without reading them. */
  count(resource: string): number;
  /** Forgets all history: older watches and continued lists get 410. */
  compact(): void;
  /** Goes away as a killed server does: connections break, the data stays. */
  stop(): Promise<void>;
  /** Comes back on the same port. */
  restart(): Promise<void>;
}

/** Starts a Kubernetes API server for development and tests: in memory, on the loopback address. */
export function startDevCluster(options: DevClusterOptions = {}): DevCluster {
  return new RunningCluster(options);
}

class RunningCluster implements DevCluster {
  readonly faults = new Faults();
  readonly requests = new RequestLog();
  readonly url: string;
  readonly #cluster: Cluster;
  readonly #port: number;
  readonly #bookmarkMs: number;
  #listening: { stop: AbortController; finished: Promise<void> } | undefined;

  constructor({ port = 0, faults = [], bookmarkMs = 10_000, maxChanges = 20_000 }: DevClusterOptions) {
    this.#cluster = new Cluster({ maxChanges, maxBytes: 64 * 1024 * 1024 });
    this.#bookmarkMs = bookmarkMs;
    for (const fault of faults) this.faults.add(fault);
    this.#port = this.#listen(port);
    this.url = `http://127.0.0.1:${this.#port}`;
  }

  get revision(): number {
    return this.#cluster.store.revision;
  }

  kubeconfig(): string {
    return `apiVersion: v1
kind: Config
current-context: devcluster
contexts: [{name: devcluster, context: {cluster: devcluster, user: devcluster}}]
clusters: [{name: devcluster, cluster: {server: "${this.url}"}}]
users: [{name: devcluster, user: {token: devcluster}}]
`;
  }

  objects(resource: string, namespace?: string): JsonObject[] {
    const { group, kind, versions } = this.#resource(resource);
    const head = { apiVersion: apiVersion(group, versions[0]!.name), kind };
    const stored = this.#collection(resource).range(namespace === undefined ? "" : `${namespace}/`);
    return Array.from(stored, ({ body }) => ({ ...head, ...JSON.parse(body) }));
  }

  count(resource: string): number {
    return this.#collection(resource).size;
  }

  compact(): void {
    this.#cluster.store.compact();
  }

  async stop(): Promise<void> {
    const listening = this.#listening;
    this.#listening = undefined;
    listening?.stop.abort();
    await listening?.finished;
  }

  async restart(): Promise<void> {
    await this.stop();
    this.#listen(this.#port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #listen(port: number): number {
    const stop = new AbortController();
    const { faults, requests } = this;
    const parts = {
      cluster: this.#cluster,
      faults,
      requests,
      bookmarkMs: this.#bookmarkMs,
      signal: stop.signal,
    };
    const options = { hostname: "127.0.0.1", port, signal: stop.signal, onListen: () => {} };
    const server = Deno.serve(options, (request) => serve(request, parts));
    this.#listening = { stop, finished: server.finished };
    return server.addr.port;
  }

  #collection(resource: string) {
    return this.#cluster.collection(this.#resource(resource));
  }

  #resource(name: string) {
    const [plural, ...group] = name.split(".");
    const resource = this.#cluster.resource(`${group.join(".")}/${plural}`);
    if (!resource) throw new Error(`Cannot read objects of "${name}": no such resource`);
    return resource;
  }
}
