/** Asks an API server for its version as a Pod would: `tls_probe.ts FOLDER HOST PORT`. What a process trusts is decided when it starts. */
import { inClusterConnection } from "../../src/kube/auth.ts";
import { createTransport } from "../../src/kube/transport.ts";

const [folder = "", host = "", port = ""] = Deno.args;
using api = createTransport(await inClusterConnection({ host, port, folder }));
try {
  const { gitVersion } = await api.getPath("/version");
  print(`answered ${gitVersion}`);
} catch (error) {
  print(`refused: ${error instanceof Error ? error.message : error}`);
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line));
}
