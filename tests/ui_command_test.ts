/** The command `ui` as a user calls it. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { linesOf } from "../scripts/support/lines.ts";
import { main } from "../src/cli/main.ts";
import { processIo } from "../src/cli/io.ts";
import { readSettings } from "../src/settings.ts";
import { type DevWorld, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";

const MAIN = new URL("../main.ts", import.meta.url).pathname;

/** Runs `ui` in this process, where it is refused. */
async function refused(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  let err = "";
  const io = {
    ...processIo,
    stdout: () => {},
    stderr: (text: string) => void (err += text),
    env: (name: string) => env[name],
  };
  const code = await main(["ui", ...args], { settings: () => readSettings((name) => env[name]), io });
  return { code, err };
}

Deno.test("ui refuses to run in a Pod, names a bad port, and a port that is taken", async () => {
  const folder = await Deno.makeTempDir();
  for (const name of ["token", "ca.crt", "namespace"]) await Deno.writeTextFile(`${folder}/${name}`, name);
  const env = {
    KUBERNETES_SERVICE_HOST: "10.0.0.1",
    KUBERNETES_SERVICE_PORT: "443",
    SERVICE_ACCOUNT_FOLDER: folder,
  };
  const inPod = await refused([], env);
  await Deno.remove(folder, { recursive: true });
  assertEquals(inPod.code, 1);
  assertMatch(
    inPod.err,
    /^Cannot serve the page: this is a Pod, .* Run zen-watcher ui on your own machine\n$/,
  );
  for (const port of ["65536", "-1", "http", ""]) {
    const { code, err } = await refused([`--port=${port}`]);
    assertEquals(code, 2);
    assertStringIncludes(err, `expected --port to be a port, received "${port}"`);
  }
  await using world = await startDevWorld();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  assertEquals(await refused(["--no-open", "--kubeconfig", world.kubeconfig, "--port", String(port)]), {
    code: 1,
    err:
      `Cannot listen on port ${port} (--port): another program uses the port. Free the port, or set --port to another one\n`,
  });
});

Deno.test("ui opens the browser by a file of the user's own, shows the token on no command line, and leaves nothing behind when it ends", async () => {
  await using world = await startDevWorld();
  // Ctrl-C in a terminal reaches the program and all that it started, `kill` the program alone.
  for (const end of ["kill", "Ctrl-C", "hang-up"] as const) await openAndEnd(world, end);
});

async function openAndEnd(world: DevWorld, end: "kill" | "Ctrl-C" | "hang-up"): Promise<void> {
  const folder = await Deno.makeTempDir();
  // Stands in for the opener of this system: it notes its words and what the file it is given holds.
  const script =
    `#!/bin/sh\nprintf '%s' "$*" > ${folder}/words\nls -l "$1" > ${folder}/rights\ncat "$1" > ${folder}/page\n`;
  for (const name of ["xdg-open", "open"]) {
    await Deno.writeTextFile(`${folder}/${name}`, script, { mode: 0o755 });
  }
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "ui", "--open", "--kubeconfig", world.kubeconfig],
    env: { PATH: `${folder}:${Deno.env.get("PATH") ?? ""}`, TMPDIR: folder },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  const lines = linesOf(child.stdout)[Symbol.asyncIterator]();
  const complaints = new Response(child.stderr).text();
  const { value: address = "" } = await lines.next();
  const token = /#token=(\S+)$/.exec(address)?.[1] ?? "";
  assert(token.length > 40, address);
  const page = await eventually(
    "the browser",
    async () => await Deno.readTextFile(`${folder}/page`).catch(() => "") || undefined,
  );
  assertStringIncludes(page, `url=${address}"`);
  const words = await Deno.readTextFile(`${folder}/words`);
  assert(!words.includes(token), words);
  assertMatch(await Deno.readTextFile(`${folder}/rights`), /^-rw-------/);
  if (end === "kill") child.kill("SIGTERM");
  else await signalGroup(child.pid, end === "Ctrl-C" ? "INT" : "HUP");
  const { code } = await child.status;
  if (end === "hang-up") await eventually("no file", async () => (await filesIn(folder)).length === 0);
  else assertEquals([code, await filesIn(folder)], [0, []], end);
  await lines.return?.();
  assertEquals(await complaints, "", end);
  await Deno.remove(folder, { recursive: true });
}

/** What the program put into its folder for temporary files. */
async function filesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name))
    .filter((name) => name.startsWith("zen-watcher-"));
}

/** Sends a signal to a process and all that it started, as a terminal does. */
async function signalGroup(pid: number, signal: string): Promise<void> {
  const { success } = await new Deno.Command("sh", { args: ["-c", `kill -${signal} -${pid}`] }).output();
  assert(success, `SIG${signal} to the group of ${pid}`);
}
