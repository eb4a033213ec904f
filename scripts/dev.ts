/**
 * `deno task dev [--kubeconfig FILE] [--context NAME]`: the embedded development API server (or the named cluster), the
 * controller restarted on every change of the source, and the samples fed through the real ways in.
 */
import { parseArgs } from "node:util";
import { openCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { createNamespaces, feedSamples, installCrds } from "./support/feed.ts";

const NAMESPACE = "zen-system";
const WATCHER_PORT = "8080";
const METRICS_PORT = "9090";

const { values } = parseArgs({ options: { kubeconfig: { type: "string" }, context: { type: "string" } } });
await dev(values);

async function dev(target: { kubeconfig?: string | undefined; context?: string | undefined }): Promise<void> {
  await using cluster = await openCluster(target);
  await installCrds(cluster.api);
  await createNamespaces(cluster.api, [NAMESPACE]);
  const ports = freePorts();
  await using controller = await startController({
    kubeconfig: cluster.kubeconfig,
    denoArgs: ["--watch"],
    env: { POD_NAMESPACE: NAMESPACE, LOG_FORMAT: "json", ...ports },
    args: target.context === undefined ? [] : ["--context", target.context],
    onLine: (line) => void say(`${line}\n`),
  });
  const fed = await feedSamples(cluster.api, { url: controller.url, namespace: NAMESPACE });
  const kubectl = `kubectl --kubeconfig ${cluster.kubeconfig}`;
  await say(`
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

async function say(text: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(text));
}
