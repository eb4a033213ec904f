/** A real API server, and the bundle with the rights and settings of the chart. */
import { startBundle } from "../../scripts/bench/processes.ts";
import { freshBundle } from "../../scripts/bundle.ts";
import type { Controller } from "../../scripts/support/controller.ts";
import { installCrds } from "../../scripts/support/feed.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import { transportTo } from "../cluster/watching.ts";
import { valueIn } from "../support/chart.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { Others } from "./others.ts";

const NAMESPACE = "zen-system";
const LEASE = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/zen-watcher-leader-election`;
const MIB = 2 ** 20;

/** Where attacks are made. */
export interface AttackGround extends AsyncDisposable {
  readonly cluster: Envtest;
  /** An administrator's. */
  readonly api: KubeClient;
  readonly controller: Controller;
  readonly webhookToken: string;
  /** Starts everybody else's load in a namespace, which is made. */
  startOthers(
    namespace: string,
    rates?: { readonly alertsPerSecond: number; readonly changesPerSecond: number },
  ): Promise<Others>;
  /** The holder of the Lease and how often it changed; undefined where there is no Lease. */
  lease(): Promise<string | undefined>;
}

/** Starts both. The administrator is one of `statusIntegrity.restorers`, and so may plant Observations. */
export async function startGround(): Promise<AttackGround> {
  await using starting = new AsyncDisposableStack();
  const cluster = starting.use(await startEnvtest());
  const api = starting.use(transportTo(cluster));
  await ensureNamespaces(cluster, [NAMESPACE, "kube-bench", "checkov"]);
  await installCrds(api);
  const installed = await installChart(cluster, {
    namespace: NAMESPACE,
    values: {
      filters: UNFILTERED,
      tenantFilters: true,
      statusIntegrity: { restorers: ["admin"] },
      // Each request names the address that it comes from.
      webhooks: { trustedProxyCIDRs: ["127.0.0.1/32"] },
    },
  });
  const entry = await freshBundle();
  const own = { url: cluster.url, caPem: cluster.caPem, token: installed.token };
  const { webhookToken, env: { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } } = installed;
  const options = {
    env: {
      ...env,
      WATCHER_ADDRESS: "127.0.0.1",
      WATCHER_PORT: "0",
      METRICS_PORT: "0",
      SHUTDOWN_DELAY: "0s",
      WEBHOOK_AUTH_TOKEN: webhookToken,
    },
  };
  // The first start of a bundle compiles it, which costs 35 MiB that stay. The image's program is compiled already.
  await (await startBundle({ entry, own }, options))[Symbol.asyncDispose]();
  const { controller } = starting.use(await startBundle({ entry, own }, options));
  const stack = starting.move();
  return {
    cluster,
    api,
    controller,
    webhookToken,
    async startOthers(namespace, rates = { alertsPerSecond: 20, changesPerSecond: 2 }) {
      await ensureNamespaces(cluster, [namespace]);
      const server = { url: cluster.url, caPem: cluster.caPem, token: cluster.user("admin").token };
      return Others.start({ url: controller.url, webhookToken, server, namespace, ...rates });
    },
    async lease() {
      const { status, body } = await cluster.settled("GET", LEASE);
      if (status === 404) return undefined;
      return `${valueIn(body, "spec", "holderIdentity")} ${valueIn(body, "spec", "leaseTransitions")}`;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Processor time of a process since its start, in seconds, and its largest resident memory since `forgetPeak()`, in MiB. */
export async function usageOf(
  { pid }: Controller,
): Promise<{ readonly cpuS: number; readonly peakMib: number }> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const kib = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
  return { cpuS: (Number(fields[11]) + Number(fields[12])) / 100, peakMib: kib * 1_024 / MIB };
}

/** From now on the peak is counted anew. */
export async function forgetPeak({ pid }: Controller): Promise<void> {
  await Deno.writeTextFile(`/proc/${pid}/clear_refs`, "5");
}
