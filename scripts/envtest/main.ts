/**
 * A real API server to try things on, until Ctrl-C: `deno task envtest [--controller-manager] [--audit-webhook URL]`.
 */
import { parseArgs } from "node:util";
import { startEnvtest } from "../../tests/support/envtest.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    "controller-manager": { type: "boolean", default: false },
    "audit-webhook": { type: "string" },
  },
});

const stopped = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
});

try {
  await using cluster = await startEnvtest({
    controllerManager: values["controller-manager"],
    ...(values["audit-webhook"] !== undefined && { auditWebhookUrl: values["audit-webhook"] }),
  });
  say(`A Kubernetes API server is at ${cluster.url}. It ends, with its data, when this command does.

  export KUBECONFIG=${cluster.kubeconfigPath}
  kubectl version
  kubectl apply -f crds/
  kubectl get observations -A -w

Its log: ${cluster.apiServerLogPath}
Users without rights, by token: ${tokens(cluster.state.tokens)}
Stop with Ctrl-C.`);
  await stopped;
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  Deno.exitCode = 1;
}

function tokens(all: Readonly<Record<string, string>>): string {
  return Object.entries(all).filter(([name]) => name !== "admin").map(([name, token]) => `${name} ${token}`)
    .join(", ");
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
