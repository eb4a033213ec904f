/** One sender's hostile bodies against the program as a process of its own: what they leave it of its memory. */
import { assert, assertEquals } from "@std/assert";
import { HOSTILE_TEXTS } from "../support/hostile_texts.ts";
import { freshBundle } from "../../scripts/bundle.ts";
import { startController } from "../../scripts/support/controller.ts";
import { createNamespaces, installCrds } from "../../scripts/support/feed.ts";
import { V8_FLAGS } from "../../scripts/support/permissions.ts";
import { startDevCluster } from "../../src/devcluster/mod.ts";
import { fixedConnection } from "../../src/kube/auth/connection.ts";
import { createKubeClient } from "../../src/kube/client.ts";

const LONG = Deno.env.get("ZEN_ATTACK") === "long";
const MIB = 2 ** 20;
/** As large as a body may be. */
const BYTES = 16 * MIB - 1024;
/** What the process may grow by. At rest it takes up to 65 MiB in a Pod, and it may never take more than 300. */
const MAX_GROWTH = 235 * MIB;
const SHORT: ReadonlySet<string> = new Set([
  "numbers",
  "invalid UTF-8",
  "different keys in many items",
  "an alert with many fields",
  "audit events, one of them nested",
]);

/** Resident memory now, and the most of it since it was reset. */
async function memoryOf(pid: number): Promise<{ readonly now: number; readonly peak: number }> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const bytes = (field: string) =>
    1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]);
  return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
}

Deno.test("one sender's largest bodies never take the process above 300 MiB", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using stack = new AsyncDisposableStack();
  const cluster = stack.use(startDevCluster());
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-attack-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.writeTextFile(`${folder}/kubeconfig`, cluster.kubeconfig());
  using api = createKubeClient(fixedConnection({ server: cluster.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  const controller = stack.use(
    await startController({
      kubeconfig: `${folder}/kubeconfig`,
      entry: await freshBundle(),
      denoArgs: [V8_FLAGS],
    }),
  );
  const idle = await memoryOf(controller.pid);
  const grown: string[] = [];
  for (const [name, make] of Object.entries(HOSTILE_TEXTS)) {
    if (!LONG && !SHORT.has(name)) continue;
    const body = make(BYTES) as Uint8Array<ArrayBuffer>;
    const path = name.startsWith("audit") ? "/audit/webhook" : "/falco/webhook";
    const answers = await Promise.all(Array.from({ length: 4 }, async () => {
      const response = await fetch(controller.url + path, { method: "POST", body });
      await response.body?.cancel();
      return response.status;
    }));
    assert(answers.some((status) => status !== 503), `${name}: one of them is read`);
    const health = await fetch(`${controller.url}/health`);
    assertEquals([health.status, (await health.json()).status], [200, "healthy"]);
    const { peak } = await memoryOf(controller.pid);
    if (peak - idle.now > MAX_GROWTH) grown.push(`${name}: ${Math.round((peak - idle.now) / MIB)} MiB`);
  }
  assertEquals(grown, []);
});
