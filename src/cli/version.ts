/** `zen-watcher version`. */
import { VERSION } from "../version.ts";
import { type Arguments, outputOf } from "./args.ts";
import type { Io } from "./io.ts";

/** Prints the version of this build and of what runs it. */
export async function version(args: Arguments, { io }: { io: Io }): Promise<number> {
  const build = {
    version: VERSION,
    deno: Deno.version.deno,
    platform: `${Deno.build.os}/${Deno.build.arch}`,
  };
  const format = outputOf(args, "version");
  // YAML is loaded where it is asked for: the controller's start reads this file too.
  if (format) io.stdout((await import("./report.ts")).render(build, format));
  else io.stdout(`zen-watcher ${build.version} (deno ${build.deno}, ${build.platform})\n`);
  return 0;
}
