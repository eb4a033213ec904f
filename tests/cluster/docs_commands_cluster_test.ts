/**
 * The blocks of the documentation marked `sh run` are run: against the embedded API server with the samples in it, and a
 * running program. What a block writes, later blocks of the same page find. A block whose programs are not installed here is
 * ignored.
 */
import { assert } from "@std/assert";
import { join } from "node:path";
import { createNamespaces, feedObjects, installCrds } from "../../scripts/support/feed.ts";
import { startTestCluster } from "../support/test_cluster.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient } from "../../src/kube/client.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { type Block, commandsOf, readPages, ROOT } from "../support/docs.ts";
import { eventually } from "../support/eventually.ts";
import { installed, openWorkplace, type Workplace } from "../support/workplace.ts";

/** What a page shows its readers, beyond that every command of it succeeds. */
const SAYS: Readonly<Record<string, readonly string[]>> = {
  "docs/backup.md": [" Observation", " there already, 0 of other kinds, 0 failed"],
  "docs/debugging.md": ["debug-1"],
  "docs/filters.md": ["1 document checked: 0 mistakes", " passed, 0 failed", "zen-system/zen-watcher-filter"],
  "docs/ha.md": ['"isLeader": true'],
  "docs/install.md": ["observations.zen.kube-zen.io", '"falco": "serving"', "trivy-"],
  "docs/mapping.md": ["2 documents checked: 0 mistakes", "created    shop/alertmanager-"],
  "docs/operations.md": ['"status":"healthy"', '"status":"ready"', '"inFlight": 0'],
  "docs/runbooks/budget-reached.md": ['"usage":', "deleted"],
  "docs/runbooks/crash-loop.md": ['"ready"'],
  "docs/runbooks/high-event-rate.md": ['"kyverno": {', "trivy\tvulnerability"],
  "docs/runbooks/high-memory.md": ["process_resident_memory_bytes", "zen_watcher_goroutines"],
  "docs/runbooks/leader-flapping.md": ["holderIdentity"],
  "docs/runbooks/nothing-created.md": ['"state": "synced"', "1 event"],
  "docs/security.md": [],
  "docs/sources.md": [
    '"created":1',
    "falco-",
    "configmap/kube-bench-node-1 labeled",
    "configmap/shop-manifests labeled",
  ],
  "docs/troubleshooting.md": ["created    shop/falco-", "runtime-threat on Pod shop/web-1"],
  "docs/upgrade.md": ["0 failed"],
};

const pages = (await readPages()).map(({ path, blocks }) => ({
  path,
  blocks: blocks.filter(({ role }) => role === "sh run"),
})).filter(({ blocks }) => blocks.length > 0);

/** For what must come about, however busy the machine is: what never does fails all the same. */
const PATIENCE_MS = 180_000;
const RESTING = ["serving", "synced", "absent"];

interface World extends AsyncDisposable {
  readonly app: TestApp;
  readonly place: Workplace;
}

Deno.test("docs: every page with commands that run says what they show", () => {
  assert(pages.length > 10);
  const untold = pages.filter(({ path }) => SAYS[path] === undefined).map(({ path }) => path);
  const idle = Object.keys(SAYS).filter((path) => !pages.some((page) => page.path === path));
  assert(untold.length + idle.length === 0, `untold: ${untold}; without commands: ${idle}`);
});

for (const { path, blocks } of pages) {
  const ignore = !await installed(programsOf(blocks));
  Deno.test({ name: `docs: the commands of ${path} work`, ignore, fn: () => play(path, blocks) });
}

async function play(path: string, blocks: readonly Block[]): Promise<void> {
  await using world = await openWorld();
  let shown = "";
  for (const { text, line } of blocks) {
    await settled(world.app);
    const { code, out } = await run(text, world);
    assert(code === 0, `${path}:${line} ended with ${code}:\n${text}\n${out}`);
    shown += out;
  }
  for (const words of SAYS[path] ?? []) {
    assert(shown.includes(words), `${path} does not show ${words}:\n${shown}`);
  }
}

/** A cluster that the samples were fed to, and the program on it. */
async function openWorld(): Promise<World> {
  await using opened = new AsyncDisposableStack();
  const server = opened.use(startTestCluster());
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "kube-bench", "checkov", "shop"]);
  const app = opened.use(await startTestApp({ server: server.url }));
  await feedObjects(api);
  await eventually("the samples to be stored", () => server.count("observations.zen.kube-zen.io") > 50, {
    timeoutMs: PATIENCE_MS,
  });
  const place = opened.use(await openWorkplace(server.kubeconfig()));
  await furnish(place.folder);
  const all = opened.move();
  return { app, place, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** A program that did not run for too long loses the lease, and reads its sources again when it has it back. */
async function settled(app: TestApp): Promise<void> {
  await eventually("the program to lead and to have read its sources", async () => {
    const { leader, sources }: Status = await (await fetch(`${app.url}/tools/status`)).json();
    return leader.isLeader && Object.values(sources).every(({ state }) => RESTING.includes(state));
  }, { timeoutMs: PATIENCE_MS });
}

interface Status {
  readonly leader: { readonly isLeader: boolean };
  readonly sources: Readonly<Record<string, { readonly state: string }>>;
}

/** The tools' output that pages start from. */
async function furnish(folder: string): Promise<void> {
  const fixtures = join(ROOT, "tests/fixtures/sources");
  await Deno.copyFile(
    join(fixtures, "kube-bench/check-subset-with-null-tests/input.json"),
    join(folder, "kube-bench.json"),
  );
  await Deno.copyFile(join(fixtures, "checkov/several-frameworks/input.json"), join(folder, "checkov.json"));
}

async function run(text: string, { place, app }: World): Promise<{ code: number; out: string }> {
  const placed = text.replaceAll("http://127.0.0.1:8080", app.url).replaceAll(
    "http://127.0.0.1:9090",
    app.metricsUrl,
  );
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-euo", "pipefail", "-c", placed],
    cwd: place.folder,
    env: place.env,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** What the blocks call of the programs that a machine may lack. */
function programsOf(blocks: readonly Block[]): string[] {
  const called = new Set(
    blocks.flatMap(({ text }) => commandsOf(text)).map((line) => line.split(/\s+/)[0]),
  );
  return ["bash", ...["kubectl", "jq", "curl"].filter((name) => called.has(name))];
}
