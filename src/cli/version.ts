/** `zen-watcher version`. */
import { VERSION } from "../version.ts";
import { type Arguments, outputOf } from "./args.ts";
import type { Io } from "./io.ts";

/** Prints the version of this build and of what runs it. */
export function version(args: Arguments, { io }: { io: Io }): number {
  const build = {
    version: VERSION,
    deno: Deno.version.deno,
    platform: `${Deno.build.os}/${Deno.build.arch}`,
  };
  const isJson = outputOf(args, { command: "version", formats: ["json"] }) === "json";
  const text = isJson
    ? JSON.stringify(build, undefined, 2)
    : `zen-watcher ${build.version} (deno ${build.deno}, ${build.platform})`;
  io.stdout(`${text}\n`);
  return 0;
}
