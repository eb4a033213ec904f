/**
 * The program as the image holds it and the chart runs it: the bundle, as UID 65532, on a root with nothing writable and
 * only the libraries of distroless/cc, with the permissions compiled in and the ServiceAccount's mount, under the chart's
 * own rules and policy. A second run records the permissions that the runtime used.
 */
import { assert, assertEquals } from "@std/assert";
import { bundle } from "../../scripts/bundle.ts";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { createNamespaces, feedSamples, installCrds, tally } from "../../scripts/support/feed.ts";
import { EXPORT_FOLDER } from "../../src/cli/read/export_file.ts";
import { IMAGE_ENV, podPermissions, V8_FLAGS } from "../../scripts/support/permissions.ts";
import expected from "../../scripts/samples/expected.json" with { type: "json" };
import { SETTINGS } from "../../src/settings.ts";
import { applyObject, one, valueIn } from "../support/chart.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { FOR_SAMPLES, installChart } from "../support/installed.ts";
import { listAll } from "../support/objects.ts";
import { ENTRY, POD_ENV, POD_USER, PodRoot } from "../support/pod_root.ts";
import { transportTo } from "./watching.ts";
import { listeningIn } from "../support/listening.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());
{
  using api = transportTo(cluster);
  await installCrds(api);
  await createNamespaces(api, [NAMESPACE]);
}
const installed = await installChart(cluster, {
  namespace: NAMESPACE,
  values: {
    ...FOR_SAMPLES,
    tls: { enabled: true, existingSecret: "zen-watcher-cert" },
  },
});
await bundle("main.ts", `${cluster.folder}/bundle`);
const mounted = mountedFiles();

Deno.test("the bundle runs as nobody on a root with nothing writable, under the chart's rules", async () => {
  await using root = await PodRoot.create({ bundle: `${cluster.folder}/bundle`, files: mounted });
  assertEquals(await writes(root), "", "the root is not writable to begin with");
  const before = await root.entries();
  await using controller = await start(root);
  const status = await Deno.readTextFile(`/proc/${controller.pid}/status`);
  for (const line of [/^Uid:(\t65532){4}$/m, /^Gid:(\t65532){4}$/m, /^CapEff:\t0+$/m, /^NoNewPrivs:\t1$/m]) {
    assert(line.test(status), `${line} in ${status}`);
  }
  await live(controller);
  controller.kill("SIGTERM");
  assertEquals((await controller.exited).code, 0, controller.lines.slice(-20).join("\n"));
  assertEquals(await root.entries(), before, "nothing was written");
});

Deno.test("the bundle runs as a user that the cluster chose, in the group 0, as OpenShift does", async () => {
  const [uid, gid] = [1_000_680_000, 0];
  await using root = await PodRoot.create({
    bundle: `${cluster.folder}/bundle`,
    files: mounted,
    user: `${uid}:${gid}`,
  });
  await forget();
  await using controller = await start(root);
  const status = await Deno.readTextFile(`/proc/${controller.pid}/status`);
  assert(new RegExp(`^Uid:(\\t${uid}){4}$`, "m").test(status), status);
  await live(controller);
});

Deno.test("the permissions of the image are exactly those that it uses", async () => {
  await using root = await PodRoot.create({
    bundle: `${cluster.folder}/bundle`,
    files: mounted,
    writable: "/audit",
  });
  await forget();
  await using controller = await start(root, { POD_NAME: "", DENO_AUDIT_PERMISSIONS: "/audit/asked.jsonl" });
  await live(controller);
  controller.kill("SIGTERM");
  assertEquals((await controller.exited).code, 0);
  const { env, net, read, ...others } = await asked(`${root.folder}/audit/asked.jsonl`);
  const granted = Object.fromEntries(
    podPermissions().filter((flag) => flag.startsWith("--allow-")).map((flag) => {
      const [name = "", values] = flag.slice("--allow-".length).split("=");
      return [name, values?.split(",") ?? []];
    }),
  );
  const grantOf = (path: string) =>
    granted.read?.find((place) => path === place || path.startsWith(`${place}/`));
  // No programs, no libraries, and no writing but in the folder of exports, which only `export --folder` uses.
  assertEquals(Object.keys(granted).sort(), ["env", "net", "read", "sys", "write"]);
  assertEquals(granted.write, [EXPORT_FOLDER]);
  const used = granted.read?.filter((folder) => folder !== EXPORT_FOLDER) ?? [];
  assertEquals([others, env], [{ sys: granted.sys }, granted.env?.toSorted()]);
  assertEquals(
    [...new Set(read?.map(grantOf))].sort(),
    used.toSorted(),
    `${read}`,
  );
  // Addresses are settings, and known in the cluster alone: the program asks for the API server and the ports it listens on.
  // On a busy machine it also looks whether its own port still accepts connections.
  const foreign = net?.filter((each) => each !== new URL(controller.url).host);
  assertEquals(
    [...new Set(foreign?.map((each) => URL.canParse(each) ? new URL(each).origin : each))].sort(),
    [
      "127.0.0.1:0",
      cluster.url,
    ],
  );
});

