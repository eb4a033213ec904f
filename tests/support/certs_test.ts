import { assert, assertEquals, assertRejects } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { createCertAuthority, createKeyPair, loadCertAuthority } from "./certs.ts";

Deno.test("createCertAuthority() issues certificates another X.509 reader verifies", () => {
  const authority = createCertAuthority("root");
  const leaf = new X509Certificate(
    authority.issue({ usage: "client", commonName: "alice", organizations: ["dev", "ops"] }).certPem,
  );
  const root = new X509Certificate(authority.certPem);
  assert(root.ca);
  assert(!leaf.ca);
  assert(leaf.verify(root.publicKey));
  assert(!leaf.verify(new X509Certificate(createCertAuthority("root").certPem).publicKey));
  assertEquals(leaf.subject.split("\n"), ["O=dev", "O=ops", "CN=alice"]);
});

Deno.test("loadCertAuthority() issues certificates of a root that was made earlier", () => {
  const { commonName, certPem, keyPem } = createCertAuthority("root");
  const leaf = loadCertAuthority({ commonName, certPem, keyPem }).issue({
    usage: "client",
    commonName: "bob",
  });
  assert(new X509Certificate(leaf.certPem).verify(new X509Certificate(certPem).publicKey));
});

Deno.test("createKeyPair() makes a key that reads as PKCS #8", () => {
  const { privatePem, publicPem } = createKeyPair();
  assert(privatePem.startsWith("-----BEGIN PRIVATE KEY-----"));
  assert(publicPem.startsWith("-----BEGIN PUBLIC KEY-----"));
});

Deno.test("a TLS server with an issued certificate is trusted by its own root alone", async () => {
  const authority = createCertAuthority("ours");
  await using server = serveTls(authority.issue({
    usage: "server",
    commonName: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
  }));
  const url = `https://127.0.0.1:${server.addr.port}/`;
  using ours = Deno.createHttpClient({ caCerts: [authority.certPem] });
  assertEquals(await (await fetch(url, { client: ours })).text(), "hello");
  using theirs = Deno.createHttpClient({ caCerts: [createCertAuthority("theirs").certPem] });
  await assertRejects(() => fetch(url, { client: theirs }), TypeError);
});

Deno.test("a server certificate that has run out is refused", async () => {
  const authority = createCertAuthority("ours");
  await using server = serveTls(authority.issue({
    usage: "server",
    commonName: "server",
    ipAddresses: ["127.0.0.1"],
    notAfter: new Date(Date.now() - 60_000),
  }));
  using client = Deno.createHttpClient({ caCerts: [authority.certPem] });
  await assertRejects(() => fetch(`https://127.0.0.1:${server.addr.port}/`, { client }), TypeError);
});

function serveTls({ certPem, keyPem }: { certPem: string; keyPem: string }): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve(
    {
      port: 0,
      hostname: "127.0.0.1",
      cert: certPem,
      key: keyPem,
      onListen: () => {},
      onError: () => new Response(),
    },
    () => new Response("hello"),
  );
}
