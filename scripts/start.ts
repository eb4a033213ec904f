/** `deno task start [FLAGS]`: runs the bundle (built first where it is missing) with the least permissions for where it runs. */
import { bundle } from "./bundle.ts";
import { isFile } from "./support/host.ts";
import { kubeconfigPermissions, podPermissions, TLS_ENV, V8_FLAGS } from "./support/permissions.ts";

const ENTRY = new URL("../dist/main.js", import.meta.url).pathname;

if (import.meta.main) {
  if (!await isFile(ENTRY)) await bundle("main.ts", "dist");
  const inPod = Deno.env.has("KUBERNETES_SERVICE_HOST") &&
    !Deno.args.some((arg) => /^--(kubeconfig|context)/.test(arg));
  const files = [
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TLS_CLIENT_CA_FILE",
    "WEBHOOK_AUTH_TOKEN_FILE",
    "SERVICE_ACCOUNT_FOLDER",
  ]
    .map((name) => Deno.env.get(name) ?? "").filter(Boolean);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...(inPod ? podPermissions(files) : kubeconfigPermissions()),
      V8_FLAGS,
      ENTRY,
      "run",
      ...Deno.args,
    ],
    env: TLS_ENV,
    stdin: "null",
  }).spawn();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => child.kill(signal));
  }
  Deno.exit((await child.status).code);
}
