/** The API server under the benchmark: a kube-apiserver with its etcd, new for each measurement. */
import { fixedConnection, type KubeApi } from "../../src/kube/api.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { startEnvtest } from "../../tests/support/envtest.ts";
import { ownAccount } from "../../tests/support/rights.ts";
import { createNamespaces, installCrds } from "../support/feed.ts";
import { sumOf } from "./figures.ts";
import { NAMESPACE } from "./inputs.ts";
import { childrenNamed } from "./process.ts";

/** Where the controller is. */
export const CONTROLLER_NAMESPACE = "zen-system";

/** An address, its root of trust and a bearer token. */
export interface Access {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
}

/** See `openServer()`. */
export interface BenchServer extends AsyncDisposable {
  /** The controller's bundle. */
  readonly entry: string;
  /** As the controller: its ServiceAccount. */
  readonly own: Access;
  /** As an administrator, whose requests are not counted. */
  readonly admin: Access;
  readonly api: KubeApi;
  /** The processes of kube-apiserver and etcd. */
  readonly pids: readonly number[];
  /** Requests of ServiceAccounts, and writes of Observations by anyone, since the server started. */
  requests(): Promise<{ readonly own: number; readonly writes: number }>;
}

/** Starts a server with the CRDs, the namespaces and the controller's ServiceAccount; builds it where it is missing. */
export async function openServer(entry: string): Promise<BenchServer> {
  await using opened = new AsyncDisposableStack();
  const envtest = opened.use(await startEnvtest());
  const pids = await childrenNamed(["kube-apiserver", "etcd"]);
  const { url, caPem } = envtest;
  const admin = { url, caPem, token: envtest.user("admin").token };
  const connection = fixedConnection({ server: url, authorization: `Bearer ${admin.token}`, caPem });
  const api = opened.use(createKubeClient(connection, { fieldManager: "bench" }));
  await installCrds(api);
  await createNamespaces(api, [NAMESPACE, CONTROLLER_NAMESPACE]);
  await ownAccount(envtest);
  const token = await envtest.serviceAccountToken(CONTROLLER_NAMESPACE, "zen-watcher", 24 * 3_600);
  const all = opened.move();
  return {
    entry,
    own: { url, caPem, token },
    admin,
    api,
    pids,
    async requests() {
      const { text } = await api.getPath("/metrics");
      const metrics = String(text);
      const writes = ["POST", "PUT", "PATCH", "DELETE"].map((verb) =>
        sumOf(metrics, "apiserver_request_total", 'resource="observations"', `verb="${verb}"`)
      );
      return {
        own: sumOf(
          metrics,
          "apiserver_flowcontrol_dispatched_requests_total",
          'flow_schema="service-accounts"',
        ),
        writes: writes.reduce((sum, count) => sum + count, 0),
      };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
