import { startPage } from "../src/ui/mod.ts";
import { environment, readSettings } from "../src/settings.ts";
import { openSampleCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { createNamespaces, feedSamples, installCrds } from "./support/feed.ts";
import { observationsTable, untilStored } from "./support/found.ts";
import {
  confirmSamples,
  isNamed,
  removeSamples,
  SAMPLE_INSTANCES,
  SAMPLE_OPTIONS,
  type SampleFlags,
} from "./support/named_cluster.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task dev [--kubeconfig FILE] [--context NAME] [--yes] [--clean]

Starts the embedded development API server (or uses the named cluster), serves the page and prints its address, runs the
controller, restarts it on every change of the source, and feeds the samples through the real ways in. Without a cluster it
needs no network: a demo. Ctrl-C ends all of it.

Into a named cluster it installs CRDs, namespaces and samples: it says which, and asks first. --yes agrees. --clean removes them
again, with the Observations that were made of them, and does nothing else.
`;
/** Of its own in a named cluster, so that a zen-watcher that is installed there keeps its Lease and its filters. */
const NAMED_NAMESPACE = "zen-watcher-dev";
const WATCHER_PORT = "8080";
const METRICS_PORT = "9090";
const SETTLE_MS = 20_000;

interface DevFlags extends SampleFlags {
  readonly clean?: boolean | undefined;
}

async function dev(flags: DevFlags): Promise<void> {
  if (flags.clean) return await clean(flags);
  const namespace = isNamed(flags) ? NAMED_NAMESPACE : "zen-system";
  const instance = isNamed(flags) ? SAMPLE_INSTANCES.dev : "default";
  await using cluster = await openSampleCluster(flags);
  await confirmSamples(cluster, { flags, namespace });
  await installCrds(cluster.api);
  await createNamespaces(cluster.api, [namespace]);
  // First of all: the page fills while the rest starts.
  await using page = await startPage({
    api: cluster.api,
    connection: cluster.connection,
    settings: readSettings(environment),
    port: 0,
    onAddress: (address) => print(`The page: ${address}\n`),
  });
  await using controller = await startController({
    kubeconfig: cluster.kubeconfig,
    denoArgs: ["--watch"],
    env: {
      POD_NAMESPACE: namespace,
      INSTANCE: instance,
      LOG_FORMAT: environment("LOG_FORMAT") ?? "text",
      WEBHOOK_ALLOWED_IPS: "127.0.0.1,::1",
      ...freePorts(),
    },
    args: flags.context === undefined ? [] : ["--context", flags.context],
    onLine: (line) => print(`${line}\n`),
  });
  const { url, metricsUrl } = controller;
  const fed = await feedSamples(cluster.api, { url, namespace });
  const found = await untilStored({ api: cluster.api, url, instance, deadlineMs: SETTLE_MS });
  const target = `--kubeconfig ${cluster.kubeconfig}${
    flags.context === undefined ? "" : ` --context ${flags.context}`
  }`;
  print(`
zen-watcher runs against the ${cluster.description}. A change of the source restarts it; Ctrl-C ends it.
It was fed ${fed}, and found:

${observationsTable(found)}
Next:
  deno run -A main.ts top ${target}
  kubectl ${target} get obs -A
  curl ${url}/falco/webhook -d '{"rule":"Terminal shell in container","priority":"Notice","output":"a shell","output_fields":{"k8s.ns.name":"shop","k8s.pod.name":"web-1"}}'

The page:    ${page.address()}
The status:  ${url}/tools/status
The metrics: ${metricsUrl}/metrics

`);
  const interrupted = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => interrupted.resolve());
  }
  await Promise.race([interrupted.promise, controller.exited]);
}

async function clean(flags: DevFlags): Promise<void> {
  if (!isNamed(flags)) {
    throw new Error(
      "Cannot clean: no cluster is named, and the embedded API server keeps nothing. Name it with --kubeconfig or --context",
    );
  }
  await using cluster = await openSampleCluster(flags);
  const removed = await removeSamples(cluster.api);
  const words = removed.map(({ what, count }) => `${count} ${what}`).join(", ");
  print(`Removed from ${cluster.description}: ${words || "nothing, it is clean"}\n`);
}

/** The usual ports where they are free, so that what is printed is what people expect; else any. */
function freePorts(): Record<string, string> {
  return {
    WATCHER_PORT: isFree(Number(WATCHER_PORT)) ? WATCHER_PORT : "0",
    METRICS_PORT: isFree(Number(METRICS_PORT)) ? METRICS_PORT : "0",
  };
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

if (import.meta.main) {
  await runScript({ help: HELP, options: { ...SAMPLE_OPTIONS, clean: { type: "boolean" } } }, dev);
}
