/** The same cases against the embedded server and, where ZEN_TEST_KUBECONFIG names one, a real one. */
import { parse } from "yaml";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { CASES } from "./conformance/cases.ts";
import { createCertAuthority } from "./support/certs.ts";
import { type Access, Scratch, Server } from "./conformance/server.ts";

Deno.test("the embedded server conforms", async (t) => {
  await using cluster = startDevCluster({ bookmarkMs: 50 });
  await conform(t, { url: cluster.url });
});

Deno.test("the embedded server conforms over TLS and HTTP/2", async (t) => {
  const authority = createCertAuthority("conformance");
  const { certPem: cert, keyPem: key } = authority.issue({
    usage: "server",
    commonName: "devcluster",
    ipAddresses: ["127.0.0.1"],
  });
  await using cluster = startDevCluster({ bookmarkMs: 50, tls: { ca: authority.certPem, cert, key } });
  const access = accessOf(cluster.kubeconfig());
  try {
    await conform(t, access);
  } finally {
    access.client?.close();
  }
});

const kubeconfig = Deno.env.get("ZEN_TEST_KUBECONFIG");

Deno.test({
  name: "the API server of ZEN_TEST_KUBECONFIG conforms",
  ignore: !kubeconfig,
  fn: async (t) => {
    const access = accessOf(await Deno.readTextFile(kubeconfig!));
    try {
      await conform(t, access);
    } finally {
      access.client?.close();
    }
  },
});

async function conform(t: Deno.TestContext, access: Access): Promise<void> {
  const server = new Server(access);
  const at = new Scratch(server);
  await at.open();
  try {
    for (const { name, run } of CASES) await t.step(name, () => run({ server, at }));
  } finally {
    await at.close();
  }
}

interface Kubeconfig {
  readonly "current-context": string;
  readonly contexts: { name: string; context: { cluster: string; user: string } }[];
  readonly clusters: { name: string; cluster: { server: string; "certificate-authority-data"?: string } }[];
  readonly users: {
    name: string;
    user: { token?: string; "client-certificate-data"?: string; "client-key-data"?: string };
  }[];
}

function accessOf(text: string): Access {
  const config = parse(text) as Kubeconfig;
  const { context } = config.contexts.find(({ name }) => name === config["current-context"])!;
  const { cluster } = config.clusters.find(({ name }) => name === context.cluster)!;
  const { user } = config.users.find(({ name }) => name === context.user)!;
  const [ca, cert, key] = [
    cluster["certificate-authority-data"],
    user["client-certificate-data"],
    user["client-key-data"],
  ].map((data) => data && atob(data));
  const client = Deno.createHttpClient({
    ...(ca ? { caCerts: [ca] } : {}),
    ...(cert && key ? { cert, key } : {}),
  });
  return { url: cluster.server, client, ...(user.token ? { token: user.token } : {}) };
}
