/** Liveness of the whole program. */
import { assert, assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { systemClock } from "../src/model/time.ts";
import { startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";

/** Of every group: what all replicas do, and what the leader does. */
const TASKS = [
  "index",
  "filters: ConfigMap",
  "ingesters: Ingester",
  "ingesters: ObservationMapping",
  "pulled feeds: trivy vulnerabilityreports",
];

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
    return { code: response.status, ...await response.json() };
  };
  await eventually("every task to beat", async () => {
    const { checks } = await health();
    return [...TASKS, "event loop", "discovery"].every((task) =>
      Object.keys(checks).some((name) => name.startsWith(task))
    );
  });
  assertEquals((await health()).code, 200);
  passedMs = 3_600_000;
  const { code, reasons } = await health();
  assertEquals(code, 503);
  for (const task of TASKS) {
    assert(
      reasons.some((reason: string) => reason.startsWith(task) && reason.includes("has been stuck for 3")),
      `${task} is not named: ${reasons}`,
    );
  }
});
