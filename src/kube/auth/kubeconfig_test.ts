import { assertEquals, assertRejects } from "@std/assert";
import { apiServer, status } from "../../../tests/support/api_server.ts";
import {
  findConnection,
  type Impersonation,
  ImpersonationError,
  kubeconfigConnection,
} from "./kubeconfig.ts";
import { createKubeClient } from "../client.ts";

const TLS_FOLDER = new URL("../../../tests/fixtures/tls/", import.meta.url);
const pem = (name: string) => Deno.readTextFileSync(new URL(name, TLS_FOLDER));

interface Parts {
  readonly cluster?: Record<string, unknown>;
  readonly user?: Record<string, unknown>;
  readonly context?: Record<string, unknown>;
  readonly name?: string;
}

/** A kubeconfig of one context; JSON is YAML. */
function config({ cluster = {}, user = {}, context = {}, name = "dev" }: Parts): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster: { server: "https://127.0.0.1:6443", ...cluster } }],
    users: [{ name, user }],
    contexts: [{ name, context: { cluster: name, user: name, ...context } }],
  });
}

/** A folder that goes away with the test. */
async function folder(): Promise<AsyncDisposable & { write(name: string, text: string): Promise<string> }> {
  const path = await Deno.makeTempDir();
  return {
    async write(name, text) {
      await Deno.writeTextFile(`${path}/${name}`, text);
      return `${path}/${name}`;
    },
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

const endpointOf = async (path: string, context?: string) => {
  const connection = await kubeconfigConnection({ paths: [path], ...(context ? { context } : {}) });
  return await connection.endpoint();
};

Deno.test("kubeconfigConnection() takes CA, certificate and key from data or from files beside", async () => {
  await using dir = await folder();
  for (const name of ["ca.pem", "client.pem", "client.key"]) await dir.write(name, pem(name));
  const byData = await dir.write(
    "data",
    config({
      cluster: { "certificate-authority-data": btoa(pem("ca.pem")) },
      user: {
        "client-certificate-data": btoa(pem("client.pem")),
        "client-key-data": btoa(pem("client.key")),
      },
    }),
  );
  const byFile = await dir.write(
    "file",
    config({
      cluster: { "certificate-authority": "ca.pem" },
      user: { "client-certificate": "client.pem", "client-key": "client.key" },
    }),
  );
  const expected = {
    server: "https://127.0.0.1:6443",
    headers: {},
    caPem: pem("ca.pem"),
    certPem: pem("client.pem"),
    keyPem: pem("client.key"),
  };
  assertEquals(await endpointOf(byData), expected);
  assertEquals(await endpointOf(byFile), expected);
});

Deno.test("kubeconfigConnection() takes tokens, token files, passwords, impersonation, a proxy and the namespace", async () => {
  await using dir = await folder();
  await dir.write("token", "from-file\n");
  const authorization = async (user: Record<string, unknown>) =>
    (await endpointOf(await dir.write("config", config({ user })))).authorization;
  assertEquals(await authorization({ token: "t" }), "Bearer t");
  assertEquals(await authorization({ token: "t", tokenFile: "token" }), "Bearer from-file");
  assertEquals(await authorization({ username: "ü", password: "p" }), `Basic ${btoa("\xc3\xbc:p")}`);
  const path = await dir.write(
    "config",
    config({
      cluster: { "proxy-url": "http://127.0.0.1:3128" },
      user: { token: "t", as: "jane" },
      context: { namespace: "zen-system" },
    }),
  );
  const connection = await kubeconfigConnection({ paths: [path] });
  const endpoint = await connection.endpoint();
  assertEquals(endpoint.proxyUrl, "http://127.0.0.1:3128");
  assertEquals(endpoint.headers, { "impersonate-user": "jane" });
  assertEquals(connection.namespace, "zen-system");
  assertEquals(connection.description, `context "dev" of ${path}`);
});

Deno.test("kubeconfigConnection() impersonates as kubectl does: by each field of the user, or by the flag that replaces it", async () => {
  await using dir = await folder();
  const headers = async (user: Record<string, unknown>, flags: Impersonation = {}) => {
    const paths = [await dir.write("config", config({ user }))];
    return (await (await kubeconfigConnection({ paths, ...flags })).endpoint()).headers;
  };
  const jane = { as: "jane", "as-groups": ["devs", "on, call"], "as-uid": "7" };
  const ofJane = {
    "impersonate-user": "jane",
    "impersonate-group": ["devs", "on, call"],
    "impersonate-uid": "7",
  };
  assertEquals(await headers(jane), ofJane);
  assertEquals(await headers({ ...jane, "as-user-extra": { "example.com/scope x": ["view", "edit"] } }), {
    ...ofJane,
    "impersonate-extra-example.com%2fscope%20x": ["view", "edit"],
  });
  assertEquals(await headers(jane, { as: "bob" }), { ...ofJane, "impersonate-user": "bob" });
  assertEquals(await headers(jane, { as: "", asGroup: [], asUid: "" }), ofJane);
  assertEquals(await headers({ as: "jane" }, { asGroup: ["ops"], asUid: "8" }), {
    "impersonate-user": "jane",
    "impersonate-group": ["ops"],
    "impersonate-uid": "8",
  });
  assertEquals(await headers({ token: "t" }), {});
  for (const flags of [{ asGroup: ["ops"] }, { asUid: "8" }]) {
    await assertRejects(() => headers({}, flags), ImpersonationError, "take --as");
  }
  for (const user of [{ "as-groups": ["a"] }, { "as-uid": "1" }, { as: "", "as-user-extra": { s: ["v"] } }]) {
    await assertRejects(() => headers(user), Error, 'Cannot use context "dev"');
  }
  for (const [field, value] of [["as-groups", { a: 1 }], ["as-user-extra", ["a"]], ["as-uid", 7]] as const) {
    const user = { as: "jane", [field]: value };
    await assertRejects(() => headers(user), Error, `at users.dev.${field}: expected `);
  }
});

Deno.test("kubeconfigConnection() runs an exec plugin once, and again when its token is refused", async () => {
  await using dir = await folder();
  const counter = await dir.write("runs", "");
  const program = `Deno.writeTextFileSync(Deno.args[0], "x", { append: true });
    const token = "run-" + Deno.readTextFileSync(Deno.args[0]).length;
    console.log(JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token } }));`;
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: Deno.execPath(),
    args: ["run", "-A", await dir.write("plugin.ts", program), counter],
  };
  await using server = apiServer(({ headers }) =>
    headers.get("authorization") === "Bearer run-2" ? Response.json({ ok: "yes" }) : status(401)
  );
  const path = await dir.write("config", config({ cluster: { server: server.url }, user: { exec } }));
  let now = 0;
  const clock = { now: () => now, monotonic: () => now };
  const connection = await kubeconfigConnection({ paths: [path], clock });
  now += 40_000;
  assertEquals(
    (await connection.endpoint()).authorization,
    "Bearer run-1",
    "the files were read again, the plugin not",
  );
  now += 5_000;
  using api = createKubeClient(connection);
  assertEquals(await api.getPath("/version"), { ok: "yes" });
  assertEquals(await Deno.readTextFile(counter), "xx");
});

Deno.test("kubeconfigConnection() tells an exec plugin what kubectl tells it: the API version, and the cluster where it is to know it", async () => {
  await using dir = await folder();
  const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };
  const answer = JSON.stringify({ ...credential, status: { token: "t" } });
  const seen = await dir.write("seen", "");
  const plugin = await dir.write(
    "plugin",
    `#!/bin/sh\nprintf '%s %s' "$OWN" "$KUBERNETES_EXEC_INFO" >${seen}\necho '${answer}'\n`,
  );
  await Deno.chmod(plugin, 0o755);
  await dir.write("ca.pem", pem("ca.pem"));
  const cluster = {
    "certificate-authority": "ca.pem",
    "proxy-url": "http://127.0.0.1:3128",
    extensions: [
      { name: "other", extension: { b: 1 } },
      { name: "client.authentication.k8s.io/exec", extension: { audience: "a" } },
    ],
  };
  const told = async (provideClusterInfo: boolean) => {
    const exec = {
      apiVersion: credential.apiVersion,
      command: plugin,
      env: [{ name: "OWN", value: "kept" }],
      provideClusterInfo,
    };
    assertEquals(
      (await endpointOf(await dir.write("config", config({ cluster, user: { exec } })))).authorization,
      "Bearer t",
    );
    const [own, info = ""] = (await Deno.readTextFile(seen)).split(" ");
    assertEquals(own, "kept");
    return JSON.parse(info);
  };
  assertEquals(await told(false), { ...credential, spec: { interactive: false } });
  const known = {
    server: "https://127.0.0.1:6443",
    "certificate-authority-data": btoa(pem("ca.pem")),
    "proxy-url": "http://127.0.0.1:3128",
    config: { audience: "a" },
  };
  assertEquals(await told(true), { ...credential, spec: { cluster: known, interactive: false } });
});

