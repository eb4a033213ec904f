/** The TLS port: the same routes, client certificates in place of the token, a certificate that changes while it runs. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { request } from "node:https";
import type { TLSSocket } from "node:tls";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { listen } from "../src/http/server.ts";
import { readCertificates } from "../src/http/tls.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { startTestApp } from "./support/app.ts";
import { type CertKey, createCertAuthority } from "./support/certs.ts";
import { eventually } from "./support/eventually.ts";
import { Hono } from "hono";

interface Answer {
  readonly status: number;
  readonly body: string;
  /** Serial number of the certificate the server showed. */
  readonly serial: string;
}

function send(url: string, { ca, client, method = "POST", body = "" }: {
  ca: string;
  client?: CertKey;
  method?: string;
  body?: string;
}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const identity = client ? { cert: client.certPem, key: client.keyPem } : {};
  const sent = request(url, { ca, ...identity, method, agent: false }, (response) => {
    const serial = (response.socket as TLSSocket).getPeerCertificate().serialNumber;
    let text = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => text += chunk);
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text, serial }));
  });
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-tls-" });
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
  return folder;
}

for (
  const [named, env, strangers] of [
    ["in place of the token", { WEBHOOK_AUTH_TOKEN: "secret" }, "no valid token"],
    ["as the only proof where no token is set", {}, "no client certificate"],
  ] as const
) {
  Deno.test(`the TLS port takes a client certificate of the given CA ${named}`, () =>
    certified(env, strangers));
}

async function certified(env: Readonly<Record<string, string>>, strangers: string): Promise<void> {
  const authority = createCertAuthority("servers");
  const clients = createCertAuthority("clients");
  const server = authority.issue({ usage: "server", commonName: "zen-watcher", ipAddresses: ["127.0.0.1"] });
  const folder = await folderWith({
    "tls.crt": server.certPem,
    "tls.key": server.keyPem,
    "ca.crt": clients.certPem,
  });
  await using cluster = await startDevCluster();
  {
    using api = createKubeClient(fixedConnection({ server: cluster.url }));
    await installCrds(api);
    await createNamespaces(api, ["zen-system"]);
  }
  await using app = await startTestApp({
    server: cluster.url,
    env: {
      WATCHER_TLS_PORT: "0",
      TLS_CERT_FILE: `${folder}/tls.crt`,
      TLS_KEY_FILE: `${folder}/tls.key`,
      TLS_CLIENT_CA_FILE: `${folder}/ca.crt`,
      ...env,
    },
  });
  const url = `${app.tlsUrl}/falco/webhook`;
  const body = JSON.stringify({ rule: "A rule", priority: "Notice", output: "text", output_fields: {} });
  const ca = authority.certPem;
  const refused = await send(url, { ca, body });
  assertEquals(refused.status, 401);
  assertStringIncludes(refused.body, strangers);
  assertEquals((await app.post("/falco/webhook", body)).status, 401);
  const stranger = createCertAuthority("strangers").issue({ usage: "client", commonName: "falco" });
  assertEquals((await send(url, { ca, body, client: stranger })).status, 401);
  const known = clients.issue({ usage: "client", commonName: "falco" });
  const taken = await send(url, { ca, body, client: known });
  assertEquals([taken.status, JSON.parse(taken.body).created], [200, 1]);
  const token = env["WEBHOOK_AUTH_TOKEN"];
  assertEquals((await send(`${url}/${token ?? "guess"}`, { ca, body })).status, token ? 200 : 401);
  assertStringIncludes((await send(`${app.tlsUrl}/ready`, { ca, method: "GET" })).body, "ready");
  await Deno.remove(folder, { recursive: true });
}

Deno.test("listen() serves a certificate that changed, and keeps the last one where the new is unusable", async () => {
  const authority = createCertAuthority("servers");
  const issue = () =>
    authority.issue({ usage: "server", commonName: "zen-watcher", ipAddresses: ["127.0.0.1"] });
  const first = issue();
  const folder = await folderWith({
    "tls.crt": first.certPem,
    "tls.key": first.keyPem,
    "ca.crt": authority.certPem,
  });
  const app = new Hono<{ Bindings: { peer: string } }>();
  app.get("/", (c) => c.text("hello"));
  let reads = 0;
  const certificates = await readCertificates({
    certFile: `${folder}/tls.crt`,
    keyFile: `${folder}/tls.key`,
    clientCaFile: `${folder}/ca.crt`,
    everyMs: 20,
    readFile: (path) => (reads++, Deno.readTextFile(path)),
  });
  const listener = await listen(app, {
    address: "127.0.0.1",
    port: 0,
    setting: "WATCHER_TLS_PORT",
    maxConnections: 10,
    requestTimeoutMs: 1_000,
    metrics: createMetrics(),
    certificates,
  });
  const ca = authority.certPem;
  const serialNow = async () => (await send(listener.url, { ca, method: "GET" })).serial;
  const before = await serialNow();
  const unusable = {
    "tls.crt": ["", "no certificate"],
    "tls.key": ["", issue().keyPem],
    "ca.crt": ["", "no CA"],
  };
  for (const [name, texts] of Object.entries(unusable)) {
    const good = await Deno.readTextFile(`${folder}/${name}`);
    for (const text of texts) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
      const seen = reads;
      // Two whole readings: the one under way may have begun before.
      await eventually("the files to be read", () => Promise.resolve(reads >= seen + 8));
      assertEquals(await serialNow(), before, `${name}: ${text}`);
    }
    await Deno.writeTextFile(`${folder}/${name}`, good);
  }
  const second = issue();
  await Deno.writeTextFile(`${folder}/tls.key`, second.keyPem);
  await Deno.writeTextFile(`${folder}/tls.crt`, second.certPem);
  await eventually("the new certificate", async () => {
    const { serial, body } = await send(listener.url, { ca, method: "GET" });
    return body === "hello" && serial !== before;
  });
  await listener.shutdown();
  await Deno.remove(folder, { recursive: true });
});
