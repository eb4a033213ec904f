import { startEnvtest } from "../../tests/support/envtest.ts";
import { print, runScript, type Values } from "../support/script.ts";

const HELP = `
Usage: deno task envtest [--controller-manager] [--audit-webhook URL]

Runs a real kube-apiserver with its etcd, to try things on, until Ctrl-C. Builds them first where they are missing.

  --controller-manager   run kube-controller-manager too
  --audit-webhook        send audit events to this URL
`;
const OPTIONS = { "controller-manager": { type: "boolean" }, "audit-webhook": { type: "string" } } as const;

async function main(values: Values<typeof OPTIONS>): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
  const { "controller-manager": controllerManager = false, "audit-webhook": auditWebhookUrl } = values;
  await using cluster = await startEnvtest({
    controllerManager,
    ...(auditWebhookUrl !== undefined && { auditWebhookUrl }),
  });
  print(`A Kubernetes API server is at ${cluster.url}. It ends, with its data, when this command does.

  export KUBECONFIG=${cluster.kubeconfigPath}
  kubectl version
  kubectl apply -f crds/
  kubectl get observations -A -w

Its log: ${cluster.apiServerLogPath}
Users without rights, by token: ${tokens(cluster.state.tokens)}
Stop with Ctrl-C.
`);
  await stopped;
}

function tokens(all: Readonly<Record<string, string>>): string {
  return Object.entries(all).filter(([name]) => name !== "admin").map(([name, token]) => `${name} ${token}`)
    .join(", ");
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
