/** What every script promises: help without side effects, errors in one line, and a bundle that is never stale. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import config from "../deno.json" with { type: "json" };
import { bundle, freshBundle } from "../scripts/bundle.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const scripts = (await Promise.all(["scripts", "scripts/envtest", "scripts/node"].map(runnable))).flat()
  .sort();

/** The files of a folder that can be run. */
async function runnable(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(ROOT + folder)) {
    if (!name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
    if ((await Deno.readTextFile(`${ROOT}${folder}/${name}`)).includes("import.meta.main")) {
      found.push(`${folder}/${name}`);
    }
  }
  return found;
}

/** Runs a script; by default it may read files and the environment, and nothing else. */
async function run(script: string, args: readonly string[], permissions = ["--allow-read", "--allow-env"]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Quiet: on a new machine, Deno says on stderr which package it downloads for the script.
    args: ["run", "--quiet", "--no-prompt", "--no-check", ...permissions, script, ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

Deno.test("every task of deno.json that runs one script is among the scripts tested here", () => {
  for (const [task, command] of Object.entries(config.tasks)) {
    const [, script] = /^deno run -A (scripts\/\S+)/.exec(command) ?? [];
    if (script !== undefined) assert(scripts.includes(script), `${task} runs ${script}`);
    // `deno task X --help` reaches the last command of several; the others would run.
    assert(task === "verify" || !/&&.*scripts\//.test(command), `--help of ${task} does more`);
  }
});

Deno.test("every script prints its usage for --help, and may neither write, run nor connect for that", async () => {
  assert(scripts.length > 12, `${scripts}`);
  for (const script of scripts) {
    const { code, out, err } = await run(script, ["--help"]);
    assertEquals([code, err], [0, ""], script);
    assertMatch(out, /^Usage: (deno task|deno run -A scripts\/)/, script);
  }
});

Deno.test("a script reports a mistake in its arguments in one line", async () => {
  const { code, out, err } = await run("scripts/backup.ts", ["--frobnicate"]);
  assertEquals([code, out], [2, ""]);
  assertEquals(err, "Cannot read the arguments: Unknown option '--frobnicate'. --help lists them\n");
  const missing = await run("scripts/backup.ts", []);
  assertEquals([missing.code, missing.err], [1, "Cannot back up: no file is named. Name it with -o FILE\n"]);
});

Deno.test("a script that cannot reach its API server names the address and what to do", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const kubeconfig = join(folder, "kubeconfig");
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const server = `http://127.0.0.1:${listener.addr.port}`;
    listener.close();
    await Deno.writeTextFile(kubeconfig, kubeconfigOf(server));
    for (const script of ["scripts/backup.ts", "scripts/demo.ts", "scripts/dev.ts"]) {
      const args = [
        "--kubeconfig",
        kubeconfig,
        ...(script.includes("backup") ? ["-o", join(folder, "b")] : []),
      ];
      const { code, err } = await run(script, args, ["-A"]);
      assertEquals(code, 1, err);
      assertStringIncludes(
        err,
        `Cannot reach the API server "${server}" (context "gone" of ${kubeconfig}): `,
      );
      assertStringIncludes(err, "name another cluster with --kubeconfig and --context");
      assertEquals(err.trim().split("\n").length, 1, err);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("freshBundle() bundles again where the sources changed, and not where they did not", async () => {
  const { root, write } = await emptyProject();
  try {
    await write("src/word.ts", 'export const word: string = "first";');
    await write("main.ts", 'import { word } from "./src/word.ts"; console.log(word);');
    const says = async () => (await run(await freshBundle(root), [])).out.trim();
    assertEquals(await says(), "first");
    const made = await Deno.stat(join(root, "dist/main.js"));
    await write("src/word_test.ts", "// A test is no part of the program.");
    assertEquals(await says(), "first");
    assertEquals((await Deno.stat(join(root, "dist/main.js"))).ino, made.ino);
    await write("src/word.ts", 'export const word: string = "second";');
    assertEquals(await says(), "second");
    await write("src/word.ts", "export const word: string = ");
    await assertRejects(() => freshBundle(root), Error, 'Cannot bundle "main.ts"');
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("bundle() puts the commit of the sources into the program", async () => {
  const { root, write } = await emptyProject();
  try {
    await write(
      "main.ts",
      "console.log((globalThis as { ZEN_WATCHER_COMMIT?: string }).ZEN_WATCHER_COMMIT);",
    );
    const git = async (...args: string[]) => {
      const user = ["-c", "user.name=a", "-c", "user.email=a@b.test"];
      const { stdout } = await new Deno.Command("git", { args: [...user, ...args], cwd: root }).output();
      return new TextDecoder().decode(stdout).trim();
    };
    await git("init", "-q");
    await git("commit", "-q", "--allow-empty", "-m", "first");
    await bundle("main.ts", "dist", root);
    assertEquals(
      (await run(join(root, "dist/main.js"), [])).out.trim(),
      await git("rev-parse", "--short=12", "HEAD"),
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

/** A project without code, to bundle. */
async function emptyProject() {
  const root = await Deno.makeTempDir();
  const write = (path: string, text: string) => Deno.writeTextFile(join(root, path), text);
  await Deno.mkdir(join(root, "src"));
  await write("deno.json", "{}");
  await write("deno.lock", '{"version": "5"}');
  return { root, write };
}

/** Stands in for npx: says what the runners would, and nothing is run. */
const NPX = `#!/bin/sh
case "$*" in
  *"task test") echo "ok | 12 passed (3 steps) | 0 failed | 1 ignored (2s)" ;;
  *test:cluster) echo "FAILED | 5 passed | 2 failed (1m2s)"; exit 1 ;;
  *test:ui) echo "ok | 5 passed | 0 failed (2m5s)" ;;
  *test:attack) echo "ok | 3 passed | 0 failed (5s)" ;;
  *test:binary) echo "ok | 6 passed | 0 failed | 1 ignored (7s)" ;;
  *test:chaos) echo "ok | 4 passed | 0 failed (9s)" ;;
  *"test:node --build") ;;
  *test:tools) echo "ok | 1 passed | 0 failed (9s)" ;;
  *test:node) echo "node: skipped: needs root"; echo "ok | 0 passed | 0 failed | 13 ignored (1s)" ;;
  *verify) echo "not formatted"; exit 1 ;;
esac
`;

Deno.test("the gate adds up the runners' results, counts failed steps, and prints how long each took", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of [["npx", NPX], ["go", "#!/bin/sh\n"]] as const) {
      await Deno.writeTextFile(join(folder, name), text, { mode: 0o755 });
    }
    const { code, stdout } = await new Deno.Command(join(ROOT, ".ci/run"), {
      env: { PATH: `${folder}:${Deno.env.get("PATH")}` },
      stdin: "null",
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals([code, lines.at(-1)], [1, "36 passed, 3 failed"]);
    const steps = lines.filter((line) => /^ *\d+ min \d\d s {2}/.test(line)).map((line) =>
      line.split(" s  ")[1]
    );
    assertEquals(steps.map((step) => step?.split(" ").at(-1)?.replace(/.*\//, "")), [
      "test",
      "verify",
      "chromium-headless-shell",
      "etcdutl",
      "test:cluster",
      "test:ui",
      "test:attack",
      "test:binary",
      "test:chaos",
      "--build",
      "test:node",
      "test:tools",
      "all",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the gate prints its usage for --help and runs nothing", async () => {
  const gate = join(ROOT, ".ci/run");
  const { code, stdout } = await new Deno.Command(gate, { args: ["--help"], env: { PATH: "/usr/bin:/bin" } })
    .output();
  assertEquals(code, 0);
  assertStringIncludes(new TextDecoder().decode(stdout), "Usage: .ci/run");
});

function kubeconfigOf(server: string): string {
  return `apiVersion: v1
kind: Config
current-context: gone
contexts: [{name: gone, context: {cluster: gone, user: gone}}]
clusters: [{name: gone, cluster: {server: "${server}"}}]
users: [{name: gone, user: {token: secret}}]
`;
}
