/** Runs the cases of the embedded server on a real API server, to show that they are right. */
import { CONFORMANCE_VARIABLE } from "../../scripts/envtest/suite.ts";
import { findConnection } from "../../src/kube/auth/kubeconfig.ts";
import { CASES } from "../conformance/cases.ts";
import { accessOf, Scratch, Server } from "../conformance/server.ts";
import { sharedEnvtest } from "../support/envtest.ts";

const server = new Server(accessOf(await endpoint()));
const at = new Scratch(server);

Deno.test.beforeAll(() => at.open());
Deno.test.afterAll(() => at.close());

const minor = Number.parseInt(String((await server.get("/version")).body.minor));

for (const { name, since = 0, run } of CASES) {
  Deno.test({
    name: `real API server: ${name}${since > minor ? ` (skipped: needs Kubernetes 1.${since})` : ""}`,
    ignore: since > minor,
    fn: () => run({ server, at }),
  });
}

/** The server of the run, or the one that `deno task test:cluster --conformance` was given. */
async function endpoint() {
  const kubeconfigEnv = Deno.env.get(CONFORMANCE_VARIABLE);
  if (kubeconfigEnv) return await (await findConnection({ kubeconfigEnv })).endpoint();
  const cluster = await sharedEnvtest();
  const { token } = cluster.user("admin");
  return { server: cluster.url, authorization: `Bearer ${token}`, caPem: cluster.caPem };
}