Deno.test("kubeconfigConnection() looks for an exec command with a separator beside the file, and for any other in PATH", async () => {
  await using dir = await folder();
  const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };
  const plugin = `#!/bin/sh\necho '${JSON.stringify({ ...credential, status: { token: "from-plugin" } })}'\n`;
  const absolute = await dir.write("plugin", plugin);
  await Deno.chmod(absolute, 0o755);
  const authorization = async (command: string) => {
    const exec = { apiVersion: credential.apiVersion, command };
    return (await endpointOf(await dir.write("config", config({ user: { exec } })))).authorization;
  };
  assertEquals(await authorization("./plugin"), "Bearer from-plugin");
  assertEquals(await authorization(absolute), "Bearer from-plugin");
  await assertRejects(() => authorization("plugin"), Error, "plugin");
});

Deno.test("kubeconfigConnection() follows changes of the file within its context, not to another one", async () => {
  await using dir = await folder();
  const path = await dir.write("config", config({ user: { token: "one" } }));
  let now = 0;
  const connection = await kubeconfigConnection({
    paths: [path],
    clock: { now: () => now, monotonic: () => now },
  });
  const both = JSON.parse(config({ user: { token: "two" } }));
  both["current-context"] = "other";
  await dir.write("config", JSON.stringify(both));
  assertEquals((await connection.endpoint()).authorization, "Bearer one");
  now += 31_000;
  assertEquals((await connection.endpoint()).authorization, "Bearer two");
});

