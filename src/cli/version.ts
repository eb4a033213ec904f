/** `version`, and `--version`. */
import type { Command } from "commander";
import { COMMIT, VERSION } from "../version.ts";
import { addCommand, type CommandContext, type Format, outputFlag } from "./command.ts";

interface VersionFlags {
  readonly output?: Format;
}

/** Adds the command `version`. */
export function version(program: Command, { io, finish }: CommandContext): void {
  const command = addCommand(program, {
    name: "version",
    summary: "print the version",
    description: "Prints the version of this build, its commit, and the Deno it runs on.",
    examples: [
      ["version", "one line"],
      ["version -o json", "for scripts"],
    ],
  });
  outputFlag(command).action(async ({ output }: VersionFlags) => {
    if (output === undefined) io.stdout(`${versionLine()}\n`);
    else io.stdout((await import("./output/structured.ts")).render(build(), output));
    await finish(0);
  });
}

/** `zen-watcher 1.2.3 (commit 0123456789ab, deno 2.9.6, linux/x86_64)`. */
export function versionLine(): string {
  const { version, commit, deno, platform } = build();
  return `zen-watcher ${version} (commit ${commit}, deno ${deno}, ${platform})`;
}

function build() {
  return {
    version: VERSION,
    commit: COMMIT,
    deno: Deno.version.deno,
    platform: `${Deno.build.os}/${Deno.build.arch}`,
  };
}
