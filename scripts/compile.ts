/**
 * `deno task compile`: dist/zen-watcher, one file with the bundle and the runtime in it. Fetches the runtime
 * (denort) unless DENORT_BIN names one; TARGET cross-compiles, e.g. aarch64-unknown-linux-gnu.
 */
import { podPermissions, V8_FLAGS } from "./support/permissions.ts";

const target = Deno.env.get("TARGET");
const { code } = await new Deno.Command(Deno.execPath(), {
  args: [
    "compile",
    ...podPermissions(),
    V8_FLAGS,
    ...(target ? [`--target=${target}`] : []),
    "--output=dist/zen-watcher",
    "dist/main.js",
  ],
}).spawn().status;
Deno.exit(code);
