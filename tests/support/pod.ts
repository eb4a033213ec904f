/** The program as its Deployment's Pod would run it: nothing schedules Pods on a test's API server. */
import { join } from "node:path";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { IMAGE_ENV, podPermissions, V8_FLAGS } from "../../scripts/support/permissions.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { valueIn } from "./chart.ts";
import type { RealCluster } from "./cluster.ts";

export interface PodOptions {
  readonly namespace: string;
  /** The Deployment, as it is on the API server. */
  readonly deployment: string;
  /** Where the program listens, on the ports of the container: an address of the loopback. */
  readonly address: string;
  /** The bundle's entry. */
  readonly entry: string;
  /** For what the kubelet would mount. */
  readonly folder: string;
}

/**
 * Runs the bundle with a Deployment's environment, its ServiceAccount's token and the Secrets it mounts, permitted what the
 * image's program is permitted.
 */
export async function startPod(cluster: RealCluster, options: PodOptions): Promise<Controller> {
  const { namespace, deployment, address, entry, folder } = options;
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${deployment}`;
  const spec = valueIn((await cluster.expect("GET", path)).body, "spec", "template", "spec");
  const container = valueIn(spec, "containers", 0);
  const mounts = await mountSecrets(cluster, { namespace, spec, container, folder });
  const account = join(folder, "account");
  await writeFiles(account, {
    "ca.crt": cluster.caPem,
    namespace,
    token: await cluster.serviceAccountToken(namespace, String(valueIn(spec, "serviceAccountName"))),
  });
  const { hostname, port } = new URL(cluster.url);
  return await startController({
    entry,
    permissions: podPermissions([folder]),
    denoArgs: [V8_FLAGS],
    env: {
      ...IMAGE_ENV,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
      SERVICE_ACCOUNT_FOLDER: account,
      WATCHER_ADDRESS: address,
      WATCHER_PORT: portOf(container, "http"),
      METRICS_PORT: portOf(container, "metrics"),
      ...environmentOf(container, { namespace, name: `${deployment}-0`, mounts }),
    },
  });
}

interface Mounted {
  readonly namespace: string;
  readonly spec: Json | undefined;
  readonly container: Json | undefined;
  readonly folder: string;
}

/** Writes what the Pod's Secret volumes would hold; returns where each mount path is instead. */
async function mountSecrets(
  cluster: RealCluster,
  { namespace, spec, container, folder }: Mounted,
): Promise<ReadonlyMap<string, string>> {
  const mounts = new Map<string, string>();
  for (const { name, mountPath } of objects(valueIn(container, "volumeMounts"))) {
    const secret = valueIn(
      objects(valueIn(spec, "volumes")).find((volume) => volume.name === name),
      "secret",
    );
    if (secret === undefined) continue;
    const { body } = await cluster.expect(
      "GET",
      `/api/v1/namespaces/${namespace}/secrets/${valueIn(secret, "secretName")}`,
    );
    const data = isObject(body.data) ? body.data : {};
    const items = objects(valueIn(secret, "items"));
    const named = items.length > 0
      ? items.map(({ key, path }) => [String(path), String(key)] as const)
      : Object.keys(data).map((key) => [key, key] as const);
    const files = named.map(([path, key]) => [path, atob(String(data[key]))] as const);
    await writeFiles(join(folder, String(name)), Object.fromEntries(files));
    mounts.set(String(mountPath), join(folder, String(name)));
  }
  return mounts;
}

interface Place {
  readonly namespace: string;
  readonly name: string;
  readonly mounts: ReadonlyMap<string, string>;
}

function environmentOf(
  container: Json | undefined,
  { namespace, name, mounts }: Place,
): Record<string, string> {
  const fields: Readonly<Record<string, string>> = {
    "metadata.namespace": namespace,
    "metadata.name": name,
  };
  return Object.fromEntries(
    objects(valueIn(container, "env")).map((variable) => {
      const value = fields[String(valueIn(variable, "valueFrom", "fieldRef", "fieldPath"))] ??
        String(variable.value ?? "");
      const [path, place] = [...mounts].find(([path]) => value.startsWith(`${path}/`)) ?? ["", ""];
      return [String(variable.name), place + value.slice(path.length)];
    }),
  );
}

function portOf(container: Json | undefined, name: string): string {
  const found = objects(valueIn(container, "ports")).find((port) => port.name === name);
  return String(found?.containerPort);
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, name), text, { mode: 0o600 });
  }
}

function objects(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
