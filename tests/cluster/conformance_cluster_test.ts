/** Runs the cases of the embedded server on a real API server, to show that they are right. */
import { CASES } from "../conformance/cases.ts";
import { Scratch, Server } from "../conformance/server.ts";
import { sharedEnvtest } from "../support/envtest.ts";

const cluster = await sharedEnvtest();
const client = Deno.createHttpClient({ caCerts: [cluster.caPem] });
const server = new Server({ url: cluster.url, token: cluster.user("admin").token, client });
const at = new Scratch(server);

Deno.test.beforeAll(() => at.open());
Deno.test.afterAll(() => at.close());

const minor = await cluster.minorVersion();

for (const { name, since = 0, run } of CASES) {
  Deno.test({
    name: `real API server: ${name}${since > minor ? ` (skipped: needs Kubernetes 1.${since})` : ""}`,
    ignore: since > minor,
    fn: () => run({ server, at }),
  });
}