Deno.test("kubeconfigConnection() merges files as kubectl does: the first to name something wins, one may be missing", async () => {
  await using dir = await folder();
  const first = await dir.write("first", config({ user: { token: "first" } }));
  const second = await dir.write("second", config({ user: { token: "second" } }));
  const third = await dir.write("third", config({ user: { token: "third" }, name: "prod" }));
  const paths = [first, `${first}-gone`, second, third];
  const token = async (context?: string) => {
    const connection = await kubeconfigConnection({ paths, ...(context ? { context } : {}) });
    return (await connection.endpoint()).authorization;
  };
  assertEquals(await token(), "Bearer first");
  assertEquals(await token("prod"), "Bearer third");
});

Deno.test("kubeconfigConnection() keeps the CA of a context without a user", async () => {
  await using dir = await folder();
  const parsed = JSON.parse(config({ cluster: { "certificate-authority-data": btoa(pem("ca.pem")) } }));
  delete parsed.contexts[0].context.user;
  assertEquals((await endpointOf(await dir.write("config", JSON.stringify(parsed)))).caPem, pem("ca.pem"));
});

Deno.test("kubeconfigConnection() refuses a kubeconfig that it cannot use and says why", async () => {
  await using dir = await folder();
  const refused = async (text: string, why: string, context?: string) => {
    const path = await dir.write("config", text);
    await assertRejects(() => endpointOf(path, context), Error, why);
  };
  await refused(
    config({ cluster: { "insecure-skip-tls-verify": true } }),
    "insecure-skip-tls-verify is not supported",
  );
  await refused(config({ cluster: { "tls-server-name": "x" } }), "tls-server-name is not supported");
  await refused(config({ user: { tokenFile: "gone" } }), 'Cannot use context "dev"');
  await refused(config({}), 'Cannot use context "nope"', "nope");
  await refused(config({ name: "" }), "Cannot read kubeconfig");
  await refused("{}", "no current context");
  await refused("{", "Cannot read kubeconfig");
  await assertRejects(
    () => kubeconfigConnection({ paths: ["/does/not/exist"] }),
    Error,
    "Cannot read kubeconfig",
  );
});

Deno.test("findConnection() looks where kubectl looks, in that order", async () => {
  await using dir = await folder();
  const explicit = await dir.write("explicit", config({ name: "explicit" }));
  const fromEnv = await dir.write("env", config({ name: "env" }));
  const home = await Deno.makeTempDir();
  await using _cleanup = { [Symbol.asyncDispose]: () => Deno.remove(home, { recursive: true }) };
  await Deno.mkdir(`${home}/.kube`);
  await Deno.writeTextFile(`${home}/.kube/config`, config({ name: "home" }));
  const account = await Deno.makeTempDir({ dir: home });
  for (const name of ["token", "ca.crt", "namespace"]) await Deno.writeTextFile(`${account}/${name}`, name);

  const pod = { serviceHost: "10.0.0.1", servicePort: "443", serviceAccountFolder: account };
  const everything = { kubeconfigEnv: fromEnv, home, ...pod };
  const found = async (choice: Parameters<typeof findConnection>[0]) =>
    (await findConnection(choice)).description;
  assertEquals(await found({ ...everything, kubeconfig: explicit }), `context "explicit" of ${explicit}`);
  assertEquals(await found({ ...everything, context: "env" }), `context "env" of ${fromEnv}`);
  assertEquals(await found(everything), `context "env" of ${fromEnv}`);
  assertEquals(await found({ ...pod, home }), `context "home" of ${home}/.kube/config`);
  const ofPod = "the cluster of this Pod (https://10.0.0.1:443)";
  for (const kubeconfigEnv of [undefined, "", `${fromEnv}-gone`]) {
    assertEquals(await found({ ...pod, home: account, kubeconfigEnv }), ofPod);
  }
  const asJane = await findConnection({ ...pod, as: "jane", asGroup: ["devs"] });
  assertEquals((await asJane.endpoint()).headers, {
    "impersonate-user": "jane",
    "impersonate-group": ["devs"],
  });
  assertEquals(await found({ ...everything, serviceHost: undefined }), `context "env" of ${fromEnv}`);
  await assertRejects(() => found({ ...pod, context: "env" }), Error, "Cannot find a cluster");
  await assertRejects(() => found({ kubeconfigEnv: `${fromEnv}-gone` }), Error, "Cannot read kubeconfig");
  assertEquals(
    await found({ ...pod, home, serviceAccountFolder: home }),
    `context "home" of ${home}/.kube/config`,
  );
  await assertRejects(() => found({ home: account }), Error, "Cannot find a cluster");
});
