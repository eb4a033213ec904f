/** Liveness of the whole program. */
import { assert, assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { systemClock } from "../src/model/time.ts";
import { startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";

/** Tasks that wait for work without a bound: then nothing of them is due. */
const WAIT_FOR_WORK = ["repeats", "readiness", "conditions", "own user"];

Deno.test("GET /health answers 503 and names each core task that made no round for an hour", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  let passedMs = 0;
  const clock = { now: systemClock.now, monotonic: () => systemClock.monotonic() + passedMs };
  await using app = await startTestApp({ server: server.url, clock });
  const health = async () => {
    const response = await fetch(`${app.url}/health?verbose`);
    const { checks, reasons } = await response.json();
    return { code: response.status, loops: Object.keys(checks), reasons };
  };
  const loops = await eventually("every task and loop of the leader to beat", async () => {
    const { code, loops } = await health();
    assertEquals(code, 200);
    const silent = loops.filter((loop) => loop.endsWith(": start"));
    if (silent.length > 0) throw new Error(`no beat yet: ${silent}`);
    return loops.includes("expiry") && loops;
  });
  passedMs = 3_600_000;
  const { code, reasons } = await health();
  assertEquals(code, 503);
  const isNamed = (task: string) =>
    reasons.some((reason: string) => reason.startsWith(task) && reason.includes("has been stuck for 3"));
  const tasks = loops.filter((loop) => !loop.includes(": "));
  assert(tasks.length >= 18, `${tasks}`);
  assertEquals(tasks.filter((task) => !isNamed(task)).sort(), WAIT_FOR_WORK.toSorted());
});
