/** The steps of docs/adding-a-source.md, carried out in a copy of the repository as the page says. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { type Block, readPage, ROOT } from "../support/docs.ts";

/** Each source of the page, and what `explain` says of its fixture. */
const SAID = {
  licences: ["left-pad has the licence WTFPL", "readline has the licence GPL-3.0"],
  intrusions: ["port scan from 203.0.113.7", "ssh brute force from 203.0.113.7"],
  hardening: ["sysctl-1 failed: IP forwarding is off", "ssh-3 failed: Root cannot log in"],
};

/** What follows from the entries in the registry. */
const GENERATED: Readonly<Record<string, readonly string[]>> = {
  "helm/zen-watcher/files/rbac.yaml": ["licencereports", "HARDENING_NAMESPACE"],
  "docs/reference/rbac.md": ["licencereports"],
  "docs/reference/settings.md": ["HARDENING_NAMESPACE"],
  "helm/zen-watcher/values.yaml": ["hardening"],
  "helm/zen-watcher/values.schema.json": ["hardening"],
  "README.md": ["| `licences` |", "| `intrusions` |", "| `hardening` |"],
  "docs/reference/identity.md": ["forbidden-licence", "intrusion-attempt", "hardening-check"],
};

Deno.test("adding-a-source: a watch, a post and a ConfigMap source work when the page is followed", async () => {
  const { blocks } = await readPage("docs/adding-a-source.md");
  const other = blocks.filter(({ file, role }) => file === undefined && role !== "sh step");
  assertEquals(other, [], "every block is a file or a step");
  const tree = await Deno.makeTempDir({ prefix: "adding-a-source-" });
  try {
    await copyTree(ROOT, tree);
    let said = "";
    for (const { file, role, text, line } of blocks) {
      if (file === undefined) said += await run(text, { cwd: tree, line });
      else if (role === "diff file") await patch(join(tree, file), text);
      else await write(join(tree, file), text);
    }
    for (const [file, words] of Object.entries(GENERATED)) {
      const text = await Deno.readTextFile(join(tree, file));
      for (const word of words) assert(text.includes(word), `${file} has ${word}`);
    }
    for (const [source, messages] of Object.entries(SAID)) {
      const fixture = blocks.find(({ file }) => file?.startsWith(`tests/fixtures/sources/${source}/`))?.file;
      const expected = await Deno.readTextFile(join(tree, dirname(fixture ?? ""), "expected.json"));
      for (const message of messages) {
        assert(expected.includes(message), `${source}: the expected Observations have "${message}"`);
        assert(said.includes(message), `${source}: explain prints "${message}" in\n${said}`);
      }
    }
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
});

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if ([".git", "dist", "node_modules"].includes(name)) continue;
    if (isDirectory) await copyTree(join(from, name), join(to, name));
    else if (isFile) await Deno.copyFile(join(from, name), join(to, name));
  }
}

async function write(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** Adds the `+` lines of a diff, each after the line of context before it. */
async function patch(path: string, diff: string): Promise<void> {
  const lines = (await Deno.readTextFile(path)).split("\n");
  let at = 0;
  for (const change of diff.split("\n").filter((line) => line !== "")) {
    const line = change.slice(1);
    if (change.startsWith("+")) lines.splice(at, 0, line);
    else {
      at = lines.indexOf(line, at);
      assert(at >= 0, `${path} has the line "${line}"`);
    }
    at++;
  }
  await Deno.writeTextFile(path, lines.join("\n"));
}

/** Runs the commands of a step with the Deno of this test; returns what they print. */
async function run(text: string, { cwd, line }: { readonly cwd: string; readonly line: Block["line"] }) {
  const script = text.replaceAll(/^((?:[A-Z_]+=\S+ )*)deno /gm, `$1'${Deno.execPath()}' `);
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-euc", script],
    cwd,
    env: { NO_COLOR: "1" },
  }).output();
  const printed = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals(code, 0, `line ${line}: ${text}\n${printed}`);
  return printed;
}