/** What the kubelet mounts: the ServiceAccount, and the Secrets that the chart generates. */
function mountedFiles(): Record<string, string> {
  const account = SETTINGS.serviceAccountFolder.fallback;
  const { certPem, keyPem } = cluster.authority.issue({
    usage: "server",
    commonName: "zen-watcher",
    ipAddresses: ["127.0.0.1"],
  });
  return {
    [`${account}/token`]: installed.token,
    [`${account}/ca.crt`]: cluster.caPem,
    [`${account}/namespace`]: NAMESPACE,
    "/etc/zen-watcher/webhook/token": installed.webhookToken,
    "/etc/zen-watcher/tls/tls.crt": certPem,
    "/etc/zen-watcher/tls/tls.key": keyPem,
  };
}

async function start(root: PodRoot, env: Readonly<Record<string, string>> = {}): Promise<Controller> {
  const { hostname, port } = new URL(cluster.url);
  return await startController({
    command: root.command,
    permissions: podPermissions(),
    denoArgs: [V8_FLAGS],
    entry: ENTRY,
    clearEnv: true,
    env: {
      ...POD_ENV,
      ...IMAGE_ENV,
      POD_NAME: "zen-watcher-0",
      ...installed.env,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
      WATCHER_TLS_PORT: "0",
      DISCOVERY_INTERVAL: "2s",
      ...env,
    },
  });
}

/** A day in its life: everything samples hold comes in, by every way; filters are refused and taken; people look. */
async function live(controller: Controller): Promise<void> {
  using api = transportTo(cluster);
  await feedSamples(api, { url: controller.url, namespace: NAMESPACE, token: installed.webhookToken });
  await eventually("every Observation", async () => {
    assertEquals(tally(await listAll(cluster, OBSERVATIONS)), expected);
    return true;
  });
  await closedBooks(controller.url);
  const filters = one(installed.objects, "ConfigMap", "zen-watcher-filter");
  await applyObject(cluster, { ...filters, data: { "filter.json": "{" } });
  await eventually(
    "the Event about refused filters",
    async () =>
      (await listAll(cluster, `/api/v1/namespaces/${NAMESPACE}/events`)).some(({ reason }) =>
        reason === "FiltersRejected"
      ),
  );
  await applyObject(cluster, filters);
  await eventually(
    "the lease to be held",
    async () => valueIn((await statusOf(controller.url)).leader, "isLeader") === true,
  );
  for (
    const url of [`${controller.url}/ready`, `${controller.url}/health`, `${controller.metricsUrl}/metrics`]
  ) {
    const response = await fetch(url);
    await response.body?.cancel();
    assertEquals(response.status, 200, url);
  }
  using client = Deno.createHttpClient({ caCerts: [cluster.caPem] });
  const { tlsUrl } = listeningIn(controller);
  const overTls = await fetch(`${tlsUrl}/ready`, { client });
  assertEquals([overTls.status, await overTls.json()], [200, { status: "ready" }]);
}

/** So that a second day begins with nothing stored, as the first did. */
async function forget(): Promise<void> {
  const namespaces = (await listAll(cluster, OBSERVATIONS)).map((each) =>
    valueIn(each, "metadata", "namespace")
  );
  for (const name of new Set(namespaces)) {
    await cluster.expect("DELETE", `/apis/zen.kube-zen.io/v1/namespaces/${name}/observations`);
  }
}

/** By permission, what the runtime used, each once and sorted. */
async function asked(path: string): Promise<Partial<Record<string, string[]>>> {
  const lines = (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
  const byName = Object.groupBy(lines, ({ permission }) => String(permission));
  return Object.fromEntries(
    Object.entries(byName).map((
      [name, all = []],
    ) => [name, [...new Set(all.map(({ value }) => String(value)))].sort()]),
  );
}

/** What a program of the same user with every permission of the runtime can write. */
async function writes(root: PodRoot): Promise<string> {
  const { success, text } = await root.run(["run", "-A", "-"], WRITER);
  assert(success, text);
  assertEquals(text.split("\n")[0], `as ${POD_USER}`);
  return text.split("\n").slice(1).join("\n");
}

const WRITER = `
console.log("as " + Deno.uid());
let tried = 0;
for (const folders = ["/"]; folders.length > 0;) {
  const folder = folders.pop();
  const files = [folder + "/new"];
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(folder)) {
    const path = (folder + "/" + name).replace("//", "/");
    if (path === "/proc" || isSymlink) continue;
    if (isDirectory) folders.push(path);
    else files.push(path);
  }
  for (const file of files) {
    tried++;
    try {
      Deno.openSync(file, { append: true, create: true }).close();
      console.log("wrote " + file);
    } catch (error) {
      if (!/Read-only|Permission denied|Text file busy/.test(error.message)) console.log(file + ": " + error.message);
    }
  }
}
if (tried < 20) console.log("only " + tried + " places");
`;
