import { join } from "node:path";
import { findConnection } from "../../src/kube/auth/kubeconfig.ts";
import { SHARED_STATE_VARIABLE, startEnvtest } from "../../tests/support/envtest.ts";
import { requireConsent } from "../support/named_cluster.ts";
import { print, runWrapper } from "../support/script.ts";

const HELP = `
Usage: deno task test:cluster [FILE…] [OPTIONS OF deno test]
       KUBECONFIG=FILE deno task test:cluster --conformance [--yes]

Runs the tests that need a real API server, with one server that all files share. Builds kube-apiserver and etcd first where
they are missing (about ten minutes, once; Go is needed), or takes them from the folder KUBEBUILDER_ASSETS.

--conformance runs only the cases that the embedded API server passes too, on the cluster of KUBECONFIG. It says which cluster
that is and asks first; --yes agrees. Without --conformance, KUBECONFIG is ignored.
`;

/** Names the kubeconfig of the conformance cases. It is not KUBECONFIG, so that no test uses an exported one by accident. */
export const CONFORMANCE_VARIABLE = "ZEN_TEST_CONFORMANCE_KUBECONFIG";
const CONFORMANCE_FILE = "tests/cluster/conformance_cluster_test.ts";

async function suite(args: readonly string[]): Promise<number> {
  if (args.includes("--conformance")) return await conformance(args);
  const files = args.some((argument) => argument.endsWith(".ts")) ? [] : ["tests/cluster/"];
  await using cluster = await startEnvtest();
  const statePath = join(cluster.folder, "shared.json");
  await Deno.writeTextFile(statePath, JSON.stringify(cluster.state), { mode: 0o600 });
  return await runTests([...files, ...args], { [SHARED_STATE_VARIABLE]: statePath });
}

async function conformance(args: readonly string[]): Promise<number> {
  const kubeconfigEnv = Deno.env.get("KUBECONFIG");
  if (!kubeconfigEnv) {
    throw new Error("Cannot run the conformance cases: KUBECONFIG names no cluster. Set it to a kubeconfig");
  }
  const { description, endpoint } = await findConnection({ kubeconfigEnv });
  print(
    `This runs on ${description}, on the API server ${(await endpoint()).server}. It installs \
namespaces and CustomResourceDefinitions of its own, and removes them at the end.
`,
  );
  requireConsent(args.includes("--yes"));
  const others = args.filter((argument) => argument !== "--conformance" && argument !== "--yes");
  return await runTests([CONFORMANCE_FILE, ...others], { [CONFORMANCE_VARIABLE]: kubeconfigEnv });
}

async function runTests(args: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--sanitize-ops", "--sanitize-resources", ...args],
    env,
  }).spawn().status;
  return code;
}

if (import.meta.main) await runWrapper(HELP, suite);
