import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { IMAGE_ENV } from "../../scripts/support/permissions.ts";
import { systemClock } from "../../src/model/time.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import {
  ApiError,
  type Endpoint,
  fixedConnection,
  inClusterConnection,
  type KubeApi,
  type KubeObject,
  type ResourceType,
} from "../../src/kube/api.ts";
import { kubeconfigConnection } from "../../src/kube/auth/kubeconfig.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { type CertAuthority, createCertAuthority } from "../support/certs.ts";
import type { Credentials } from "../support/cluster.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";

const cluster = await sharedEnvtest();
const clusterPort = new URL(cluster.url).port;
const HOW = ["read", "write"] as const;

const SELF_SUBJECT_REVIEWS: ResourceType = {
  group: "authentication.k8s.io",
  version: "v1",
  plural: "selfsubjectreviews",
  kind: "SelfSubjectReview",
  namespaced: false,
};

Deno.test("a Pod's connection trusts the cluster's CA", async () => {
  await using mount = await Mount.create();
  assertMatch(await probe(mount, { port: clusterPort, env: IMAGE_ENV }), /^answered v1\./);
  assertEquals(
    await probe(mount, { port: clusterPort, env: IMAGE_ENV, how: "write" }),
    "answered SelfSubjectReview",
  );
});

Deno.test("an impostor of a root in the system's store is refused and sees no token", async () => {
  const rogue = createCertAuthority("a root of the system's store");
  await using impostor = new Impostor(rogue, ["127.0.0.1"]);
  await using mount = await Mount.create();
  const store = join(mount.folder, "system-roots.pem");
  await Deno.writeTextFile(store, rogue.certPem);

  // Without those settings of `start` such a root is trusted beside the cluster's: this is what they are there for.
  const trusting = { DENO_TLS_CA_STORE: "system", SSL_CERT_FILE: store, SSL_CERT_DIR: "" };
  for (const [index, how] of HOW.entries()) {
    assertEquals(await probe(mount, { port: impostor.port, env: trusting, how }), "answered impostor");
    assertEquals(impostor.requests, index + 1);

    const answer = await probe(mount, { port: impostor.port, env: IMAGE_ENV, how });
    assertMatch(answer, /^refused: .*(UnknownIssuer|certificate)/);
    assertEquals(impostor.requests, index + 1, "the impostor got no further request");
  }
});

Deno.test("a server of the cluster's own CA but of another name is refused", async () => {
  await using impostor = new Impostor(cluster.authority, ["127.0.0.2"]);
  await using mount = await Mount.create();
  for (const how of HOW) {
    const answer = await probe(mount, { port: impostor.port, env: IMAGE_ENV, how });
    assertMatch(answer, /^refused: .*(NotValidForName|certificate)/);
  }
  assertEquals(impostor.requests, 0);
});

Deno.test("a client certificate's subject is the user, its organizations are the groups", async () => {
  const { certPem, keyPem } = cluster.clientCert("alice", ["dev", "ops"]);
  using api = transport({ certPem, keyPem });
  const { username, groups } = await whoAmI(api);
  assertEquals(username, "alice");
  assertEquals(groups, ["dev", "ops", "system:authenticated"]);
});

Deno.test("client certificates of another root, and such that ran out, are refused", async () => {
  const forged = createCertAuthority("envtest-ca").issue({ usage: "client", commonName: "alice" });
  const stale = cluster.authority.issue({
    usage: "client",
    commonName: "alice",
    notAfter: new Date(Date.now() - 60_000),
  });
  for (const { certPem, keyPem } of [forged, stale]) {
    using api = transport({ certPem, keyPem });
    const error = await assertRejects(() => whoAmI(api), ApiError);
    assertEquals(error.status, 401);
  }
});

Deno.test("a bearer token is sent with each request, a wrong one is a 401", async () => {
  using api = transport({ authorization: `Bearer ${cluster.user("viewer").token}` });
  assertEquals((await whoAmI(api)).username, "viewer");
  using wrong = transport({ authorization: "Bearer wrong" });
  const error = await assertRejects(() => whoAmI(wrong), ApiError);
  assertEquals(error.status, 401);
});

Deno.test("a revoked ServiceAccount token is read again on the 401 and the request succeeds", async () => {
  const namespace = await cluster.createNamespace("rotation");
  await using mount = await Mount.create(namespace);
  const first = await mount.newAccount();
  let skippedMs = 0;
  const clock = { ...systemClock, monotonic: () => performance.now() + skippedMs };
  const connection = await inClusterConnection({
    host: "127.0.0.1",
    port: clusterPort,
    folder: mount.folder,
    clock,
  });
  assertEquals(connection.namespace, namespace);
  using api = createKubeClient(connection);
  const before = await whoAmI(api);
  assertEquals(before.username, `system:serviceaccount:${namespace}:watcher`);

  await cluster.expect("DELETE", `/api/v1/namespaces/${namespace}/serviceaccounts/watcher`);
  await mount.newAccount();
  // The server caches a token that it has accepted for ten seconds.
  await eventually("the first token to be refused", async () => {
    const { status } = await cluster.ask("GET", "/api", { as: { token: first } });
    return status === 401;
  });
  skippedMs = 5_000; // past the bound on fresh reads, well short of a routine one
  const after = await whoAmI(api);
  assertEquals(after.username, before.username);
  assertNotEquals(after.uid, before.uid);
});

