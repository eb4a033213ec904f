/** What the watch-fault tests share: a watcher whose view can be held against the server's, and a stream of changes. */
import {
  type Connection,
  fixedConnection,
  hasStatus,
  type KubeApi,
  type KubeObject,
  type ResourceType,
} from "../../src/kube/api.ts";
import { createKubeClient, type KubeClient, type KubeClientOptions } from "../../src/kube/client.ts";
import { watch, type WatchOptions } from "../../src/kube/watch.ts";
import type { RealCluster } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { insist } from "../support/reports.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";

/** How a user reaches this server, perhaps by way of a proxy; by default its admin. */
interface Way {
  readonly token?: string | undefined;
  readonly server?: string | undefined;
}

/** The connection of the bearer of a token. */
export function connectionTo(
  cluster: RealCluster,
  { token = cluster.user("admin").token, server = cluster.url }: Way = {},
): Connection {
  return fixedConnection({ server, caPem: cluster.caPem, authorization: `Bearer ${token}` });
}

/** The production transport over such a connection. */
export function transportTo(cluster: RealCluster, options: KubeClientOptions & Way = {}): KubeClient {
  const { token, server, ...rest } = options;
  return createKubeClient(connectionTo(cluster, { token, server }), rest);
}

/** Keeps what a watcher tells of the ConfigMaps of a namespace, as name → resourceVersion. */
export class Informed implements AsyncDisposable {
  readonly view = new Map<string, string>();
  /** Every object version in the watch's frames, and how often. */
  readonly told = new Map<string, number>();
  readonly errors: string[] = [];
  lists = 0;
  synced = false;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(api: KubeApi, namespace: string, options: Partial<WatchOptions> = {}) {
    this.#running = this.#run(api, { ...options, namespace, signal: this.#stop.signal });
  }

  /** Versions that came in more than one frame. */
  get doubled(): number {
    return [...this.told.values()].filter((times) => times > 1).length;
  }

  async sync(): Promise<void> {
    await eventually("the first list", () => this.synced);
  }

  /** Waits until the view is what the server holds; returns how long that took, in ms. */
  async catchUp(api: KubeApi, namespace: string): Promise<number> {
    const startedAt = performance.now();
    const { items } = await api.list(CONFIG_MAPS, { namespace });
    const stored = new Map(
      items.map(({ metadata }) => [metadata.name ?? "", metadata.resourceVersion ?? ""]),
    );
    await eventually("the watcher to see all", () => {
      if (this.view.size !== stored.size) {
        throw new Error(`it knows ${this.view.size} of ${stored.size} objects`);
      }
      return [...stored].every(([name, version]) => this.view.get(name) === version);
    }, { timeoutMs: 60_000 });
    return performance.now() - startedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(api: KubeApi, options: WatchOptions): Promise<void> {
    let listing: Map<string, string> | undefined;
    for await (const event of watch(api, CONFIG_MAPS, options)) {
      switch (event.type) {
        case "init":
          listing = new Map();
          this.lists++;
          break;
        case "apply": {
          const { name = "", resourceVersion = "" } = event.object.metadata;
          (listing ?? this.view).set(name, resourceVersion);
          if (!listing) this.#tell(`${name}@${resourceVersion}`);
          break;
        }
        case "synced":
          this.view.clear();
          for (const [name, version] of listing ?? []) this.view.set(name, version);
          listing = undefined;
          this.synced = true;
          break;
        case "delete":
          this.view.delete(event.object.metadata.name ?? "");
          break;
        case "error":
          this.errors.push(event.reason);
      }
    }
  }

  #tell(version: string): void {
    this.told.set(version, (this.told.get(version) ?? 0) + 1);
  }
}

/** Makes `count` ConfigMaps and changes each `rounds` times, with retries, as fast as 16 writers can. Returns how many writes it was. */
export async function churn(
  api: KubeApi,
  namespace: string,
  { count, rounds, onWrite = () => {} }: {
    count: number;
    rounds: number;
    onWrite?: (written: number) => void;
  },
): Promise<number> {
  let written = 0;
  const queue = Array.from({ length: count }, (_, index) => `item-${index}`).values();
  const writer = async () => {
    for (const name of queue) {
      await insist(() =>
        createOnce(api, CONFIG_MAPS, { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace } })
      );
      onWrite(++written);
      for (let round = 1; round <= rounds; round++) {
        const patch = { data: { round: String(round) } };
        await insist(() => api.patch(CONFIG_MAPS, name, patch, { namespace, type: "merge" }));
        onWrite(++written);
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, writer));
  return written;
}

/** A create whose answer was lost is found done when it is tried again. */
export async function createOnce(api: KubeApi, type: ResourceType, object: KubeObject): Promise<void> {
  try {
    await api.create(type, object);
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
  }
}

/** Prints what a test measured. */
export function report(what: string, figures: Readonly<Record<string, number>>): void {
  const text = Object.entries(figures).map(([name, value]) => `${name} ${Math.round(value)}`).join(", ");
  Deno.stdout.writeSync(new TextEncoder().encode(`    ${what}: ${text}\n`));
}
