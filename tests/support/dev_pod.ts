/** The program as a process of its own on the embedded API server, as in a Pod: its ServiceAccount, permissions, flags and environment. */
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { IMAGE_ENV, podPermissions, V8_FLAGS } from "../../scripts/support/permissions.ts";
import { createCertAuthority } from "./certs.ts";
import { startDevWorld } from "./dev_world.ts";

export interface DevPodOptions {
  /** The source entry by default, or a bundle. */
  readonly entry?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Further files in the Pod's folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Words before the program, which they become. */
  readonly before?: readonly string[];
}

/** See `startDevPod()`. */
export interface DevPod extends AsyncDisposable {
  readonly controller: Controller;
  /** Of the certificate in the folder's `tls.crt` and `tls.key`. */
  readonly caPem: string;
}

/** Starts it, and waits until it is ready. `FOLDER` in the environment is the Pod's folder. */
export async function startDevPod(
  { entry, env = {}, files = {}, before = [] }: DevPodOptions = {},
): Promise<DevPod> {
  await using starting = new AsyncDisposableStack();
  const authority = createCertAuthority("servers");
  const { certPem: cert, keyPem: key } = authority.issue({
    usage: "server",
    commonName: "zen-watcher",
    ipAddresses: ["127.0.0.1"],
  });
  const ca = authority.certPem;
  const world = starting.use(await startDevWorld({ namespaces: ["zen-system"], tls: { ca, cert, key } }));
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-pod-" });
  starting.defer(() => Deno.remove(folder, { recursive: true }));
  const mounted = {
    token: "devcluster",
    "ca.crt": ca,
    namespace: "zen-system",
    "tls.crt": cert,
    "tls.key": key,
    ...files,
  };
  for (const [name, text] of Object.entries(mounted)) await Deno.writeTextFile(`${folder}/${name}`, text);
  const { hostname, port } = new URL(world.server.url);
  const [program = "", ...words] = [...before, Deno.execPath()];
  const controller = starting.use(
    await startController({
      command: [program, ...words],
      ...(entry !== undefined && { entry }),
      permissions: podPermissions([folder]),
      denoArgs: [V8_FLAGS],
      env: {
        ...IMAGE_ENV,
        KUBERNETES_SERVICE_HOST: hostname,
        KUBERNETES_SERVICE_PORT: port,
        SERVICE_ACCOUNT_FOLDER: folder,
        POD_NAMESPACE: "zen-system",
        POD_NAME: "zen-watcher-0",
        ...Object.fromEntries(
          Object.entries(env).map(([name, text]) => [name, text.replace("FOLDER", folder)]),
        ),
      },
    }),
  );
  const all = starting.move();
  return { controller, caPem: ca, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
