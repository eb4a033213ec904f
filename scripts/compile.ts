/**
 * `deno task compile`: dist/zen-watcher, one file with the bundle and the runtime in it. Fetches the runtime
 * (denort) unless DENORT_BIN names one; TARGET cross-compiles, e.g. aarch64-unknown-linux-gnu.
 * With `--pod` it may do what a Pod needs and nothing more, as the image's does; without, also read kubeconfigs and files.
 */
import { kubeconfigPermissions, podPermissions, V8_FLAGS } from "./support/permissions.ts";

const target = Deno.env.get("TARGET");
const { code } = await new Deno.Command(Deno.execPath(), {
  args: [
    "compile",
    ...(Deno.args.includes("--pod") ? podPermissions() : kubeconfigPermissions()),
    // The chunks that are loaded when they are needed.
    "--include=dist",
    V8_FLAGS,
    ...(target ? [`--target=${target}`] : []),
    "--output=dist/zen-watcher",
    "dist/main.js",
  ],
}).spawn().status;
Deno.exit(code);
