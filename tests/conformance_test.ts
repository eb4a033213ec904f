/** The cases of the embedded server on that server, and how they reach the cluster of a user. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { CASES } from "./conformance/cases.ts";
import { accessOf, Scratch, Server, type ServerAccess } from "./conformance/server.ts";
import { apiServer, status } from "./support/api_server.ts";
import { createCertAuthority } from "./support/certs.ts";
import { ROOT } from "./support/docs.ts";
import { kubeconfigOf } from "./support/readers.ts";

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
  using access = accessOf({ server: cluster.url, caPem: authority.certPem });
  await conform(t, access);
});

async function conform(t: Deno.TestContext, access: ServerAccess): Promise<void> {
  const server = new Server(access);
  const at = new Scratch(server);
  await at.open();
  try {
    for (const { name, run } of CASES) await t.step(name, () => run({ server, at }));
  } finally {
    await at.close();
  }
}

Deno.test("deno task test:cluster --conformance passes on the cluster of KUBECONFIG, and leaves nothing there", async () => {
  await using cluster = startDevCluster({ bookmarkMs: 50 });
  await using file = await kubeconfigOf(cluster.url);
  const before = await objectsOf(cluster.url);
  const { code, out, err } = await testCluster(["--conformance", "--yes"], file.path);
  assertEquals(code, 0, out + err);
  assertStringIncludes(out, `on the API server ${cluster.url}`);
  assertStringIncludes(out, "real API server: ");
  assertEquals(await objectsOf(cluster.url), before);
});

Deno.test("deno task test:cluster --conformance sends no request without consent, and takes a KUBECONFIG", async () => {
  await using server = apiServer(() => status(403));
  await using file = await kubeconfigOf(server.url);
  const unasked = await testCluster(["--conformance"], file.path);
  assertEquals([unasked.code, server.seen], [1, []]);
  assertStringIncludes(unasked.out, server.url);
  assertStringIncludes(unasked.err, "Agree with --yes");
  const unnamed = await testCluster(["--conformance", "--yes"], "");
  assertEquals(unnamed.code, 1);
  assertStringIncludes(unnamed.err, "KUBECONFIG names no cluster");
});

async function testCluster(args: readonly string[], kubeconfig: string) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "scripts/envtest/suite.ts", ...args],
    cwd: ROOT,
    env: { KUBECONFIG: kubeconfig, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out, err };
}

/** The names of all namespaces and CustomResourceDefinitions. */
async function objectsOf(url: string): Promise<string[]> {
  const paths = ["/api/v1/namespaces", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"];
  const lists = await Promise.all(paths.map(async (path) => (await fetch(url + path)).json()));
  return lists.flatMap(({ items }) =>
    items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)
  );
}
