import { freshBundle } from "./bundle.ts";
import { IMAGE_ENV, kubeconfigPermissions, podPermissions, V8_FLAGS } from "./support/permissions.ts";
import { usesServiceAccount } from "../src/kube/auth/kubeconfig.ts";
import { usersChoice } from "./support/cluster.ts";
import { runWrapper } from "./support/script.ts";

const HELP = `
Usage: deno task start [--kubeconfig FILE] [--context NAME]

Runs the controller from its bundle in dist/, with the least permissions for where it runs. Bundles the sources first where
they changed since the last bundle. Settings are environment variables: docs/reference/settings.md.
`;

/** Settings that name files or folders the controller reads in a Pod. */
const FILE_SETTINGS = [
  "TLS_CERT_FILE",
  "TLS_KEY_FILE",
  "TLS_CLIENT_CA_FILE",
  "WEBHOOK_AUTH_TOKEN_FILE",
  "SERVICE_ACCOUNT_FOLDER",
];

async function start(args: readonly string[]): Promise<number> {
  const entry = await freshBundle();
  const isNamed = args.some((arg) => /^--(kubeconfig|context)/.test(arg));
  const inPod = !isNamed && await usesServiceAccount(usersChoice({}));
  const files = FILE_SETTINGS.map((name) => Deno.env.get(name) ?? "").filter(Boolean);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...(inPod ? podPermissions(files) : kubeconfigPermissions()),
      V8_FLAGS,
      entry,
      "run",
      ...args,
    ],
    env: IMAGE_ENV,
    stdin: "null",
  }).spawn();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => child.kill(signal));
  }
  return (await child.status).code;
}

if (import.meta.main) await runWrapper(HELP, start);
