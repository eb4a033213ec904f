import { Reaper } from "../../tests/support/server_process.ts";
import { exec } from "../support/run.ts";
import { runWrapper, say } from "../support/script.ts";
import { ensureTool } from "../tools.ts";
import { IMAGES_VARIABLE, SKIP_VARIABLE } from "./cluster.ts";
import { ensureNodeBinaries, writeNodeImages } from "./images.ts";
import { ensurePrograms, whyNoNodes } from "./machine.ts";

const HELP = `
Usage: deno task test:node [--build] [--all] [OPTIONS OF deno test]

Runs the chart in Pods: a Kubernetes of two nodes on this machine, in namespaces of its own, with kubelet, containerd and
kube-proxy on each. Builds what is missing first, from Go modules and Debian's packages (about ten minutes after the API
server's build, once); with --build it does that alone. Needs root, Linux and Debian 12; elsewhere the tests are skipped by
name.

  --all    builds metrics-server too, which takes some minutes more: without it the autoscaler's test is skipped by name
`;

const ROOT = new URL("../../", import.meta.url).pathname;
const BUILD = "--build";
const ALL = "--all";
const TESTS = "tests/node/";

async function suite(words: readonly string[]): Promise<number> {
  const args = words.filter((word) => word !== BUILD && word !== ALL);
  const why = await whyNoNodes();
  const deno = [Deno.execPath(), "test", "-A", "--sanitize-ops", "--sanitize-resources", TESTS, ...args];
  if (why !== undefined) {
    say(`node: skipped: ${why}`);
    if (words.includes(BUILD)) return 0;
    return await code(deno, { [SKIP_VARIABLE]: why });
  }
  // All of this needs the network, which the tests do not have.
  await ensurePrograms();
  await ensureNodeBinaries({ all: words.includes(ALL) });
  await ensureTool("helm");
  if (words.includes(BUILD)) return 0;
  await exec(Deno.execPath(), ["cache", TESTS], { cwd: ROOT });
  await using images = await Reaper.start("zen-node-images-");
  await writeNodeImages(images.folder);
  // The tests are in the network of the first node, where the API server is.
  return await code(["unshare", "--net", ...deno], { [IMAGES_VARIABLE]: images.folder });
}

async function code(words: readonly string[], env: Record<string, string>): Promise<number> {
  const [program = "", ...args] = words;
  return (await new Deno.Command(program, { args, cwd: ROOT, env }).spawn().status).code;
}

if (import.meta.main) await runWrapper(HELP, suite);
