/** The whole program on a real API server that it shares with others: in namespaces of its own. */
import { assert } from "@std/assert";
import type { JsonObject } from "../../src/model/json.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import type { Credentials, RealCluster } from "../support/cluster.ts";
import { listAll } from "../support/objects.ts";
import { ownAccount } from "../support/rights.ts";
import { connectionTo } from "./watching.ts";

/** The namespaces of a shard. */
export interface ShardNamespaces {
  readonly own: string;
  readonly namespace: string;
}

export interface StartOptions {
  /** Default: a ServiceAccount with the rules generated for its settings. */
  readonly as?: Credentials;
  /** Another address of the server, a proxy's. */
  readonly server?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts programs on `cluster` and reads what they stored. */
export function shardsOf(cluster: RealCluster) {
  return {
    async place(prefix: string): Promise<ShardNamespaces> {
      const own = await cluster.createNamespace(`${prefix}-own`);
      return { own, namespace: await cluster.createNamespace(prefix) };
    },
    async start({ own, namespace }: ShardNamespaces, options: StartOptions = {}): Promise<TestApp> {
      const env = {
        POD_NAMESPACE: own,
        INSTANCE: own,
        WATCH_NAMESPACE: `${own},${namespace}`,
        ...options.env,
      };
      const as = options.as ?? await ownAccount(cluster, env);
      assert("token" in as);
      return await startTestApp({
        server: connectionTo(cluster, { token: as.token, server: options.server }),
        env,
        watchTuning: { random: () => 0.1 },
      });
    },
    async stored(namespace: string): Promise<JsonObject[]> {
      return await listAll(cluster, `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`);
    },
  };
}
