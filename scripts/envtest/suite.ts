/**
 * Runs the tests that need a real API server, with one server that all files share: `deno task test:cluster [FILE…]`.
 * Other arguments go to `deno test`.
 */
import { join } from "node:path";
import { SHARED_STATE_VARIABLE, startEnvtest } from "../../tests/support/envtest.ts";

const files = Deno.args.some((argument) => argument.endsWith(".ts")) ? [] : ["tests/cluster/"];

try {
  await using cluster = await startEnvtest();
  const statePath = join(cluster.folder, "shared.json");
  await Deno.writeTextFile(statePath, JSON.stringify(cluster.state), { mode: 0o600 });
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--sanitize-ops", "--sanitize-resources", ...files, ...Deno.args],
    env: { [SHARED_STATE_VARIABLE]: statePath },
  }).spawn().status;
  Deno.exitCode = code;
} catch (error) {
  Deno.stderr.writeSync(new TextEncoder().encode(`${error instanceof Error ? error.message : error}\n`));
  Deno.exitCode = 1;
}