Deno.test("a kubeconfig's contexts are its users: a token, a certificate", async () => {
  await using file = await KubeconfigFile.create({
    token: cluster.user("viewer"),
    certificate: cluster.clientCert("alice", ["dev"]),
  });
  for (const [context, user] of [["token", "viewer"], ["certificate", "alice"]] as const) {
    using api = createKubeClient(await kubeconfigConnection({ paths: [file.path], context }));
    assertEquals((await whoAmI(api)).username, user);
  }
});

Deno.test("a token that was replaced in the kubeconfig is read again on the 401", async () => {
  await using file = await KubeconfigFile.create({ token: { token: "revoked" } });
  let skippedMs = 0;
  const clock = { ...systemClock, monotonic: () => performance.now() + skippedMs };
  using api = createKubeClient(await kubeconfigConnection({ paths: [file.path], context: "token", clock }));
  const error = await assertRejects(() => whoAmI(api), ApiError);
  assertEquals(error.status, 401);
  await file.write({ token: cluster.user("operator") });
  skippedMs = 5_000; // past the bound on fresh reads, well short of a routine one
  assertEquals((await whoAmI(api)).username, "operator");
});

/** A kubeconfig with one context for each of some credentials. */
class KubeconfigFile implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(users: Readonly<Record<string, Credentials>>): Promise<KubeconfigFile> {
    const file = new KubeconfigFile(await Deno.makeTempFile({ prefix: "zen-kubeconfig-" }));
    await file.write(users);
    return file;
  }

  async write(users: Readonly<Record<string, Credentials>>): Promise<void> {
    const names = Object.keys(users);
    const parts = Object.values(users).map((as) => parse(cluster.kubeconfig({ as })));
    await Deno.writeTextFile(
      this.path,
      stringify({
        ...parts[0],
        users: names.map((name, index) => ({ name, user: parts[index].users[0].user })),
        contexts: names.map((name) => ({ name, context: { cluster: "test", user: name } })),
        "current-context": names[0],
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path);
  }
}

/** A folder as the kubelet mounts it. */
class Mount implements AsyncDisposable {
  readonly folder: string;
  readonly #namespace: string;

  private constructor(folder: string, namespace: string) {
    this.folder = folder;
    this.#namespace = namespace;
  }

  static async create(namespace = "default"): Promise<Mount> {
    const mount = new Mount(await Deno.makeTempDir({ prefix: "zen-mount-" }), namespace);
    await mount.#write("ca.crt", cluster.caPem);
    await mount.#write("namespace", namespace);
    await mount.#write("token", cluster.user("viewer").token);
    return mount;
  }

  /** Makes the ServiceAccount and mounts a token of it. */
  async newAccount(): Promise<string> {
    const path = `/api/v1/namespaces/${this.#namespace}/serviceaccounts`;
    await cluster.expect("POST", path, { body: { metadata: { name: "watcher" } } });
    const token = await cluster.serviceAccountToken(this.#namespace, "watcher");
    await this.#write("token", `${token}\n`);
    return token;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }

  async #write(name: string, content: string): Promise<void> {
    await Deno.writeTextFile(join(this.folder, name), content);
  }
}

/** A TLS server that answers as an API server would and counts how often it could. */
class Impostor implements AsyncDisposable {
  requests = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(authority: CertAuthority, ipAddresses: readonly string[]) {
    const { certPem, keyPem } = authority.issue({
      usage: "server",
      commonName: "kube-apiserver",
      ipAddresses,
    });
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, cert: certPem, key: keyPem, onListen: () => {} },
      () => {
        this.requests++;
        return Response.json({ gitVersion: "impostor", metadata: {} });
      },
    );
  }

  get port(): string {
    return String(this.#server.addr.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

async function probe(
  mount: Mount,
  { port, env, how = "read" }: {
    port: string;
    env: Readonly<Record<string, string>>;
    how?: (typeof HOW)[number];
  },
): Promise<string> {
  const program = new URL("./tls_probe.ts", import.meta.url).href;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program, mount.folder, "127.0.0.1", port, how],
    env,
  }).output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) || decoder.decode(stderr);
}

function transport(credentials: Partial<Endpoint>) {
  return createKubeClient(fixedConnection({ server: cluster.url, caPem: cluster.caPem, ...credentials }));
}

async function whoAmI(api: KubeApi): Promise<JsonObject> {
  const answer = await api.create<KubeObject>(SELF_SUBJECT_REVIEWS, { metadata: {} });
  const status: unknown = answer["status"];
  return isObject(status) && isObject(status.userInfo) ? status.userInfo : {};
}
