import { join } from "node:path";
import { SHARED_STATE_VARIABLE, startEnvtest } from "../../tests/support/envtest.ts";
import { runWrapper } from "../support/script.ts";

const HELP = `
Usage: deno task test:cluster [FILE…] [OPTIONS OF deno test]

Runs the tests that need a real API server, with one server that all files share. Builds kube-apiserver and etcd first where
they are missing (about ten minutes, once; Go is needed).
`;

async function suite(args: readonly string[]): Promise<number> {
  const files = args.some((argument) => argument.endsWith(".ts")) ? [] : ["tests/cluster/"];
  await using cluster = await startEnvtest();
  const statePath = join(cluster.folder, "shared.json");
  await Deno.writeTextFile(statePath, JSON.stringify(cluster.state), { mode: 0o600 });
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--sanitize-ops", "--sanitize-resources", ...files, ...args],
    env: { [SHARED_STATE_VARIABLE]: statePath },
  }).spawn().status;
  return code;
}

if (import.meta.main) await runWrapper(HELP, suite);
