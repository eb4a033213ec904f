/** A working folder as a reader of the documentation has it: the repository's files, and the programs its commands call. */
import { join } from "node:path";
import { ROOT } from "./docs.ts";

export interface Workplace extends AsyncDisposable {
  readonly folder: string;
  /** For the commands: finds `zen-watcher`, `npx` and the cluster. */
  readonly env: Readonly<Record<string, string>>;
}

/** Makes one for the cluster of a kubeconfig; `programs` are folders to look for programs in first. */
export async function openWorkplace(
  kubeconfig: string,
  programs: readonly string[] = [],
): Promise<Workplace> {
  const folder = await Deno.makeTempDir({ prefix: "zen-docs-" });
  for await (const { name } of Deno.readDir(ROOT)) {
    if (!name.startsWith(".") && name !== "dist") await Deno.symlink(join(ROOT, name), join(folder, name));
  }
  await Deno.writeTextFile(join(folder, "kubeconfig"), kubeconfig, { mode: 0o600 });
  const bin = join(folder, "bin");
  await Deno.mkdir(bin);
  const deno = Deno.execPath();
  const scripts = {
    "zen-watcher": `exec "${deno}" run -A "${join(ROOT, "main.ts")}" "$@"`,
    npx: `[ "$1" = -y ] && case "$2" in deno@*) shift 2; exec "${deno}" "$@";; esac; exit 9`,
  };
  for (const [name, script] of Object.entries(scripts)) {
    await Deno.writeTextFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  return {
    folder,
    env: {
      PATH: [bin, ...programs, Deno.env.get("PATH") ?? ""].join(":"),
      KUBECONFIG: join(folder, "kubeconfig"),
      // kubectl remembers for hours what a server at this port serves, and ports come round again.
      KUBECACHEDIR: join(folder, "kube-cache"),
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** Whether all of these programs are on PATH. */
export async function installed(names: Iterable<string>): Promise<boolean> {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  for (const name of names) {
    const found = await Promise.all(
      folders.map((folder) => Deno.stat(join(folder, name)).then(() => true, () => false)),
    );
    if (!found.includes(true)) return false;
  }
  return true;
}
