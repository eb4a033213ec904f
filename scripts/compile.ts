import { bundle } from "./bundle.ts";
import { kubeconfigPermissions, podPermissions, V8_FLAGS } from "./support/permissions.ts";
import { runScript } from "./support/script.ts";

const HELP = `
Usage: deno task compile [--pod]

Bundles the program and compiles dist/zen-watcher: one file with the bundle and the runtime in it.

  --pod    let it do what a Pod needs and nothing more, as the image's does; without, it may also read kubeconfigs and files

TARGET (environment) cross-compiles, e.g. aarch64-unknown-linux-gnu. DENORT_BIN names the runtime; else it is downloaded.
`;

async function compile({ pod = false }: { readonly pod?: boolean | undefined }): Promise<number> {
  await bundle("main.ts", "dist");
  const target = Deno.env.get("TARGET");
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      ...(pod ? podPermissions() : kubeconfigPermissions()),
      // The chunks that are loaded when they are needed.
      "--include=dist",
      V8_FLAGS,
      ...(target ? [`--target=${target}`] : []),
      "--output=dist/zen-watcher",
      "dist/main.js",
    ],
    cwd: new URL("../", import.meta.url).pathname,
  }).spawn().status;
  return code;
}

if (import.meta.main) await runScript({ help: HELP, options: { pod: { type: "boolean" } } }, compile);
