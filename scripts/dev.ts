import { CLUSTER_OPTIONS, type ClusterFlags, openSampleCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { startPage } from "../src/ui/mod.ts";
import { createNamespaces, feedSamples, installCrds } from "./support/feed.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task dev [--kubeconfig FILE] [--context NAME]

Starts the embedded development API server (or uses the named cluster), runs the controller, restarts it on every change of the
source, serves the page, and feeds the samples through the real ways in. Without a cluster it needs no network: a demo. Ctrl-C
ends all of it.
`;
const NAMESPACE = "zen-system";
const WATCHER_PORT = "8080";
const METRICS_PORT = "9090";

async function dev(target: ClusterFlags): Promise<void> {
  await using cluster = await openSampleCluster(target);
  await installCrds(cluster.api);
  await createNamespaces(cluster.api, [NAMESPACE]);
  let pageAddress = "";
  await using _page = await startPage({
    api: cluster.api,
    connection: cluster.connection,
    port: 0,
    onAddress(address) {
      pageAddress = address;
      print(`The page: ${address}\n`);
    },
  });
  const ports = freePorts();
  await using controller = await startController({
    kubeconfig: cluster.kubeconfig,
    denoArgs: ["--watch"],
    env: { POD_NAMESPACE: NAMESPACE, LOG_FORMAT: "json", ...ports },
    args: target.context === undefined ? [] : ["--context", target.context],
    onLine: (line) => print(`${line}\n`),
  });
  const fed = await feedSamples(cluster.api, { url: controller.url, namespace: NAMESPACE });
  const kubectl = `kubectl --kubeconfig ${cluster.kubeconfig}`;
  print(`
The page: ${pageAddress}

zen-watcher runs against the ${cluster.description}; changes of the source restart it. Ctrl-C ends both.
Fed: ${fed}.

  ${kubectl} get obs -A
  ${kubectl} get obs -A --field-selector spec.severity=CRITICAL -o wide
  ${kubectl} get obs -A -w
  curl ${controller.url}/tools/status
  curl ${controller.metricsUrl}/metrics
  curl -X POST ${controller.url}/falco/webhook -d '{"rule":"Terminal shell in container","priority":"Notice","output":"a shell","output_fields":{"k8s.ns.name":"shop","k8s.pod.name":"web-1"}}'

`);
  const interrupted = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => interrupted.resolve());
  }
  await Promise.race([interrupted.promise, controller.exited]);
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

if (import.meta.main) await runScript({ help: HELP, options: CLUSTER_OPTIONS }, dev);
